"""Every measure of both audits side by side, and which of them differ by more than chance."""

from __future__ import annotations

import math
from typing import Any, Final

from feedback.audit.compare.change import adjusted
from feedback.audit.config import AuditConfig
from feedback.audit.report import AuditReport, Column, Metric, Table
from feedback.audit.statistics import difference_interval, p_of_interval
from feedback.audit.wording import plural

__all__ = ["tabulate_measures"]

_COLUMNS: Final = (
    Column("measure", "Measure", "text"),
    Column("before", "Before", "number"),
    Column("now", "Now", "number"),
    Column("difference", "Difference", "number"),
    Column("low", "95% from", "number"),
    Column("high", "to", "number"),
    Column("p", "p, adjusted", "number"),
    Column("verdict", "Beyond chance", "text"),
    Column("name", "Name", "text"),
)


def tabulate_measures(report: AuditReport, before: AuditReport, config: AuditConfig) -> Table:
    """The table `compared`: value in both, difference with its interval, and p where both have one.

    Intervals and p are made from the intervals of both values, which are taken as independent; the p are adjusted for
    the number of measures. Measures of fewer than `min_rows` cases get no p.

    Args:
        report: the audit.
        before: the audit that it is compared with.
        config: the thresholds.
    """
    names = list(dict.fromkeys(metric.name for audit in (report, before) for metric in audit.metrics))
    pairs = [(before.metric(name), report.metric(name)) for name in names if name != "waterfall"]
    rows = [_row(old, new, config) for old, new in pairs]
    tested = [place for place, row in enumerate(rows) if row[-1] is not None]
    known = dict(zip(tested, adjusted([rows[place][-1] for place in tested]), strict=True))
    told = tuple(_told(row, known.get(place), config) for place, row in enumerate(rows))
    note = (
        f"Before is {before.name}. Shares are from 0 to 1. p is adjusted for {plural(len(tested), 'test')}; measures "
        "without an interval have none."
    )
    return Table("compared", f"Compared with {before.name}", _COLUMNS, told, note)


def _row(old: Metric | None, new: Metric | None, config: AuditConfig) -> list[Any]:
    """Title, name, value before and now, difference, bounds, p; null for what is not known."""
    known = new or old
    title, name = (known.title, known.name) if known is not None else ("", "")
    values = [None if metric is None else metric.value for metric in (old, new)]
    row: list[Any] = [title, name, *values, None, None, None, None]
    if old is None or new is None or not _is_finite(values[0]) or not _is_finite(values[1]):
        return row
    first, second = float(new.value or 0), float(old.value or 0)
    row[4] = first - second
    if new.low is None or new.high is None or old.low is None or old.high is None:
        return row
    row[5:7] = difference_interval(first, (new.low, new.high), second, (old.low, old.high))
    if min(new.n, old.n) >= config.min_rows:
        row[7] = p_of_interval(row[4], (row[5], row[6]))
    return row


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _told(row: list[Any], p: float | None, config: AuditConfig) -> tuple[Any, ...]:
    title, name, *values = row[:-1]
    verdict = None if p is None else "yes" if p <= config.compare_fdr else "no"
    return (title, *values, p, verdict, name)
