"""Where the rows went: what every stage took, made, kept and dropped, checked to sum from the first to the last."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from feedback.audit.report import Column, Metric, Table
from feedback.audit.wording import agree, count, plural
from schemas.reasons import DropReason
from schemas.report import StageReport

__all__ = ["measure_waterfall", "tabulate_waterfall"]


def measure_waterfall(reports: Sequence[StageReport], rows_left: int) -> list[Metric]:
    """The metric `waterfall`: rows that are neither kept nor dropped anywhere between two stages.

    Args:
        reports: the stages' reports, in order; each sums in itself, or it would not exist.
        rows_left: rows that are there after the last stage.
    """
    if not reports:
        return []
    gaps = [
        (before.stage, after.stage, before.rows_kept - after.rows_in)
        for before, after in pairwise(reports)
        if before.rows_kept != after.rows_in
    ]
    if reports[-1].rows_kept != rows_left:
        gaps.append((reports[-1].stage, "the table", reports[-1].rows_kept - rows_left))
    first, dropped = reports[0], sum(report.rows_dropped for report in reports)
    created = sum(report.rows_created for report in reports)
    return [
        Metric(
            name="waterfall",
            title="Every row accounted for",
            value=sum(abs(gap) for _, _, gap in gaps),
            kind="count",
            n=first.rows_in + created,
            severity="fail" if gaps else "ok",
            sentence=_gap_sentence(gaps)
            if gaps
            else f"{plural(first.rows_in, 'record')} came in, {plural(created, 'row')} {agree(created, 'were')} made "
            "from pairs, "
            f"{count(dropped)} dropped with a reason, {count(rows_left)} left: it sums.",
            threshold="no row unaccounted for",
            details={"gaps": [{"from": before, "to": after, "rows": rows} for before, after, rows in gaps]},
        )
    ]


def tabulate_waterfall(reports: Sequence[StageReport]) -> list[Table]:
    """The tables `waterfall` (rows by stage) and `dropped` (rows by stage and reason, with its meaning)."""
    if not reports:
        return []
    stages = tuple(
        (report.stage, report.rows_in, report.rows_created, report.rows_kept, report.rows_dropped) for report in reports
    )
    reasons = tuple(
        (report.stage, reason, rows, _meaning(reason))
        for report in reports
        for reason, rows in sorted(report.dropped.items(), key=lambda item: (-item[1], item[0]))
    )
    columns = (
        Column("stage", "Stage", "text"),
        Column("rows_in", "In", "count"),
        Column("rows_created", "Created", "count"),
        Column("rows_kept", "Kept", "count"),
        Column("rows_dropped", "Dropped", "count"),
    )
    tables = [Table("waterfall", "Rows by stage", columns, stages, "In + created = kept + dropped, at every stage.")]
    if reasons:
        headings = (
            Column("stage", "Stage", "text"),
            Column("reason", "Reason", "text"),
            Column("rows", "Rows", "count"),
            Column("meaning", "Meaning", "text"),
        )
        tables.append(Table("dropped", "Why rows were dropped", headings, reasons))
    return tables


def _gap_sentence(gaps: Sequence[tuple[str, str, int]]) -> str:
    before, after, rows = gaps[0]
    more = f" and {plural(len(gaps) - 1, 'other gap')}" if len(gaps) > 1 else ""
    verb = ("vanish" if rows > 0 else "appear") + ("es" if rows == 1 else "s" if rows == -1 else "")
    return (
        f"{plural(abs(rows), 'row')} {verb} between {before} and {after}{more}: the table is not what the stages made."
    )


def _meaning(reason: str) -> str:
    """The sentence of a reason, without the stage's name before it."""
    known = {str(item): item.meaning.split(": ", 1)[1] for item in DropReason}
    meaning = known.get(reason, "a reason of another version")
    return meaning[0].upper() + meaning[1:]
