"""Facts of the objectives, with numbers: what the paper proves of KTO and DPO, HALOs, step 0, value functions.

Source: Ethayarajh et al. 2024, arXiv:2402.01306. What `test_kto.py` beside this shows (its gradient far from z0 = 0,
APO-zero-unpaired as KTO without z0, which is TRL's too) is not repeated here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import log_softmax

from align.config import ObjectiveConfig
from align.objectives import OBJECTIVES
from align.objectives.dpo import cdpo_loss, dpo_loss
from align.objectives.kto import kl_estimate, kto_loss
from align.objectives.losses import ScoredBatch, bind_loss
from align.objectives.offline_ppo import offline_ppo_loss
from align.objectives.reward_model import reward_model_loss
from align.objectives.values import VALUES, value_loss
from bench.theorem import BETAS, off_border_grid, predicted_log_odds, train_dpo, train_kto

HALOS = dict.fromkeys(("kto", "dpo", "offline_ppo"), True) | dict.fromkeys(
    ("cdpo", "orpo", "slic", "sft", "csft", "reward_model", "rlhf"), False
)
"""What LOSSES.md says; of cDPO it says nothing, and a test below shows why it is none.
RLHF learns from no given answers."""


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# Proposition 4.1


@pytest.mark.parametrize("is_desirable", [True, False])
@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_the_gradient_of_an_example_peaks_at_z0_and_vanishes_far_from_it(is_desirable: bool, beta: float) -> None:
    """beta w sigma'(beta (r - z0)): with w = 1.5 and z0 = 3 it is beta * 1.5 / 4 at r = 3, and nothing 400 nats off."""
    z0, weight = 3.0, 1.5
    ratios = torch.arange(-400.0, 407.0, dtype=torch.float64).requires_grad_()
    label = torch.full(ratios.shape, is_desirable)
    zeros = torch.zeros_like(ratios)
    kto_loss(ratios, zeros, label, z0, beta=beta, desirable_weight=weight, undesirable_weight=weight).sum().backward()
    assert ratios.grad is not None
    sizes = ratios.grad.abs()
    peak = int(sizes.argmax())
    assert ratios[peak].item() == z0
    assert sizes[peak].item() == pytest.approx(beta * weight / 4)
    assert (sizes[:peak].diff() >= 0).all()
    assert (sizes[peak:].diff() <= 0).all()
    assert (sizes[peak - 50 : peak].diff() > 0).all()
    assert (sizes[peak : peak + 50].diff() < 0).all()
    assert max(sizes[0].item(), sizes[-1].item()) < 1e-16
    assert ratios.grad[peak - 50 : peak + 50].sign().unique().tolist() == [-1.0 if is_desirable else 1.0]


def test_a_mislabelled_example_that_is_far_off_is_ignored_as_a_hard_one_is() -> None:
    """r = -100 called desirable, r = 100 called undesirable: 4.54e-6 each with beta 0.1, 1/5,500 of what r = 0 gets."""
    ratios = double(-100.0, 100.0, 0.0).requires_grad_()
    kto_loss(ratios, torch.zeros(3, dtype=torch.float64), torch.tensor([True, False, True]), 0.0).sum().backward()
    assert ratios.grad is not None
    assert ratios.grad.abs().tolist() == pytest.approx([4.5396e-6, 4.5396e-6, 0.025], rel=1e-4)


# Theorem 4.2


