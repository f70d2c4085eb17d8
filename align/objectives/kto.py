"""KTO: the loss of labelled answers, as pure functions of tensors.

Letters: B examples, K mismatched pairs (the prompt of one example with the completion of another). Everything is
computed in float32 or wider, whatever comes in. The step, the micro batches and the ranks are the caller's: a caller
sums the log-ratios of its mismatched pairs over the scope it wants (a step, a micro batch), and gives sum and count to
`kl_estimate`; with the scope `none` it passes 0, and the loss is APO-zero-unpaired. With a uniform reference it passes
reference log-probabilities of 0 and a z0 that is not clamped.
"""

from __future__ import annotations

import torch
from torch import Tensor

from align.objectives.tensors import log_ratios, weighted, widen
from align.objectives.values import EXPONENT, LOSS_AVERSION, ValueName, value_loss
from schemas.errors import ShapeError

__all__ = ["kl_estimate", "kto_loss"]


def kto_loss(
    policy_logps: Tensor,
    reference_logps: Tensor,
    label: Tensor,
    kl_estimate: Tensor | float,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
    weight: Tensor | None = None,
    value: ValueName = "logistic",
    exponent: float = EXPONENT,
    loss_aversion: float = LOSS_AVERSION,
) -> Tensor:
    """Loss of each example under KTO, not averaged.

    With r = policy_logps - reference_logps, a desirable completion costs w_D * (1 - sigmoid(beta * (r - z0))) and an
    undesirable one w_U * (1 - sigmoid(beta * (z0 - r))); other value functions stand in for the sigmoid.

    Args:
        policy_logps: log-probability of each completion under the policy, summed over its tokens, in nats. [B] float.
        reference_logps: the same under the frozen reference. [B] float, no gradient.
        label: True where the completion is desirable. [B] bool.
        kl_estimate: z0, the estimate of KL(policy || reference) in nats, at least 0; never differentiated. Scalar.
        beta: pull towards the reference; larger stays closer. Greater than 0. The default is the paper's.
        desirable_weight: w_D, at least 0.
        undesirable_weight: w_U, at least 0.
        weight: a further factor of each example, at least 0; a 0 is a 0. [B] float, or none for all 1.
        value: the value function, see `align.objectives.values`.
        exponent: of the value function `kahneman_tversky`.
        loss_aversion: of the same.

    Returns:
        [B] float32 or wider, each in [0, max(w_D, w_U) * weight] with the value function `logistic`.

    Raises:
        ShapeError: the [B] inputs differ in shape, `label` is not bool, or `kl_estimate` is not a scalar.

    Source: Ethayarajh et al. 2024, arXiv:2402.01306, definition of L_KTO. Differs from it: `weight` is ours.
    """
    ratio = log_ratios(policy_logps, reference_logps)
    _check_label(label, ratio)
    z0 = torch.as_tensor(kl_estimate, dtype=ratio.dtype, device=ratio.device).detach()
    _check_scalar(z0, "kl_estimate", todo="Give one number: all examples of a call share one z0")
    gain = torch.where(label, ratio - z0, z0 - ratio)
    scale = torch.where(label, ratio.new_tensor(desirable_weight), ratio.new_tensor(undesirable_weight))
    losses = value_loss(beta * gain, value, exponent=exponent, loss_aversion=loss_aversion)
    return weighted(scale * losses, weight)


def kl_estimate(reward_sum: Tensor, count: Tensor | int, *, is_clamped: bool = True) -> Tensor:
    """z0 of a scope: the mean log-ratio of its mismatched pairs, detached first and clamped at 0 last.

    Args:
        reward_sum: sum of r = policy_logps - reference_logps over the K mismatched pairs, over all ranks. Scalar.
        count: K, over all ranks; at least 1.
        is_clamped: whether the estimate is at least 0, as a divergence is. Not with a uniform reference, where it is a
            mean log-probability.

    Returns:
        Scalar float32 or wider, without a gradient. A sum that is not finite stays so.

    Raises:
        ShapeError: there is no mismatched pair, or `reward_sum` is not a scalar.

    Source: Ethayarajh et al. 2024, arXiv:2402.01306, section 4.1.
    """
    _check_scalar(reward_sum, "reward_sum", todo="Sum the log-ratios of the mismatched pairs")
    if float(count) < 1:
        raise ShapeError("no mismatched pair to estimate z0 from", received=float(count), expected="at least 1")
    mean = widen(reward_sum.detach()) / float(count)
    return mean.clamp(min=0.0) if is_clamped else mean


def _check_scalar(value: Tensor, name: str, *, todo: str) -> None:
    if value.ndim != 0:
        raise ShapeError(
            f"{name} is not a scalar", received=tuple(value.shape), expected="a tensor of shape ()", todo=todo
        )


def _check_label(label: Tensor, ratio: Tensor) -> None:
    if label.dtype != torch.bool or label.shape != ratio.shape:
        raise ShapeError(
            "label is not one bool for each example",
            received=f"{label.dtype} {tuple(label.shape)}",
            expected=f"torch.bool {tuple(ratio.shape)}",
        )
