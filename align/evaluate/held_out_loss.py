"""The mean loss of an objective over held-out rows, from numbers alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from align.batches.held_out import HeldOut
from align.config import ObjectiveConfig
from align.objectives import find_objective
from align.objectives.kto import kl_estimate
from align.objectives.losses import ScoredBatch, bind_loss

__all__ = ["Scored", "estimated_z0", "loss_of_learned", "mean_loss"]

Scored = Sequence[Sequence[float]]
"""Log-probability of each row's completion, or of its chosen and its rejected one, in nats. [B, S]."""


def mean_loss(
    policy_logps: Scored,
    reference_logps: Scored,
    labels: Sequence[bool],
    weights: Sequence[float],
    objective: ObjectiveConfig,
    *,
    z0: float,
    tokens: Sequence[Sequence[int]],
) -> float | None:
    """Mean loss of the rows that the objective learns from, of a token where it counts tokens.

    Null without such rows, and for objectives of tokens or of sampled answers, whose loss needs more than this.

    Args:
        policy_logps: under the policy. [B, S].
        reference_logps: under the reference; not read with a uniform one. [B, S].
        labels: True where desirable. [B].
        weights: factor of each row's loss. [B].
        objective: the loss.
        z0: its reference point, in nats.
        tokens: of each completion. [B, S].
    """
    known = find_objective(objective.name)
    used = [place for place, label in enumerate(labels) if label or not known.only_desirable]
    if not used or known.is_of_tokens or known.is_online:
        return None

    def tensor(values: Sequence[Any], dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """Those of the rows used."""
        return torch.tensor([values[place] for place in used], dtype=dtype)

    batch = ScoredBatch(
        policy_logps=tensor(policy_logps),
        reference_logps=tensor(reference_logps) * (objective.reference == "model"),
        tokens=tensor(tokens),
        label=tensor(labels, torch.bool),
        weight=tensor(weights),
        z0=torch.tensor(z0, dtype=torch.float64),
    )
    divisor = float(batch.tokens.sum()) if known.per_token else len(used)
    return float(bind_loss(objective)(batch).sum()) / divisor


def loss_of_learned(held_out: HeldOut, logps: Sequence[float], objective: ObjectiveConfig) -> float | None:
    """Mean loss of rows whose loss is not of the sequences that rewards are of; null where there is no such sequence.

    Args:
        held_out: the rows, with what is learned.
        logps: of what is learned of each row, under the policy. [B].
        objective: the loss; it reads no reference.
    """
    if not logps:
        return None
    return mean_loss(
        [[logp] for logp in logps],
        [[0.0]] * len(logps),
        [row.label for row in held_out.rows],
        [row.weight for row in held_out.rows],
        objective,
        z0=0.0,
        tokens=[[len(completion)] for _, completion in held_out.learned],
    )


def estimated_z0(values: Sequence[float], *, is_clamped: bool = True) -> float:
    """z0 of mismatched pairs: of their log-ratios, or with a uniform reference of their log-probabilities."""
    if not values:
        return 0.0
    return float(kl_estimate(torch.tensor(sum(values), dtype=torch.float64), len(values), is_clamped=is_clamped))
