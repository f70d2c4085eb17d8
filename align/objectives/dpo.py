"""DPO and conservative DPO: losses of pairs against a reference, as pure functions of tensors.

Letters: B pairs. With r = policy_logps - reference_logps of a completion, delta = r_chosen - r_rejected.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from align.objectives.tensors import check_same_shape, log_ratios, weighted

__all__ = ["cdpo_loss", "dpo_loss"]


def dpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float = 0.1,
    weight: Tensor | None = None,
) -> Tensor:
    """Loss of each pair under DPO, not averaged: -log sigmoid(beta * delta).

    Args:
        policy_chosen_logps: log-probability of each chosen completion under the policy, summed over its tokens, in
            nats. [B] float.
        policy_rejected_logps: the same of the rejected ones. [B] float.
        reference_chosen_logps: the same of the chosen ones under the reference. [B] float, no gradient.
        reference_rejected_logps: the same of the rejected ones. [B] float, no gradient.
        beta: pull towards the reference; larger stays closer. Greater than 0.
        weight: a factor of each pair, at least 0. [B] float, or none for all 1.

    Returns:
        [B] float32 or wider, each at least 0.

    Raises:
        ShapeError: the inputs differ in shape.

    Source: Rafailov et al. 2023, arXiv:2305.18290, equation 7. Differs from it: `weight` is ours.
    """
    return cdpo_loss(
        policy_chosen_logps,
        policy_rejected_logps,
        reference_chosen_logps,
        reference_rejected_logps,
        beta=beta,
        label_noise=0.0,
        weight=weight,
    )


def cdpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float = 0.1,
    label_noise: float = 0.1,
    weight: Tensor | None = None,
) -> Tensor:
    """Loss of each pair under conservative DPO: -(1 - e) log sigmoid(beta * delta) - e log sigmoid(-beta * delta).

    Args:
        policy_chosen_logps: as in `dpo_loss`. [B] float.
        policy_rejected_logps: [B] float.
        reference_chosen_logps: [B] float, no gradient.
        reference_rejected_logps: [B] float, no gradient.
        beta: as in `dpo_loss`.
        label_noise: e, the share of pairs whose order is taken to be wrong, in [0, 0.5); 0 is DPO.
        weight: as in `dpo_loss`.

    Returns:
        [B] float32 or wider, each at least 0.

    Raises:
        ShapeError: the inputs differ in shape.

    Source: Mitchell 2023, "A note on DPO with noisy preferences and relationship to IPO", equation 3.
    """
    chosen = log_ratios(policy_chosen_logps, reference_chosen_logps)
    rejected = log_ratios(policy_rejected_logps, reference_rejected_logps)
    check_same_shape(chosen, rejected, "chosen and rejected log-probabilities")
    logits = beta * (chosen - rejected)
    losses = -(1 - label_noise) * logsigmoid(logits)
    if label_noise:
        losses = losses - label_noise * logsigmoid(-logits)
    return weighted(losses, weight)