def test_rewards_that_differ_by_a_function_of_the_prompt_differ_in_human_value_only() -> None:
    """Two prompts, three answers; h is 2 for the first prompt and 0 for the second.

    Optimal policy pi_ref exp(r / beta) / Z and Bradley-Terry probabilities are the same. With the mean reward of all as
    the reference point the values sigma(r - z0) are not: of the first answer sigma(1 - 0) = 0.7311 and
    sigma(3 - 1) = 0.8808, of the last sigma(-1) = 0.2689 and sigma(-1 - 1) = 0.1192.
    """
    beta = 0.5
    reference = log_softmax(torch.tensor([[0.3, -1.0, 0.2], [0.0, 1.0, -2.0]], dtype=torch.float64), dim=1)
    reward = torch.tensor([[1.0, 0.0, -1.0], [0.5, 0.5, -1.0]], dtype=torch.float64)
    shifted = reward + torch.tensor([[2.0], [0.0]], dtype=torch.float64)
    policies = [log_softmax(reference + each / beta, dim=1).exp() for each in (reward, shifted)]
    chances = [torch.exp(-reward_model_loss(each[:, :2], each[:, 1:])) for each in (reward, shifted)]
    values = [1 - value_loss(each - each.mean(), "logistic") for each in (reward, shifted)]
    assert [each.mean().item() for each in (reward, shifted)] == pytest.approx([0.0, 1.0])
    torch.testing.assert_close(policies[0], policies[1])
    torch.testing.assert_close(chances[0], chances[1])
    assert [each[0, 0].item() for each in values] == pytest.approx([0.731059, 0.880797], abs=1e-6)
    assert [each[1, 2].item() for each in values] == pytest.approx([0.268941, 0.119203], abs=1e-6)


# Theorem 4.3


@pytest.mark.parametrize("beta", BETAS)
def test_dpo_may_prefer_the_minority_and_kto_never_does(beta: float) -> None:
    """A softmax of two outputs, trained by the losses themselves on a coarse grid of p and pi_ref.

    DPO ends at log-odds of log(p / (1-p)) / beta + log(pi_ref(y_a) / pi_ref(y_b)), which is below 0 just where
    p^(1/beta) pi_ref(y_a) < (1-p)^(1/beta) pi_ref(y_b). KTO with equal weights prefers the majority at every point.
    """
    share, reference = off_border_grid((0.55, 0.65, 0.9), (0.1, 2.0, 30.0, 1e5), beta)
    first, second = torch.sigmoid(reference), torch.sigmoid(-reference)
    is_minority = share ** (1 / beta) * first < (1 - share) ** (1 / beta) * second
    assert 0 < int(is_minority.sum()) < len(share)
    learned = train_dpo(share, reference, beta)
    assert torch.equal(learned < 0, is_minority)
    torch.testing.assert_close(learned, predicted_log_odds(share, reference, beta), atol=1e-4, rtol=1e-4)
    assert (train_kto(share, reference, beta) > 10).all()


def test_theorem_4_3_by_hand() -> None:
    """p = 0.6, beta = 0.1: (0.6 / 0.4)^10 = 57.67: DPO prefers y_b where it was 58.4 times as probable, not 57."""
    share, reference = double(0.6, 0.6), -double(57.0, 58.4).log()
    assert train_dpo(share, reference, 0.1).sign().tolist() == [1.0, -1.0]
    assert train_kto(share, reference, 0.1).sign().tolist() == [1.0, 1.0]


# HALOs: f = E[a v(r - E_Q r)] + C, with a in {-1, 1} and v that never falls


def scored(policy: torch.Tensor, reference: torch.Tensor, label: torch.Tensor, z0: float = 0.0) -> ScoredBatch:
    rows = policy.shape[0]
    return ScoredBatch(
        policy_logps=policy,
        reference_logps=reference,
        tokens=torch.full(policy.shape, 7.0),
        label=label,
        weight=torch.ones(rows, dtype=policy.dtype),
        z0=torch.tensor(z0, dtype=policy.dtype),
    )


def width(name: str) -> int:
    return 2 if OBJECTIVES[name].data == "preference" else 1


def reads_ratios_alone(name: str) -> bool:
    """Whether a loss stays the same where policy and reference move by the same, each sequence by another amount."""
    chance = torch.Generator().manual_seed(3)
    policy, reference, moved = (
        -5 - 9 * torch.rand(6, width(name), generator=chance, dtype=torch.float64) for _ in range(3)
    )
    label = torch.tensor([True, False] * 3)
    loss = bind_loss(ObjectiveConfig(name=name))
    before, after = loss(scored(policy, reference, label)), loss(scored(policy + moved, reference + moved, label))
    return torch.allclose(before, after, rtol=1e-9, atol=1e-9)


