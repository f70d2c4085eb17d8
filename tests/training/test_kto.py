"""The KTO loss: by hand, against a slow oracle, against TRL's own method, finite differences, extremes, its facts."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from align.objectives import OBJECTIVES, find_objective
from align.objectives.kto import kl_estimate, kto_loss
from align.objectives.tensors import log_ratios
from schemas.errors import ShapeError, UnknownChoiceError

LOGP = st.floats(-500, 0, allow_nan=False)
EXAMPLES = st.lists(st.tuples(LOGP, LOGP, st.booleans(), st.floats(0, 3)), min_size=1, max_size=8)


def tensors(*columns: list[float], dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    return [torch.tensor(column, dtype=dtype) for column in columns]


def oracle(
    policy: list[float], reference: list[float], label: list[bool], z0: float, beta: float, w_d: float, w_u: float
) -> list[float]:
    """The definition of LOSSES.md, one example at a time."""

    def sigma(x: float) -> float:
        return 1 / (1 + math.exp(-x)) if x > -700 else 0.0

    losses = []
    for s_policy, s_reference, is_desirable in zip(policy, reference, label, strict=True):
        r = s_policy - s_reference
        if is_desirable:
            losses.append(w_d * (1 - sigma(beta * (r - z0))))
        else:
            losses.append(w_u * (1 - sigma(beta * (z0 - r))))
    return losses


def test_loss_by_hand() -> None:
    """beta 0.5, z0 2, r 4: desirable 1 - sigma(1) = 0.268941; undesirable 1 - sigma(-1) = 0.731059, times 3."""
    policy, reference = tensors([-6.0, -6.0], [-10.0, -10.0])
    loss = kto_loss(policy, reference, torch.tensor([True, False]), 2.0, beta=0.5, undesirable_weight=3.0)
    torch.testing.assert_close(loss, torch.tensor([0.268941, 3 * 0.731059], dtype=torch.float64), atol=1e-5, rtol=0)


def test_kl_estimate_by_hand() -> None:
    """(2 + 5 - 1) / 3 = 2, and (2 - 5) / 2 = -1.5 is clamped to 0."""
    assert kl_estimate(torch.tensor(6.0), 3).item() == 2.0
    assert kl_estimate(torch.tensor(-3.0), torch.tensor(2)).item() == 0.0


@given(EXAMPLES, st.floats(0, 50), st.floats(0.01, 2), st.floats(0, 3), st.floats(0, 3))
def test_loss_equals_a_slow_oracle(
    examples: list[tuple[float, float, bool, float]], z0: float, beta: float, w_d: float, w_u: float
) -> None:
    policy, reference, label, weight = (list(column) for column in zip(*examples, strict=True))
    ours = kto_loss(
        *tensors(policy, reference),
        torch.tensor(label),
        z0,
        beta=beta,
        desirable_weight=w_d,
        undesirable_weight=w_u,
        weight=torch.tensor(weight, dtype=torch.float64),
    )
    expected = [loss * w for loss, w in zip(oracle(policy, reference, label, z0, beta, w_d, w_u), weight, strict=True)]
    torch.testing.assert_close(ours, torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=1e-9)


class FakeModel:
    """Gives the log-probabilities it was made with, as TRL's fused head does; a row is found by its first id."""

    def __init__(self, logps: torch.Tensor) -> None:
        self.logps = logps

    def __call__(self, input_ids: torch.Tensor, **_: Any) -> Any:
        rows = self.logps[input_ids[:, 0]]
        zeros = torch.zeros(rows.shape, dtype=rows.dtype)
        return SimpleNamespace(log_probs=rows, entropy=zeros, mean_logits=zeros)


