"""Offline PPO: one clipped policy-gradient step on answers that were not sampled from the policy.

The reward is +1 or -1 on an answer's last token. Advantages come from a value head by GAE and are whitened over the
step; the ratio is to the reference, which is what the answers are taken to come from.

    rewards ─► advantages, returns ─► whiten over the step ─► loss of each token ─► mean of an answer's tokens

Letters: B answers, T tokens of the longest.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from align.objectives.tensors import check_same_shape, weighted, widen

__all__ = ["estimate_advantages", "last_token_rewards", "offline_ppo_loss", "whiten"]

_EPSILON: Final = 1e-8
_DISCOUNT: Final = 0.99
_LAMBDA: Final = 0.95


def last_token_rewards(label: Tensor, mask: Tensor) -> Tensor:
    """+1 or -1 on the last token of each answer, 0 elsewhere. [B, T] float32.

    Args:
        label: True where desirable. [B] bool.
        mask: True on the answer's tokens. [B, T] bool, at least one in each row.
    """
    check_same_shape(mask.new_zeros(mask.shape[0]), label, "labels and answers")
    places = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask, places, -1).amax(dim=1)
    signs = torch.where(label, 1.0, -1.0)
    return (places[None, :] == last[:, None]) * signs[:, None]


def estimate_advantages(rewards: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Advantage and return of each token by generalized advantage estimation, discounted by 0.99, with lambda 0.95.

    Args:
        rewards: [B, T] float.
        values: what the value head expects, before the token. [B, T] float.
        mask: True on the answer's tokens, which stand side by side. [B, T] bool.

    Returns:
        Advantages and returns, [B, T] float32 or wider, without a gradient, 0 outside of the mask.

    Source: Schulman et al. 2016, arXiv:1506.02438, equation 16.
    """
    check_same_shape(rewards, values, "rewards and values")
    check_same_shape(rewards, mask, "rewards and mask")
    reward, value = widen(rewards.detach()) * mask, widen(values.detach()) * mask
    columns = []
    later = reward.new_zeros(reward.shape[0])
    for place in range(reward.shape[1] - 1, -1, -1):
        following = value[:, place + 1] if place + 1 < reward.shape[1] else torch.zeros_like(later)
        surprise = reward[:, place] + _DISCOUNT * following - value[:, place]
        later = (surprise + _DISCOUNT * _LAMBDA * later) * mask[:, place]
        columns.append(later)
    advantages = torch.stack(columns[::-1], dim=1)
    return advantages, (advantages + value) * mask


def whiten(values: Tensor, mask: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Values with mean 0 and variance 1 where the mask is, 0 elsewhere.

    Args:
        values: [B, T] float.
        mask: [B, T] bool.
        mean: of all values of the step. Scalar.
        variance: of all values of the step, at least 0. Scalar.
    """
    return (values - mean) * torch.rsqrt(variance + _EPSILON) * mask


def offline_ppo_loss(
    policy_logps: Tensor,
    reference_logps: Tensor,
    values: Tensor,
    advantages: Tensor,
    returns: Tensor,
    mask: Tensor,
    *,
    clip: float = 0.5,
    value_weight: float = 0.01,
    kl_weight: float = 0.1,
    weight: Tensor | None = None,
) -> Tensor:
    """Loss of each answer, the mean over its tokens, not averaged over answers.

    With ratio = exp(policy_logps - reference_logps), a token costs max(-A * ratio, -A * clamp(ratio, 1 - clip,
    1 + clip)) + value_weight / 2 * (V - R)^2 + kl_weight * (policy_logps - reference_logps).

    Args:
        policy_logps: log-probability of each token under the policy, in nats. [B, T] float.
        reference_logps: the same under the reference. [B, T] float, no gradient.
        values: V of the value head. [B, T] float.
        advantages: A, whitened over the step. [B, T] float, no gradient.
        returns: R. [B, T] float, no gradient.
        mask: True on the answer's tokens, at least one in each row. [B, T] bool.
        clip: how far the ratio may move before its gradient is cut, greater than 0.
        value_weight: c_v, at least 0.
        kl_weight: c_kl, at least 0.
        weight: a factor of each answer, at least 0. [B] float, or none for all 1.

    Returns:
        [B] float32 or wider.

    Raises:
        ShapeError: the inputs differ in shape.

    Source: Schulman et al. 2017, arXiv:1707.06347, offline as in Ethayarajh et al. 2024, arXiv:2402.01306, section 3.
    """
    for other in (reference_logps, values, advantages, returns, mask):
        check_same_shape(policy_logps, other, "tensors of tokens")
    # What lies outside of the mask may be anything, also infinite: it is taken out before it is computed with.
    ours, theirs = (torch.where(mask, widen(each), 0.0) for each in (policy_logps, reference_logps.detach()))
    value = torch.where(mask, widen(values), 0.0)
    gain, target = (torch.where(mask, widen(each.detach()), 0.0) for each in (advantages, returns))
    drift = ours - theirs
    ratio = drift.exp()
    surrogate = torch.maximum(-gain * ratio, -gain * ratio.clamp(1 - clip, 1 + clip))
    losses = surrogate + 0.5 * value_weight * (value - target) ** 2 + kl_weight * drift
    return weighted((losses * mask).sum(dim=1) / mask.sum(dim=1), weight)