def never_rises_with_the_ratio(name: str) -> bool:
    """Whether the loss of a good answer never rises with its log-ratio over the reference point: v never falls."""
    ratios = torch.linspace(-80, 80, 321, dtype=torch.float64)[:, None]
    policy = torch.cat([ratios, torch.zeros_like(ratios)], dim=1)[:, : width(name)]
    losses = bind_loss(ObjectiveConfig(name=name))(
        scored(policy, torch.zeros_like(policy), torch.ones(len(ratios), dtype=torch.bool))
    )
    return bool((losses.diff() <= 0).all())


def test_the_registry_says_of_every_objective_what_the_table_says() -> None:
    assert {name: objective.is_halo for name, objective in OBJECTIVES.items()} == HALOS


@pytest.mark.parametrize(
    "name", [name for name, known in OBJECTIVES.items() if not (known.is_of_tokens or known.is_online)]
)
def test_a_halo_reads_log_ratios_alone_and_values_more_of_them_more(name: str) -> None:
    """SLiC, ORPO, SFT, CSFT and reward models read more than r; cDPO reads r alone and punishes too much of it."""
    assert reads_ratios_alone(name) == (name in {"kto", "dpo", "cdpo"})
    assert (reads_ratios_alone(name) and never_rises_with_the_ratio(name)) == HALOS[name]


def test_kto_is_a_value_of_each_answer_over_the_mean_of_mismatched_ones() -> None:
    """v = sigma(beta .), Q the mismatched pairs, a = -1 for desirable answers and 1 for others, C their share."""
    policy, reference = double(-9.0, -4.0, -8.0, -2.0, -7.0), double(-9.5, -6.0, -5.0, -3.0, -7.7)
    label = torch.tensor([True, False, True, True, False])
    mismatched = double(1.0, 4.0, -0.5, 2.5)
    z0 = kl_estimate(mismatched.sum(), 4)
    assert z0.item() == 1.75
    loss = kto_loss(policy, reference, label, z0, beta=0.3).mean()
    a = torch.where(label, -1.0, 1.0).double()
    halo = (a * torch.sigmoid(0.3 * (policy - reference - mismatched.mean()))).mean() + label.double().mean()
    torch.testing.assert_close(loss, halo)


def test_dpo_is_a_value_of_the_chosen_answer_over_the_rejected_one() -> None:
    """v = log sigma(beta .), all of Q on the rejected answer, a = -1, C = 0."""
    chosen, rejected = double(-9.0, -4.0, -8.0), double(-3.0, -5.0, -7.5)
    before_chosen, before_rejected = double(-9.5, -6.0, -5.0), double(-4.0, -4.0, -9.0)
    loss = dpo_loss(chosen, rejected, before_chosen, before_rejected, beta=0.3).mean()
    over = (chosen - before_chosen) - (rejected - before_rejected)
    torch.testing.assert_close(loss, (-1 * torch.log(torch.sigmoid(0.3 * over))).mean())


def test_the_surrogate_of_offline_ppo_is_a_value_of_each_token_over_the_reference() -> None:
    """r is a token's log-ratio, E_Q r = 0, a = -sign A, C = 0; the values' term and the KL term are left out.

    v = |A| min(e^r, 1.5) where A > 0, and |A| max(e^r, 0.5) where A < 0. Neither ever falls, and the first is flat from
    r = log 1.5 on; below that it is convex, also in gains, which a reader of the definition should know.
    """
    ratios = double(-1.0, -0.2, 0.0, 0.3, 2.0, -1.0, -0.2, 0.0, 0.3, 2.0)[None]
    advantages = double(1.0, 2.0, 0.5, 1.0, 3.0, -1.0, -2.0, -0.5, -1.0, -3.0)[None]
    zeros, mask = torch.zeros_like(ratios), torch.ones_like(ratios, dtype=torch.bool)
    loss = offline_ppo_loss(ratios, zeros, zeros, advantages, zeros, mask, value_weight=0.0, kl_weight=0.0)
    gains, losses = ratios.exp().clamp(max=1.5), ratios.exp().clamp(min=0.5)
    value = advantages.abs() * torch.where(advantages > 0, gains, losses)
    torch.testing.assert_close(loss, (-advantages.sign() * value).mean(dim=1))