def trl_loss(policy: Any, reference: Any, label: Any, kl_ids: Any, loss_type: str, beta: float, w: Any) -> torch.Tensor:
    """TRL's `KTOTrainer._compute_loss` itself, on our tensors.

    Args:
        policy: per-token log-probabilities of matched and mismatched rows. [B + K, T - 1].
        reference: the same under the reference.
        label: [B] bool.
        kl_ids: rows of the mismatched pairs. [K].
    """
    from collections import defaultdict

    from trl import KTOTrainer

    rows, width = len(label), policy.shape[1] + 1
    ids = torch.zeros(rows, width, dtype=torch.int64)
    ids[:, 0] = torch.arange(rows)
    mismatched = torch.zeros(len(kl_ids), width, dtype=torch.int64)
    mismatched[:, 0] = kl_ids
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=SimpleNamespace(device=torch.device("cpu"), gather_for_metrics=lambda x: x),
        calculate_KL=loss_type == "kto",
        precompute_ref_logps=True,
        aux_loss_enabled=False,
        loss_type=loss_type,
        beta=beta,
        desirable_weight=w[0],
        undesirable_weight=w[1],
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    trainer._compute_kl_logps = lambda model, batch: KTOTrainer._compute_kl_logps(trainer, model, batch)
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "completion_mask": torch.ones_like(ids),
        "label": label,
        "ref_logps": reference[:rows].sum(1),
        "ref_KL_logps": reference[kl_ids].sum(1),
        "KL_input_ids": mismatched,
        "KL_attention_mask": torch.ones_like(mismatched),
        "KL_completion_mask": torch.ones_like(mismatched),
    }
    loss: torch.Tensor = KTOTrainer._compute_loss(trainer, FakeModel(policy), inputs, return_outputs=False)
    return loss


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.33, 0.7)])
@pytest.mark.parametrize("drift", [0.3, -0.3])
@pytest.mark.parametrize("loss_type", ["kto", "apo_zero_unpaired"])
def test_loss_and_gradient_equal_trl(loss_type: str, drift: float, weights: tuple[float, float]) -> None:
    """Scope `micro` is TRL's KTO, scope `none` its APO-zero-unpaired; the drift makes z0 positive, or clamped."""
    rng = torch.Generator().manual_seed(7)
    reference = -5 * torch.rand(12, 9, generator=rng)
    label = torch.tensor([True, False, True, True, False, True])
    kl_ids = torch.arange(6, 12)
    results = []
    for is_ours in (True, False):
        noise = torch.randn(12, 9, generator=torch.Generator().manual_seed(8))
        policy = (reference + drift + noise).requires_grad_()
        if is_ours:
            r = log_ratios(policy[kl_ids].sum(1), reference[kl_ids].sum(1))
            z0 = kl_estimate(r.sum(), len(kl_ids)) if loss_type == "kto" else 0.0
            loss = kto_loss(
                policy[:6].sum(1),
                reference[:6].sum(1),
                label,
                z0,
                beta=0.2,
                desirable_weight=weights[0],
                undesirable_weight=weights[1],
            ).mean()
        else:
            loss = trl_loss(policy, reference, label, kl_ids, loss_type, 0.2, weights)
        loss.backward()
        results.append((loss.detach(), policy.grad))
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=1e-5)
    assert results[0][1][:6].abs().max() > 1e-3  # type: ignore[index]


def test_gradient_equals_finite_differences() -> None:
    policy, reference, weight = tensors([-3.0, -9.0, -20.0, -1.0], [-4.0, -8.0, -25.0, -1.0], [1.0, 0.5, 2.0, 0.0])
    label = torch.tensor([True, False, False, True])
    assert torch.autograd.gradcheck(
        lambda logps: kto_loss(logps, reference, label, 0.7, beta=0.3, desirable_weight=1.3, weight=weight),
        policy.requires_grad_(),
    )


