"""SFT and conditional SFT: the likelihood of completions, as pure functions of tensors.

CSFT is the same loss on a control token and the completion: one token for desirable answers, one for undesirable ones.
Which ids a row has is decided where it is tokenized (`align.tokens.control_tokens`), so the loss is shared.

Letters: B examples. A step's loss is the sum of these over its number of completion tokens, not over its examples.
"""

from __future__ import annotations

from torch import Tensor

from align.objectives.tensors import weighted, widen

__all__ = ["sft_loss"]


def sft_loss(policy_logps: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Loss of each example under SFT, not averaged: minus the summed log-probability of its completion.

    Args:
        policy_logps: log-probability of each completion, summed over its tokens, in nats. [B] float.
        weight: a factor of each example, at least 0. [B] float, or none for all 1.

    Returns:
        [B] float32 or wider, each at least 0.

    Raises:
        ShapeError: the weights differ in shape.
    """
    return weighted(-widen(policy_logps), weight)
