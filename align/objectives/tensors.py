"""What all losses ask of their tensors: one shape, float32 or wider, and no gradient into the reference."""

from __future__ import annotations

import torch
from torch import Tensor

from schemas.errors import ShapeError

__all__ = ["check_same_shape", "log_ratios", "weighted", "widen"]


def widen(values: Tensor) -> Tensor:
    """The values in float32, or in their own type where that is wider."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def log_ratios(policy_logps: Tensor, reference_logps: Tensor) -> Tensor:
    """Log-ratio r = policy_logps - reference_logps of each completion, in nats; the reference never gets a gradient.

    Args:
        policy_logps: [B] float.
        reference_logps: [B] float.

    Returns:
        [B] float32 or wider.

    Raises:
        ShapeError: the inputs differ in shape.
    """
    check_same_shape(policy_logps, reference_logps, "policy and reference log-probabilities")
    return widen(policy_logps) - widen(reference_logps.detach())


def weighted(losses: Tensor, weight: Tensor | None) -> Tensor:
    """The loss of each example times its weight; without weights, as it is. [B].

    Raises:
        ShapeError: the weights differ in shape.
    """
    if weight is None:
        return losses
    check_same_shape(losses, weight, "losses and weights")
    return losses * weight.to(losses)


def check_same_shape(first: Tensor, second: Tensor, what: str) -> None:
    """Pass if both tensors have one shape.

    Args:
        first: its shape is the one that is expected.
        second: the other.
        what: names both, for the error.

    Raises:
        ShapeError: they differ.
    """
    if first.shape != second.shape:
        raise ShapeError(f"{what} differ in shape", received=tuple(second.shape), expected=str(tuple(first.shape)))