@pytest.mark.parametrize("label", [[True], [False], [True, True, True], [False, False, False]])
@pytest.mark.parametrize("policy_logp", [-1e4, 0.0, -1e-30])
@pytest.mark.parametrize("reference_logp", [-1e4, 0.0])
def test_extremes_stay_finite(label: list[bool], policy_logp: float, reference_logp: float) -> None:
    """Huge log-probabilities, one label only, one example: loss and gradient are finite and the loss is in [0, w]."""
    policy = torch.full((len(label),), policy_logp, requires_grad=True)
    reference = torch.full((len(label),), reference_logp)
    z0 = kl_estimate(log_ratios(policy, reference).sum(), len(label))
    loss = kto_loss(policy, reference, torch.tensor(label), z0, desirable_weight=1.5)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert ((loss >= 0) & (loss <= 1.5)).all()
    assert policy.grad is not None
    assert torch.isfinite(policy.grad).all()


def gradient_at(r: float, *, is_desirable: bool) -> float:
    policy = torch.tensor([r], dtype=torch.float64, requires_grad=True)
    kto_loss(policy, torch.zeros(1, dtype=torch.float64), torch.tensor([is_desirable]), 0.0).sum().backward()
    assert policy.grad is not None
    return policy.grad.item()


@pytest.mark.parametrize("is_desirable", [True, False])
@pytest.mark.parametrize("sign", [1, -1])
def test_gradient_vanishes_far_from_the_reference(is_desirable: bool, sign: int) -> None:
    """Proposition 4.1: as r goes to either infinity the gradient tends to 0; at r = z0 it is w * beta / 4 = 0.025."""
    sizes = [abs(gradient_at(sign * r, is_desirable=is_desirable)) for r in (0, 50, 100, 200, 400)]
    assert sizes[0] == pytest.approx(0.1 / 4)
    assert all(nearer > further for nearer, further in itertools.pairwise(sizes))
    assert sizes[-1] < 1e-15


def test_every_loss_is_half_its_weight_at_step_0() -> None:
    logps = torch.tensor([-3.0, -700.0, -0.1])
    label = torch.tensor([True, False, True])
    z0 = kl_estimate(log_ratios(logps, logps).sum(), 3)
    assert z0.item() == 0
    loss = kto_loss(logps, logps, label, z0, desirable_weight=1.2, undesirable_weight=0.6)
    torch.testing.assert_close(loss, torch.tensor([0.6, 0.3, 0.6]), atol=0, rtol=0)


def test_a_weight_of_0_is_0() -> None:
    policy = torch.tensor([-3.0, -5.0], requires_grad=True)
    label = torch.tensor([True, False])
    loss = kto_loss(policy, torch.tensor([-4.0, -4.0]), label, 0.0, weight=torch.tensor([0.0, 1.0]))
    assert loss[0].item() == 0.0
    loss.sum().backward()
    assert policy.grad is not None
    assert policy.grad[0].item() == 0.0
    assert policy.grad[1].item() != 0.0
    assert kto_loss(policy, policy, label, 0.0, desirable_weight=0.0).tolist() == [0.0, 0.5]


def test_row_weights_multiply_the_label_weights() -> None:
    logps = torch.zeros(2)
    loss = kto_loss(
        logps,
        logps,
        torch.tensor([True, False]),
        0.0,
        desirable_weight=2.0,
        undesirable_weight=4.0,
        weight=torch.tensor([3.0, 0.5]),
    )
    assert loss.tolist() == [3.0, 1.0]


def test_neither_z0_nor_reference_gets_a_gradient() -> None:
    policy, reference, mismatched = (torch.tensor([-2.0, -3.0], requires_grad=True) for _ in range(3))
    z0 = kl_estimate((mismatched - reference + 1).sum(), 2)
    kto_loss(policy, reference, torch.tensor([True, False]), z0).sum().backward()
    kto_loss(policy, reference, torch.tensor([True, False]), mismatched.mean()).sum().backward()
    assert not z0.requires_grad
    assert reference.grad is None
    assert mismatched.grad is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_are_computed_in_float32(dtype: torch.dtype) -> None:
    policy, reference = tensors([-300.0, -301.0], [-300.0, -300.0], dtype=dtype)
    loss = kto_loss(policy, reference, torch.tensor([True, True]), 0.0)
    assert loss.dtype == torch.float32
    assert kl_estimate(policy.sum(), 2).dtype == torch.float32