def test_conservative_dpo_falls_and_rises_again_so_it_is_no_halo() -> None:
    """With e = 0.1 it is least at beta delta = log 9 = 2.197 and worth as much as nothing at 0 and at some 6.9."""
    delta = torch.linspace(0, 80, 801, dtype=torch.float64)
    zeros = torch.zeros_like(delta)
    losses = cdpo_loss(delta, zeros, zeros, zeros, beta=0.1, label_noise=0.1)
    assert delta[losses.argmin()].item() * 0.1 == pytest.approx(math.log(9), abs=0.01)
    assert losses[690].item() == pytest.approx(math.log(2), abs=0.01)
    assert (losses[:220].diff() < 0).all()
    assert (losses[221:].diff() > 0).all()


# Step 0: policy = reference

STEP_0: dict[str, tuple[dict[str, Any], float, float]] = {
    "logistic": ({}, 0.6, 0.35),
    "no z0": ({"z0_scope": "none"}, 0.6, 0.35),
    "concave": ({"value": "concave"}, 1.2 * math.log(2), 0.7 * math.log(2)),
    "risk_neutral": ({"value": "risk_neutral"}, 1.2, 0.7),
    "kahneman_tversky": ({"value": "kahneman_tversky"}, 0.0, 0.0),
}


@pytest.mark.parametrize("variant", list(STEP_0))
def test_the_loss_of_kto_before_the_first_step(variant: str) -> None:
    """w / 2, w log 2, w or 0, whatever the answer; z0 is 0."""
    settings, desirable, undesirable = STEP_0[variant]
    logps = double(-3.0, -700.0, -0.1, -41.0)[:, None]
    z0 = kl_estimate((logps - logps).sum(), 4)
    assert z0.item() == 0.0
    config = ObjectiveConfig(name="kto", desirable_weight=1.2, undesirable_weight=0.7, **settings)
    losses = bind_loss(config)(scored(logps, logps, torch.tensor([True, False, True, False]), z0.item()))
    assert losses.tolist() == pytest.approx([desirable, undesirable, desirable, undesirable], abs=1e-15)


def test_the_losses_of_pairs_against_a_reference_before_the_first_step() -> None:
    """DPO log 2; cDPO too, since (1 - e) log 2 + e log 2 is that."""
    logps = torch.tensor([[-3.0, -9.0], [-700.0, -0.1]], dtype=torch.float64)
    for name in ("dpo", "cdpo"):
        losses = bind_loss(ObjectiveConfig(name=name))(scored(logps, logps, torch.tensor([True, True])))
        assert losses.tolist() == pytest.approx([math.log(2)] * 2)


# Value functions


