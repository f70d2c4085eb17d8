"""Policy gradient on answers that were just sampled, with the other answers to the same prompt as the baseline (RLOO).

An answer's return is its reward less what the policy drifted: R = reward - beta (log pi - log pi_ref), of the whole
answer. Its advantage is R less the mean R of the other answers to its prompt, so no value head is needed and the
baseline does not depend on the answer. The expected gradient is that of E[reward] - beta KL(pi || pi_ref).

Letters: P prompts, K answers to each.

Source: Ahmadian et al. 2024, arXiv:2402.14740; Kool, van Hoof and Welling 2019.
"""

from __future__ import annotations

from torch import Tensor

from align.objectives.tensors import check_same_shape, weighted, widen
from schemas.errors import ShapeError

__all__ = ["leave_one_out_advantages", "penalized_rewards", "rloo_loss"]


def penalized_rewards(rewards: Tensor, policy_logps: Tensor, reference_logps: Tensor, *, beta: float) -> Tensor:
    """Return of each answer: its reward less beta times its log-ratio; no gradient.

    Args:
        rewards: [P, K] float.
        policy_logps: log-probability of each answer under the policy that it was sampled from, summed over its tokens,
            in nats. [P, K] float.
        reference_logps: the same under the frozen reference. [P, K] float.
        beta: pull towards the reference, greater than 0.

    Returns:
        [P, K] float32 or wider.

    Raises:
        ShapeError: the inputs differ in shape.
    """
    check_same_shape(rewards, policy_logps, "rewards and log-probabilities")
    check_same_shape(policy_logps, reference_logps, "policy and reference log-probabilities")
    return widen(rewards.detach()) - beta * (widen(policy_logps.detach()) - widen(reference_logps.detach()))


def leave_one_out_advantages(returns: Tensor) -> Tensor:
    """Return of each answer less the mean return of the other answers to its prompt.

    >>> import torch
    >>> leave_one_out_advantages(torch.tensor([[1.0, 2.0, 6.0]])).tolist()
    [[-3.0, -1.5, 4.5]]

    Args:
        returns: [P, K] float, K at least 2.

    Returns:
        [P, K], each row summing to 0.

    Raises:
        ShapeError: there is no other answer.
    """
    if returns.ndim != 2 or returns.shape[1] < 2:
        raise ShapeError(
            "returns have no other answers to compare with",
            received=tuple(returns.shape),
            expected="[prompts, answers], at least 2 answers",
        )
    answers = returns.shape[1]
    return (returns - returns.mean(dim=1, keepdim=True)) * (answers / (answers - 1))


def rloo_loss(policy_logps: Tensor, advantages: Tensor, weight: Tensor | None = None) -> Tensor:
    """Loss of each answer, not averaged: minus its advantage times its log-probability.

    Its gradient is the policy gradient; its value says nothing of how good the policy is.

    Args:
        policy_logps: as in `penalized_rewards`, with a gradient. [B] float.
        advantages: [B] float, no gradient.
        weight: factor of each answer's loss, at least 0. [B] float, or none for 1.

    Returns:
        [B] float32 or wider.

    Raises:
        ShapeError: the inputs differ in shape.
    """
    check_same_shape(policy_logps, advantages, "log-probabilities and advantages")
    return weighted(-widen(advantages.detach()) * widen(policy_logps), weight)