def test_inputs_that_do_not_fit_are_refused() -> None:
    two, three, label = torch.zeros(2), torch.zeros(3), torch.tensor([True, False])
    with pytest.raises(ShapeError, match="policy and reference log-probabilities differ in shape"):
        kto_loss(two, three, label, 0.0)
    with pytest.raises(ShapeError, match=r"label is not one bool for each example.*torch\.float32"):
        kto_loss(two, two, two, 0.0)
    with pytest.raises(ShapeError, match="losses and weights differ in shape"):
        kto_loss(two, two, label, 0.0, weight=three)
    with pytest.raises(ShapeError, match="no mismatched pair"):
        kl_estimate(torch.tensor(0.0), 0)
    with pytest.raises(ShapeError, match="reward_sum is not a scalar"):
        kl_estimate(two, 2)
    for shape in ((1,), (2, 1), (2,)):  # a column would be spread over the examples, one z0 for each pair of them
        with pytest.raises(
            ShapeError, match=r"kl_estimate is not a scalar: got \(.*\); expected a tensor of shape \(\)"
        ):
            kto_loss(two, two, label, torch.zeros(shape))
    with pytest.raises(ShapeError, match=r"reward_sum is not a scalar: got \(1,\)"):
        kl_estimate(torch.tensor([3.0]), 1)


def test_registry_knows_kto() -> None:
    kto = find_objective("kto")
    assert kto is OBJECTIVES["kto"]
    assert (kto.data, kto.needs_reference, kto.needs_kl, kto.is_halo) == ("unpaired_preference", True, True, True)


def test_an_unknown_objective_lists_the_known_ones() -> None:
    with pytest.raises(UnknownChoiceError, match="unknown objective: got 'ppo'; expected one of cdpo, csft, dpo, kto"):
        find_objective("ppo")


@pytest.mark.parametrize("tokens", [1, 30, 60, 10_000])
def test_a_step_is_the_same_in_any_micro_batches(tiny_model: Any, tokens: int) -> None:
    """z0 over the step first, then 1 to 8 micro batches divided by the step's examples: one loss, z0 and gradient."""
    from align.batches.collate import collate
    from align.batches.plan import micro_batches
    from align.scoring.logps import CompletionLogps

    module = CompletionLogps(tiny_model, 4)
    pairs = [(tuple(range(1, 4 + at)), tuple(range(50, 60 - at))) for at in range(8)]
    label = torch.tensor([True, False] * 4)

    def step(budget: int) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        tiny_model.zero_grad()
        shifted = [(prompt, pairs[at - 1][1]) for at, (prompt, _) in enumerate(pairs)]
        reference = torch.full((8,), -55.0)
        total, loss_sum = torch.zeros(()), torch.zeros(())
        with torch.no_grad():
            for members in micro_batches([len(x) + len(y) for x, y in shifted], budget):
                batch = collate([shifted[at] for at in members], 0)
                logps = module(batch.input_ids, batch.attention_mask, batch.completion_mask)
                total += log_ratios(logps, reference[members]).sum()
        z0 = kl_estimate(total, len(pairs))
        for members in micro_batches([len(x) + len(y) for x, y in pairs], budget):
            batch = collate([pairs[at] for at in members], 0)
            logps = module(batch.input_ids, batch.attention_mask, batch.completion_mask)
            loss = kto_loss(logps, reference[members], label[members], z0).sum() / len(pairs)
            loss.backward()
            loss_sum += loss.detach()
        return loss_sum, z0, {name: each.grad.clone() for name, each in tiny_model.named_parameters()}

    expected = step(10**6)
    assert expected[1] > 0
    torch.testing.assert_close(step(tokens), expected, atol=1e-5, rtol=1e-4)
