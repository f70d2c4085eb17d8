"""Losses of pairs and of likelihood: by hand, against slow oracles and TRL, gradients, extremes, masked is removed."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from align.objectives.dpo import cdpo_loss, dpo_loss
from align.objectives.orpo import log_odds, orpo_loss
from align.objectives.reward_model import reward_model_loss
from align.objectives.sft import sft_loss
from align.objectives.slic import slic_loss
from schemas.errors import ShapeError

LOGP = st.floats(-300, -0.01, allow_nan=False)
PAIRS = st.lists(st.tuples(LOGP, LOGP, LOGP, LOGP, st.floats(0, 3)), min_size=1, max_size=6)
TOKENS = torch.tensor([3.0, 5.0, 2.0])


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def log_sigma(x: float) -> float:
    return -math.log1p(math.exp(-x)) if x > -500 else x


def odds(a: float) -> float:
    return a - math.log(-math.expm1(a))


def test_losses_by_hand() -> None:
    """Chosen -4 against -6, rejected -5 against -4: delta = 2 + 1 = 3; beta 0.5 gives 1.5.

    DPO -log sigma(1.5) = 0.201413. cDPO at 0.1: 0.9 * 0.201413 + 0.1 * 1.701413 = 0.351413.
    SLiC: max(0, 1 + 4 - 5) + 0.1 * 4 = 0.4. ORPO of means -1 and -2.5: odds -0.541325 and -2.414349; ratio 1.873024,
    -log sigma = 0.142937, so 1 + 0.1 * 0.142937. SFT 4. Rewards 1.5 and 0: as DPO.
    """
    four = double(-4.0), double(-5.0), double(-6.0), double(-4.0)
    assert float(dpo_loss(*four, beta=0.5)) == pytest.approx(0.201413, abs=1e-6)
    assert float(cdpo_loss(*four, beta=0.5, label_noise=0.1)) == pytest.approx(0.351413, abs=1e-6)
    assert float(slic_loss(double(-4.0), double(-5.0))) == pytest.approx(0.4)
    found = orpo_loss(double(-4.0), double(-5.0), double(4.0), double(2.0))
    assert float(found) == pytest.approx(1 + 0.1 * 0.142937, abs=1e-6)
    assert float(sft_loss(double(-4.0))) == 4.0
    assert float(reward_model_loss(double(1.5), double(0.0))) == pytest.approx(0.201413, abs=1e-6)


@given(PAIRS, st.floats(0.01, 2), st.floats(0, 0.49), st.floats(0, 3), st.integers(1, 9))
def test_losses_equal_slow_oracles(
    pairs: list[tuple[float, float, float, float, float]], beta: float, noise: float, margin: float, tokens: int
) -> None:
    chosen, rejected, reference_chosen, reference_rejected, weight = (
        double(*column) for column in zip(*pairs, strict=True)
    )
    four = (chosen, rejected, reference_chosen, reference_rejected)
    counts = torch.full_like(chosen, tokens), torch.full_like(chosen, tokens + 1)
    found = {
        "dpo": dpo_loss(*four, beta=beta, weight=weight),
        "cdpo": cdpo_loss(*four, beta=beta, label_noise=noise, weight=weight),
        "slic": slic_loss(chosen, rejected, margin=margin, sft_weight=noise, weight=weight),
        "orpo": orpo_loss(chosen, rejected, *counts, odds_weight=margin, weight=weight),
        "reward": reward_model_loss(chosen, rejected, weight=weight),
        "sft": sft_loss(chosen, weight=weight),
    }
    for place, (good, bad, good_before, bad_before, factor) in enumerate(pairs):
        delta = (good - good_before) - (bad - bad_before)
        wanted = {
            "dpo": -log_sigma(beta * delta),
            "cdpo": -(1 - noise) * log_sigma(beta * delta) - noise * log_sigma(-beta * delta),
            "slic": max(0.0, margin - good + bad) - noise * good,
            "orpo": -good / tokens - margin * log_sigma(odds(good / tokens) - odds(bad / (tokens + 1))),
            "reward": -log_sigma(good - bad),
            "sft": -good,
        }
        for name, value in wanted.items():
            assert float(found[name][place]) == pytest.approx(factor * value, rel=1e-9, abs=1e-9), name


@pytest.mark.filterwarnings("ignore::trl.import_utils.TRLExperimentalWarning")
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_dpo_and_cdpo_equal_trl_given_the_same_log_ratios(noise: float) -> None:
    """TRL's conservative loss stands in CPO, which is DPO without a reference: it is given log-ratios."""
    from trl.experimental.cpo import CPOTrainer

    ours = [torch.randn(7, dtype=torch.float32, generator=torch.Generator().manual_seed(n)) * 20 for n in range(4)]
    theirs = [value.clone() for value in ours]
    for values in (ours, theirs):
        values[0].requires_grad_()
        values[1].requires_grad_()
    loss = cdpo_loss(*ours, beta=0.3, label_noise=noise) if noise else dpo_loss(*ours, beta=0.3)
    trainer = SimpleNamespace(
        alpha=0.0,
        beta=0.3,
        label_smoothing=noise,
        loss_type="sigmoid",
        accelerator=SimpleNamespace(device=torch.device("cpu")),
    )
    wanted = CPOTrainer.cpo_loss(trainer, theirs[0] - theirs[2], theirs[1] - theirs[3])[0]
    loss.sum().backward()
    wanted.sum().backward()
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(ours[0].grad, theirs[0].grad)
    torch.testing.assert_close(ours[1].grad, theirs[1].grad)


