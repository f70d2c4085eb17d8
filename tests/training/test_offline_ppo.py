"""Offline PPO: rewards, advantages and loss by hand, against a slow oracle, at the first step, and with padding."""

from __future__ import annotations

import math

import pytest
import torch

from align.objectives.offline_ppo import estimate_advantages, last_token_rewards, offline_ppo_loss, whiten
from schemas.errors import ShapeError

MASK = torch.tensor([[True, True, True, False], [True, True, True, True]])


def double(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_the_reward_stands_on_the_last_token() -> None:
    found = last_token_rewards(torch.tensor([True, False]), MASK)
    assert found.tolist() == [[0, 0, 1, 0], [0, 0, 0, -1]]


def test_advantages_by_hand() -> None:
    """Two tokens, reward 1 on the second, values 0.5 and 0.2, gamma 0.99, lambda 0.95.

    Surprises: 0.99 * 0.2 - 0.5 = -0.302, and 1 - 0.2 = 0.8. Advantages: -0.302 + 0.9405 * 0.8 = 0.4504, and 0.8.
    """
    mask = torch.tensor([[True, True]])
    advantages, returns = estimate_advantages(double([[0, 1]]), double([[0.5, 0.2]]), mask)
    assert advantages.tolist() == [pytest.approx([0.4504, 0.8])]
    assert returns.tolist() == [pytest.approx([0.9504, 1.0])]


def test_advantages_equal_a_slow_oracle_and_padding_counts_for_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    rewards, values = (torch.randn(2, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    advantages, returns = estimate_advantages(rewards, values, MASK)
    for row, length in ((0, 3), (1, 4)):
        for place in range(length):
            total = 0.0
            for later in range(place, length):
                following = float(values[row, later + 1]) if later + 1 < length else 0.0
                surprise = float(rewards[row, later]) + 0.99 * following - float(values[row, later])
                total += (0.99 * 0.95) ** (later - place) * surprise
            assert float(advantages[row, place]) == pytest.approx(total)
            assert float(returns[row, place]) == pytest.approx(total + float(values[row, place]))
    rewards[0, 3] = values[0, 3] = 1e9
    again, _ = estimate_advantages(rewards, values, MASK)
    torch.testing.assert_close(again, advantages)


def test_whitened_values_have_mean_0_and_variance_1() -> None:
    values = torch.arange(8.0).reshape(2, 4)
    chosen = values[MASK]
    found = whiten(values, MASK, chosen.mean(), chosen.var(unbiased=False))
    assert float(found[MASK].mean()) == pytest.approx(0, abs=1e-6)
    assert float(found[MASK].var(unbiased=False)) == pytest.approx(1, abs=1e-5)
    assert float(found[0, 3]) == 0.0


def test_loss_by_hand() -> None:
    """One answer of two tokens, drift log 2 and 0, advantages 1 and -1, values 0.5 off.

    Ratio 2 is clipped to 1.5: max(-2, -1.5) = -1.5; ratio 1: 1. Value terms 0.005 * 0.25 each. KL 0.1 * log 2 and 0.
    Mean: (-1.5 + 1 + 0.0025 + 0.0693147) / 2 = -0.2140927.
    """
    drift = double([[math.log(2), 0.0]])
    loss = offline_ppo_loss(
        drift, torch.zeros_like(drift), double([[0.5, 0.5]]), double([[1, -1]]), double([[1.0, 0.0]]), drift == drift
    )
    assert float(loss) == pytest.approx((-1.5 + 1 + 0.0025 + 0.1 * math.log(2)) / 2)


def test_at_the_first_step_the_gradient_is_that_of_the_policy_gradient() -> None:
    """Ratio 1: the surrogate's gradient is -A, that of the KL term c_kl, each over the answer's tokens."""
    policy = double([[-1.0, -2.0, -3.0, 0.0], [-1.0, -1.0, -1.0, -1.0]]).requires_grad_()
    advantages = double([[1.0, -2.0, 0.5, 9.0], [0.0, 1.0, 1.0, -1.0]])
    zeros = torch.zeros_like(advantages)
    loss = offline_ppo_loss(policy, policy.detach(), zeros, advantages, zeros, MASK)
    loss.sum().backward()
    wanted = (-advantages + 0.1) * MASK / MASK.sum(dim=1, keepdim=True)
    torch.testing.assert_close(policy.grad, wanted)


def test_a_ratio_beyond_the_clip_gets_no_more_gradient_where_it_would_help() -> None:
    policy = double([[1.0, 1.0]]).requires_grad_()
    advantages = double([[1.0, -1.0]])
    zeros = torch.zeros_like(advantages)
    offline_ppo_loss(policy, zeros, zeros, advantages, zeros, advantages == advantages, kl_weight=0.0).sum().backward()
    assert policy.grad is not None
    assert float(policy.grad[0, 0]) == 0.0
    assert float(policy.grad[0, 1]) == pytest.approx(math.e / 2)


def test_gradients_equal_finite_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    policy, reference, values, advantages, returns = (
        0.2 * torch.randn(2, 4, generator=generator, dtype=torch.float64) for _ in range(5)
    )
    policy.requires_grad_()
    values.requires_grad_()

    def loss(ours: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return offline_ppo_loss(ours, reference, value, advantages, returns, MASK)

    assert torch.autograd.gradcheck(loss, (policy, values))


def test_what_lies_outside_of_the_mask_counts_for_nothing_even_if_infinite() -> None:
    tensors = [torch.zeros(2, 4).requires_grad_(position in (0, 2)) for position in range(5)]
    spoiled = [tensor.detach().clone() for tensor in tensors]
    for tensor in spoiled:
        tensor[0, 3] = math.inf
    spoiled[0].requires_grad_()
    one, other = offline_ppo_loss(*tensors, MASK), offline_ppo_loss(*spoiled, MASK)
    torch.testing.assert_close(one, other)
    other.sum().backward()
    assert spoiled[0].grad is not None
    assert spoiled[0].grad.isfinite().all()


def test_shapes_that_do_not_fit_are_refused() -> None:
    zeros = torch.zeros(2, 4)
    with pytest.raises(ShapeError, match="tensors of tokens differ in shape"):
        offline_ppo_loss(zeros, zeros, zeros[:, :3], zeros, zeros, MASK)
    with pytest.raises(ShapeError, match="rewards and values differ in shape"):
        estimate_advantages(zeros, zeros[:1], MASK)
