"""The Bradley-Terry loss of a reward model, as a pure function of tensors. Letters: B pairs."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from align.objectives.tensors import check_same_shape, weighted, widen

__all__ = ["reward_model_loss"]


def reward_model_loss(chosen_rewards: Tensor, rejected_rewards: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Loss of each pair, not averaged: -log sigmoid(s_chosen - s_rejected).

    Args:
        chosen_rewards: s, the scalar that the model gives each chosen completion. [B] float.
        rejected_rewards: the same of the rejected ones. [B] float.
        weight: a factor of each pair, at least 0. [B] float, or none for all 1.

    Returns:
        [B] float32 or wider, each at least 0.

    Raises:
        ShapeError: the inputs differ in shape.

    Source: Bradley and Terry 1952; Ouyang et al. 2022, arXiv:2203.02155, equation 1.
    """
    check_same_shape(chosen_rewards, rejected_rewards, "chosen and rejected rewards")
    return weighted(-logsigmoid(widen(chosen_rewards) - widen(rejected_rewards)), weight)
