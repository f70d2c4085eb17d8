"""ORPO: likelihood of the chosen completion and the odds ratio to the rejected one, without a reference.

Letters: B pairs. A is a completion's mean log-probability of a token, in nats, below 0.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from align.objectives.tensors import check_same_shape, weighted, widen

__all__ = ["log_odds", "orpo_loss"]

_LEAST: Final = {torch.float32: 1e-7, torch.float64: 1e-15}
"""A mean log-probability nearer to 0 is taken for this far from it: the odds of a certain completion are infinite."""
_HALF: Final = -0.6931471805599453


def orpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    chosen_tokens: Tensor,
    rejected_tokens: Tensor,
    *,
    odds_weight: float = 0.1,
    weight: Tensor | None = None,
) -> Tensor:
    """Loss of each pair under ORPO: -A_chosen - odds_weight * log sigmoid(log_odds(A_chosen) - log_odds(A_rejected)).

    Args:
        policy_chosen_logps: log-probability of each chosen completion, summed over its tokens, in nats. [B] float.
        policy_rejected_logps: the same of the rejected ones. [B] float.
        chosen_tokens: tokens of each chosen completion, at least 1. [B].
        rejected_tokens: tokens of each rejected one. [B].
        odds_weight: lambda, weight of the odds ratio, at least 0. 0.1 is what Ethayarajh et al. 2024 use.
        weight: a factor of each pair, at least 0. [B] float, or none for all 1.

    Returns:
        [B] float32 or wider, each at least 0.

    Raises:
        ShapeError: the inputs differ in shape.

    Source: Hong et al. 2024, arXiv:2403.07691, equations 6 and 7. The likelihood term is of a mean token, as there.
    """
    for other in (policy_rejected_logps, chosen_tokens, rejected_tokens):
        check_same_shape(policy_chosen_logps, other, "log-probabilities and numbers of tokens")
    chosen = widen(policy_chosen_logps) / chosen_tokens
    rejected = widen(policy_rejected_logps) / rejected_tokens
    return weighted(-chosen - odds_weight * logsigmoid(log_odds(chosen) - log_odds(rejected)), weight)


def log_odds(mean_logps: Tensor) -> Tensor:
    """Log-odds of completions: A - log(1 - exp A), accurate for A near 0 and far below it.

    Args:
        mean_logps: A, at most 0. [B] float32 or wider.

    Returns:
        [B]. A of 0 is taken for one just below.
    """
    bounded = mean_logps.clamp(max=-_LEAST.get(mean_logps.dtype, 1e-7))
    # log(1 - exp a): each form is used where it is exact; the other is fed a number that keeps its gradient finite.
    is_near = bounded > _HALF
    near = torch.log(-torch.expm1(torch.where(is_near, bounded, torch.full_like(bounded, -0.5))))
    far = torch.log1p(-torch.exp(torch.where(is_near, torch.full_like(bounded, -1.0), bounded)))
    return bounded - torch.where(is_near, near, far)
