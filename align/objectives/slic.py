"""SLiC: a ranking hinge between chosen and rejected with a language-model term, without a reference.

Letters: B pairs.
"""

from __future__ import annotations

from torch import Tensor

from align.objectives.tensors import check_same_shape, weighted, widen

__all__ = ["slic_loss"]


def slic_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    *,
    margin: float = 1.0,
    sft_weight: float = 0.1,
    weight: Tensor | None = None,
) -> Tensor:
    """Loss of each pair under SLiC, not averaged: max(0, margin - S_chosen + S_rejected) - sft_weight * S_chosen.

    Args:
        policy_chosen_logps: S, log-probability of each chosen completion, summed over its tokens, in nats. [B] float.
        policy_rejected_logps: the same of the rejected ones. [B] float.
        margin: nats by which the chosen completion should be the more probable one, at least 0.
        sft_weight: weight of the chosen completion's own log-probability, at least 0.
        weight: a factor of each pair, at least 0. [B] float, or none for all 1.

    Returns:
        [B] float32 or wider, each at least 0.

    Raises:
        ShapeError: the inputs differ in shape.

    Source: Zhao et al. 2023, arXiv:2305.10425, as Ethayarajh et al. 2024 use it: the regularizer is the chosen
    completion's likelihood.
    """
    check_same_shape(policy_chosen_logps, policy_rejected_logps, "chosen and rejected log-probabilities")
    chosen, rejected = widen(policy_chosen_logps), widen(policy_rejected_logps)
    return weighted((margin - chosen + rejected).clamp(min=0.0) - sft_weight * chosen, weight)