def test_value_functions_by_hand() -> None:
    """Gains 1, -1 and 2: 1 - sigma, -log sigma, 1 - g; minus g^0.88, and 2.25 times as much of a loss.

    sigma(1) = 0.731059, log sigma(1) = -0.313262, sigma(2) = 0.880797, log sigma(2) = -0.126928, 2^0.88 = 1.840375.
    """
    gains = double(1.0, -1.0, 2.0)
    wanted = {
        "logistic": [0.268941, 0.731059, 0.119203],
        "concave": [0.313262, 1.313262, 0.126928],
        "risk_neutral": [0.0, 2.0, -1.0],
        "kahneman_tversky": [-1.0, 2.25, -1.840375],
    }
    assert set(wanted) == set(VALUES)
    for name, losses in wanted.items():
        assert value_loss(gains, name).tolist() == pytest.approx(losses, abs=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", VALUES)
def test_slopes_of_value_functions_equal_finite_differences(value: Any) -> None:
    """Away from the kinks of Kahneman and Tversky's at 0 and at 0.01 on both sides."""
    gains = double(-30.0, -1.5, -0.02, -0.004, 0.004, 0.02, 1.5, 30.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda each: value_loss(each, value), gains)


def test_kahneman_tversky_has_no_jump_and_a_bounded_slope() -> None:
    """It meets its straight part at 0.01, where 0.01^0.88 = 0.017378; no slope exceeds 2.25 * 0.01^-0.12 = 3.9102."""
    edges = value_loss(double(0.01 - 1e-12, 0.01 + 1e-12, -0.01 + 1e-12, -0.01 - 1e-12), "kahneman_tversky")
    assert edges.tolist() == pytest.approx([-0.0173780, -0.0173780, 0.0391005, 0.0391005], abs=1e-7)
    gains = torch.linspace(-0.05, 0.05, 2001, dtype=torch.float64).requires_grad_()
    value_loss(gains, "kahneman_tversky").sum().backward()
    assert gains.grad is not None
    assert gains.grad.abs().max().item() == pytest.approx(2.25 * 0.01**-0.12)
    tiny = double(1e-300, -1e-300, 0.0).requires_grad_()
    value_loss(tiny, "kahneman_tversky").sum().backward()
    assert tiny.grad is not None
    assert tiny.grad.isfinite().all()


def test_a_loss_weighs_more_than_the_gain_of_its_size_by_the_loss_aversion() -> None:
    gains = double(0.001, 0.01, 0.5, 7.0)
    for aversion in (1.0, 2.25, 4.0):
        lost = value_loss(-gains, "kahneman_tversky", loss_aversion=aversion)
        torch.testing.assert_close(lost, -aversion * value_loss(gains, "kahneman_tversky"))
    assert value_loss(double(-8.0), "kahneman_tversky", exponent=0.5).item() == pytest.approx(2.25 * math.sqrt(8))


# Uniform reference


def uniform_loss(
    policy: torch.Tensor, mismatched: torch.Tensor, label: torch.Tensor, **settings: float
) -> torch.Tensor:
    z0 = kl_estimate(mismatched.sum(), len(mismatched), is_clamped=False)
    return kto_loss(policy, torch.zeros_like(policy), label, z0, **settings)


def test_a_uniform_reference_compares_with_the_mean_of_mismatched_answers() -> None:
    """S - mean S of mismatched pairs, which is -50 here and not clamped: r - z0 = 10 and -30 with beta 0.1.

    Desirable: 1 - sigma(1) = 0.268941, times 1.75. Undesirable: 1 - sigma(3) = 0.047426.
    """
    policy, mismatched, label = double(-40.0, -80.0), double(-45.0, -55.0), torch.tensor([True, False])
    loss = uniform_loss(policy, mismatched, label, desirable_weight=1.75)
    assert loss.tolist() == pytest.approx([1.75 * 0.268941, 0.047426], abs=1e-6)
    config = ObjectiveConfig(name="kto", reference="uniform", desirable_weight=1.75)
    bound = bind_loss(config)(scored(policy[:, None], torch.zeros(2, 1, dtype=torch.float64), label, -50.0))
    torch.testing.assert_close(bound, loss)


@pytest.mark.parametrize("constant", [-300.0, 0.5, 40.0])
def test_under_a_uniform_reference_a_constant_on_all_log_probabilities_changes_nothing(constant: float) -> None:
    """So it does not matter which number each output has under it: a clamped z0 would make it matter."""
    policy, mismatched, label = double(-40.0, -80.0, -51.0), double(-45.0, -55.0), torch.tensor([True, False, True])
    loss = uniform_loss(policy, mismatched, label)
    torch.testing.assert_close(uniform_loss(policy + constant, mismatched + constant, label), loss)
    clamped: Callable[[float], torch.Tensor] = lambda by: kto_loss(  # noqa: E731
        policy + by, torch.zeros_like(policy), label, kl_estimate((mismatched + by).sum(), 2)
    )
    assert not torch.allclose(clamped(constant), loss)
