"""The page of `rebalance --explain`: the arithmetic, what each stratum lost, and which rows are left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rich.console import RenderableType

from cli.render import table_of

if TYPE_CHECKING:  # it loads polars
    from feedback.rebalance.explain import RebalanceExplanation

__all__ = ["explanation_page"]

_STRATA_SHOWN: Final = 20
_ROWS_SHOWN: Final = 10


def explanation_page(explanation: RebalanceExplanation, dropped_in: Sequence[str]) -> list[RenderableType]:
    """What the terminal shows of a rebalance.

    Args:
        explanation: what was done.
        dropped_in: files that hold all rows left out; may be none.
    """
    lines = explanation.strata[:_STRATA_SHOWN]
    columns = ("stratum", "label", "in>", "its share>", "kept>", "left out>")
    parts: list[RenderableType] = [
        *explanation.steps,
        table_of(columns, [(one.name, one.label, one.rows, one.share, one.kept, one.rows - one.kept) for one in lines]),
    ]
    others = len(explanation.strata) + explanation.other_strata - len(lines)
    if others:
        parts.append(f"{others:,} smaller strata are not shown.")
    return parts + _dropped(explanation, dropped_in)


def _dropped(explanation: RebalanceExplanation, dropped_in: Sequence[str]) -> list[RenderableType]:
    dropped = explanation.dropped
    if not dropped.height:
        return ["No row is left out."]
    reasons = dropped.group_by("drop_reason").len().sort("drop_reason")
    counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.iter_rows())
    first = dropped.head(_ROWS_SHOWN)
    which = "all of them" if dropped.height == first.height else f"the first {first.height} by id"
    rows = [
        (row_id, source, "desirable" if label else "undesirable", reason)
        for row_id, source, label, reason in first.select("row_id", "source", "label", "drop_reason").iter_rows()
    ]
    parts: list[RenderableType] = [
        f"Rows left out: {dropped.height:,} ({counts}); {which}:",
        table_of(("row_id", "source", "label", "reason"), rows),
    ]
    if dropped_in:
        return [*parts, "All rows left out, with their reasons:", *(f"  {path}" for path in dropped_in)]
    return [*parts, "--dropped FILE writes all of them; --json prints their ids."]
