"""The rows that evaluation scores, and their pairs: the same ones whatever their order."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from align.batches.plan import build_plan
from align.objectives import Objective
from align.tokens.token_ids import TokenPair
from align.tokens.tokenize import TokenizedRow
from schemas.errors import StepPlanError

__all__ = ["HeldOut", "held_out_pairs"]


@dataclass(frozen=True)
class HeldOut:
    """The rows that evaluation scores.

    Args:
        rows: the rows.
        matched: prompt and completion of each; of pairs, those of the chosen answer and behind it of the rejected one.
        mismatched: pairs for the KL estimate; empty where there is none to take, or the rows have no two prompts.
    """

    rows: tuple[TokenizedRow, ...]
    matched: tuple[TokenPair, ...]
    mismatched: tuple[TokenPair, ...]

    @property
    def learned(self) -> tuple[TokenPair, ...]:
        """What the loss is taken of, of each row, where it is not of the matched pairs; else empty."""
        return tuple(row.learned for row in self.rows if row.learned is not None)

    def digest(self) -> str:
        """Digest of the rows' tokens, labels and weights, 32 hex digits: runs with the same one scored the same."""
        digest = hashlib.blake2b(digest_size=16)
        for row in self.rows:
            digest.update(f"{row.label}\0{row.weight!r}\n".encode())
            for ids in (part for pair in row.sequences for part in pair):
                digest.update(f"{len(ids)}\n".encode() + array("q", ids).tobytes())
        return digest.hexdigest()


def held_out_pairs(
    rows: Sequence[TokenizedRow], objective: Objective, *, takes_kl: bool = True, max_rows: int = 0
) -> HeldOut:
    """The rows to evaluate and their pairs, the same ones whatever their order.

    Args:
        rows: of the held-out split.
        objective: what they are measured for; only one with a KL estimate gets mismatched pairs.
        takes_kl: whether its settings have it take that estimate, see `align.objectives.losses.needs_kl`.
        max_rows: at most so many; 0 is all.
    """
    ordered = sorted(rows, key=lambda row: (hashlib.blake2b(row.row_id.encode()).digest(), row.row_id))
    chosen = ordered[: max_rows or None]
    mismatched: list[TokenPair] = []
    try:
        if objective.needs_kl and takes_kl:
            plan = build_plan(chosen, epochs=1, batch_size=max(2, len(chosen)), seed=0, digest="held-out")
            for row, partner in zip(plan["row"].to_pylist(), plan["kl_partner"].to_pylist(), strict=True):
                mismatched.append((chosen[row].prompt_ids, chosen[partner].completion_ids))
    except StepPlanError:  # too few prompts to mismatch; evaluation then reports no z0
        mismatched = []
    return HeldOut(tuple(chosen), tuple(pair for row in chosen for pair in row.sequences), tuple(mismatched))
