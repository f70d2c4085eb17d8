"""Whether the share of up is another one than in the other input, over all rows and by source, model and language."""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from feedback.audit.compare.change import Change, adjusted
from feedback.audit.compare.sides import Side
from feedback.audit.config import AuditConfig
from feedback.audit.report import Column, Metric, Table
from feedback.audit.slices import slice_names
from feedback.audit.statistics import difference_interval, p_of_shares, wilson_interval
from feedback.audit.wording import agree, count, percent, plural, safe_name

__all__ = ["compare_share_up", "compare_slices"]

_COLUMNS: Final = (
    Column("slice", "Slice", "text"),
    Column("value", "Value", "text"),
    Column("n_before", "Rows before", "count"),
    Column("n", "Rows now", "count"),
    Column("share_before", "Share up before", "share"),
    Column("share", "now", "share"),
    Column("difference", "Difference", "number"),
    Column("low", "95% from", "number"),
    Column("high", "to", "number"),
    Column("p", "p, adjusted", "number"),
    Column("verdict", "Beyond chance", "text"),
)


def compare_share_up(now: Side, before: Side) -> list[Change]:
    """The metric `share_up_change`: the share of up of the input minus that of the other one.

    Args:
        now: the input.
        before: what it is compared with.

    Source: Newcombe 1998 for the interval; the test of two proportions for p.
    """
    (up, n), (up_before, n_before) = ((int(side.rows["label"].sum()), side.rows.height) for side in (now, before))
    if not n or not n_before:
        return []
    difference, low, high = _difference(up, n, up_before, n_before)
    metric = Metric(
        name="share_up_change",
        title="Change of the share of up",
        value=difference,
        kind="number",
        n=n + n_before,
        severity="info",
        sentence=f"{percent(up / n)} of {plural(n, 'row')} {agree(n, 'are')} up and {percent(up_before / n_before)} of "
        f"{count(n_before)} in {before.name}: {_points(difference)} "
        f"(95% interval {100 * low:+.1f} to {100 * high:+.1f})",
        low=low,
        high=high,
        details={"share": up / n, "share_before": up_before / n_before, "n_before": n_before},
    )
    meaning = "other answers are judged, or they are judged otherwise"
    return [Change(metric, min(n, n_before), p_of_shares(up, n, up_before, n_before), meaning)]


def compare_slices(now: Side, before: Side, config: AuditConfig) -> tuple[list[Metric], list[Table]]:
    """The metric `changed_slices` and the table `compared_slices`: the share of up within each value in both inputs.

    Values with fewer than `min_rows` rows on a side are left out, and so is a column of one value. The p are adjusted
    for the number of values.

    Args:
        now: the input.
        before: what it is compared with.
        config: the thresholds.
    """
    rows = [row for column, title in slice_names(now.rows) for row in _of_column(now, before, column, title, config)]
    if not rows:
        return [], []
    told = []
    for row, p in zip(rows, adjusted([row[-1] for row in rows]), strict=True):
        told.append((*row[:-1], p, "yes" if p <= config.compare_fdr else "no"))
    told.sort(key=lambda row: (row[9], -abs(row[6]), row[0], row[1]))
    changed = [row for row in told if row[-1] == "yes"]
    note = (
        f"Share of up by slice, where both have {config.min_rows} rows. p is adjusted for {plural(len(told), 'test')}."
    )
    table = Table("compared_slices", f"Labels by slice, compared with {before.name}", _COLUMNS, tuple(told), note)
    return [_changed_slices(changed, told, before, config)], [table]


def _of_column(now: Side, before: Side, column: str, title: str, config: AuditConfig) -> list[tuple[Any, ...]]:
    if column not in before.rows.columns:
        return []
    counts = [
        side.rows.drop_nulls(column).group_by(value=column).agg(n=pl.len(), up=pl.col("label").sum())
        for side in (now, before)
    ]
    if pl.concat(counts)["value"].n_unique() < 2:
        return []  # it is the share of up over all rows
    both = counts[0].join(counts[1], on="value", how="inner", suffix="_before")
    both = both.filter(pl.min_horizontal("n", "n_before") >= config.min_rows).sort("value")
    rows = []
    for value, n, up, n_before, up_before in both.iter_rows():
        shares = (up_before / n_before, up / n)
        p = p_of_shares(up, n, up_before, n_before)
        rows.append((title, safe_name(value), n_before, n, *shares, *_difference(up, n, up_before, n_before), p))
    return rows


def _difference(up: int, n: int, up_before: int, n_before: int) -> tuple[float, float, float]:
    share, before = up / n, up_before / n_before
    bounds = difference_interval(share, wilson_interval(up, n), before, wilson_interval(up_before, n_before))
    return share - before, *bounds


def _changed_slices(
    changed: list[tuple[Any, ...]], told: list[tuple[Any, ...]], before: Side, config: AuditConfig
) -> Metric:
    most = [f"{row[1]} ({percent(row[4])} before, {percent(row[5])} now)" for row in changed[:3]]
    meaning = f"another share of up than in {before.name}, by more than chance"
    return Metric(
        name="changed_slices",
        title="Slices with another share of up",
        value=len(changed),
        kind="count",
        n=len(told),
        severity="info",
        sentence=f"{plural(len(changed), 'value')} of {count(len(told))} of sources, models and the like "
        f"{agree(len(changed), 'have')} {meaning}" + (f": {', '.join(most)}." if most else "."),
        details={"against": before.name, "fdr": config.compare_fdr, "changed": [row[1] for row in changed]},
    )


def _points(difference: float) -> str:
    points = round(100 * abs(difference), 1)
    return f"{points:g} points {'more' if difference > 0 else 'less'}" if points else "the same"