@pytest.mark.filterwarnings("ignore::trl.import_utils.TRLExperimentalWarning")
def test_orpo_odds_equal_trl() -> None:
    """TRL's ratio is of mean log-probabilities, with its weight inside and its sign outside."""
    from trl.experimental.orpo import ORPOTrainer

    chosen, rejected = torch.tensor([-0.3, -2.0, -0.001]), torch.tensor([-1.5, -0.4, -6.0])
    trainer = SimpleNamespace(beta=0.25, accelerator=SimpleNamespace(device=torch.device("cpu")))
    theirs = ORPOTrainer.odds_ratio_loss(trainer, chosen, rejected)[0]
    ours = orpo_loss(chosen * TOKENS, rejected * TOKENS, TOKENS, TOKENS, odds_weight=0.25)
    torch.testing.assert_close(ours, -chosen - theirs, atol=1e-5, rtol=1e-5)


def test_reward_model_loss_equals_trl() -> None:
    from trl import RewardTrainer

    rewards = torch.randn(8, generator=torch.Generator().manual_seed(3))
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        args=SimpleNamespace(center_rewards_coefficient=None),
        aux_loss_enabled=False,
        accelerator=SimpleNamespace(gather_for_metrics=lambda x: x, gather=lambda x: x, device=torch.device("cpu")),
        _metrics={
            "train": {
                name: [] for name in ("num_tokens", "min_reward", "mean_reward", "max_reward", "accuracy", "margin")
            }
        },
        _total_train_tokens=0,
        _tp_size=1,
    )
    model = lambda **_: SimpleNamespace(logits=rewards[:, None])  # noqa: E731
    inputs = {"input_ids": torch.zeros(8, 1), "attention_mask": torch.ones(8, 1)}
    theirs = RewardTrainer.compute_loss(trainer, model, inputs)
    torch.testing.assert_close(reward_model_loss(rewards[:4], rewards[4:]).mean(), theirs)


LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "dpo": lambda chosen, rejected: dpo_loss(chosen, rejected, double(-9, -9, -9), double(-8, -9, -7)),
    "cdpo": lambda chosen, rejected: cdpo_loss(chosen, rejected, double(-9, -9, -9), double(-8, -9, -7)),
    "slic": slic_loss,
    "orpo": lambda chosen, rejected: orpo_loss(chosen, rejected, TOKENS, TOKENS),
    "reward": reward_model_loss,
    "sft": lambda chosen, _: sft_loss(chosen),
}


@pytest.mark.parametrize("name", list(LOSSES))
def test_gradients_equal_finite_differences(name: str) -> None:
    chosen, rejected = double(-4.0, -12.0, -0.5).requires_grad_(), double(-6.0, -2.0, -0.9).requires_grad_()
    assert torch.autograd.gradcheck(LOSSES[name], (chosen, rejected))


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize(("chosen", "rejected"), [(-1e4, -1e-6), (-1e-6, -1e4), (-1e4, -1e4), (-1e-9, -1e-9), (0, 0)])
def test_extremes_stay_finite(name: str, chosen: float, rejected: float) -> None:
    values = [torch.full((3,), float(value)).requires_grad_() for value in (chosen, rejected)]
    loss = LOSSES[name](*values)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert all(value.grad is None or value.grad.isfinite().all() for value in values)


@pytest.mark.parametrize("name", list(LOSSES))
def test_an_example_of_weight_0_is_one_that_is_not_there(name: str) -> None:
    """In value and gradient; and half precision is computed in float32."""
    keep = torch.tensor([True, False, True])
    weights = keep.double()
    chosen, rejected = (double(-4.0, -12.0, -0.5).requires_grad_() for _ in range(2))
    calls: dict[str, Callable[[torch.Tensor, torch.Tensor, Any, torch.Tensor], torch.Tensor]] = {
        "dpo": lambda c, r, w, k: dpo_loss(c, r, double(-9, -9, -9)[k], double(-8, -9, -7)[k], weight=w),
        "cdpo": lambda c, r, w, k: cdpo_loss(c, r, double(-9, -9, -9)[k], double(-8, -9, -7)[k], weight=w),
        "slic": lambda c, r, w, k: slic_loss(c, r, weight=w),
        "orpo": lambda c, r, w, k: orpo_loss(c, r, TOKENS[k], TOKENS[k], weight=w),
        "reward": lambda c, r, w, k: reward_model_loss(c, r, weight=w),
        "sft": lambda c, r, w, k: sft_loss(c, weight=w),
    }
    everything = torch.ones(3, dtype=torch.bool)
    masked = calls[name](chosen, rejected, weights, everything).sum()
    (gradient,) = torch.autograd.grad(masked, chosen)
    removed = calls[name](chosen[keep], rejected[keep], None, keep).sum()
    (other,) = torch.autograd.grad(removed, chosen)
    torch.testing.assert_close(masked, removed)
    torch.testing.assert_close(gradient, other)
    assert LOSSES[name](*(value.detach().bfloat16() for value in (chosen, rejected))).dtype in (
        torch.float32,
        torch.float64,
    )


def test_the_reference_gets_no_gradient() -> None:
    values = [double(-4.0).requires_grad_() for _ in range(4)]
    dpo_loss(*values).sum().backward()
    assert [value.grad is None for value in values] == [False, False, True, True]


@given(st.floats(-50, -1e-12))
def test_log_odds_are_exact_near_0_and_far_from_it(mean: float) -> None:
    assert float(log_odds(double(mean))) == pytest.approx(odds(mean), rel=1e-9)


def test_shapes_that_do_not_fit_are_refused() -> None:
    two, three = torch.zeros(2), torch.zeros(3)
    for call in (
        lambda: dpo_loss(two, three, two, three),
        lambda: dpo_loss(two, two, three, two),
        lambda: slic_loss(two, three),
        lambda: orpo_loss(two, two, two, three),
        lambda: reward_model_loss(two, three),
        lambda: sft_loss(two, weight=three),
    ):
        with pytest.raises(ShapeError, match="differ in shape"):
            call()
