"""The label balance within each source, origin, model, language, time and length: where an imbalance comes from."""

from __future__ import annotations

from typing import Final

import polars as pl

from feedback.audit.balance import weigh
from feedback.audit.config import AuditConfig
from feedback.audit.report import Column, Table
from feedback.audit.statistics import wilson_interval
from feedback.audit.wording import safe_name

__all__ = ["MOST_PERIODS", "name_length_bin", "period_of", "slice_by_label", "slice_names"]

_COLUMNS: Final = (
    Column("value", "", "text"),
    Column("rows", "Rows", "count"),
    Column("up", "Up", "count"),
    Column("down", "Down", "count"),
    Column("share_up", "Share up", "share"),
    Column("low", "95% from", "share"),
    Column("high", "to", "share"),
    Column("ratio", "R", "number"),
)
MOST_PERIODS: Final = 26
_BINS: Final = ((100, "under 100"), (300, "100 to 299"), (1000, "300 to 999"), (3000, "1,000 to 2,999"))
_OTHERS: Final = "(others)"


def slice_by_label(frame: pl.DataFrame, config: AuditConfig) -> list[Table]:
    """Tables `by_source`, `by_origin`, `by_model`, `by_time` and `by_length` of the rows to be trained on.

    Where rows have a column `lang`, there is `by_language` too.

    Args:
        frame: the rows to be trained on.
        config: the thresholds.
    """
    if frame.is_empty():
        return []
    named = [
        ("by_source", "Source", _names("source")),
        ("by_origin", "Origin", _names("origin")),
        ("by_model", "Model", _names("model_id")),
    ]
    if "lang" in frame.columns:
        named.append(("by_language", "Language", _names("lang")))
    tables = [
        _table(name, title, frame.with_columns(value=value), config, order="rows") for name, title, value in named
    ]
    dated = frame.filter(pl.col("event_ts").is_not_null())
    if not dated.is_empty():
        title, value = period_of(dated)
        tables.append(_table("by_time", title, dated.with_columns(value=value), config, order="value"))
    tables.append(_table("by_length", "Answer length, characters", _with_length_bin(frame), config, order="bin"))
    return tables


def slice_names(frame: pl.DataFrame) -> list[tuple[str, str]]:
    """Column and title of what rows are sliced by, of those that the table has.

    Args:
        frame: rows of `schemas.datasets.CANDIDATE`, with a column `lang` where languages are known.
    """
    named = (("source", "Source"), ("model_id", "Model"), ("lang", "Language"))
    return [(column, title) for column, title in named if column in frame.columns]


def _names(column: str) -> pl.Expr:
    return pl.col(column).fill_null("(not known)")


def period_of(dated: pl.DataFrame) -> tuple[str, pl.Expr]:
    """The name and the expression of a row's period: its week, or its month where weeks would be too many to show.

    Args:
        dated: rows that have an `event_ts`.
    """
    weeks = dated["event_ts"].dt.truncate("1w").unique()
    if weeks.len() <= MOST_PERIODS:
        return "Week", _named_period(weeks, "1w", "%G-W%V")
    return "Month", _named_period(dated["event_ts"].dt.truncate("1mo").unique(), "1mo", "%Y-%m")


def _named_period(begins: pl.Series, every: str, name: str) -> pl.Expr:
    """The name of the period that a time is in; names are written once a period and not once a row."""
    begin = pl.col("event_ts").dt.truncate(every)
    return begin.replace_strict(begins, begins.dt.strftime(name), default=None, return_dtype=pl.String)


def name_length_bin() -> pl.Expr:
    """The name of the bin that an answer's length is in."""
    labels = dict(enumerate((*(name for _, name in _BINS), "3,000 and more")))
    return _length_bin().replace_strict(labels, return_dtype=pl.String)


def _length_bin() -> pl.Expr:
    return pl.sum_horizontal([(pl.col("completion_chars") >= edge).cast(pl.Int64) for edge, _ in _BINS])


def _with_length_bin(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(bin=_length_bin(), value=name_length_bin())


def _table(name: str, title: str, frame: pl.DataFrame, config: AuditConfig, *, order: str) -> Table:
    bins = ["bin"] if order == "bin" else []
    frame = frame.select(
        "value", *bins, "label", "weight"
    )  # every value is filtered for: votes would be copied each time
    sizes = frame.group_by("value", *bins).len("rows")
    if order == "rows":
        listed = sizes.sort(["rows", "value"], descending=[True, False])["value"].to_list()
        shown, others = listed[: config.max_slices], listed[config.max_slices :]
    else:
        listed = sizes.sort(order)["value"].to_list()
        shown, others = listed[-MOST_PERIODS:], listed[:-MOST_PERIODS]
    rows = [_row(safe_name(value), frame.filter(pl.col("value") == value), config) for value in shown]
    if others:
        rows.append(_row(_OTHERS, frame.filter(pl.col("value").is_in(others)), config))
    columns = (Column("value", title, "text"), *_COLUMNS[1:])
    return Table(name, f"Labels by {title.split(',')[0].lower()}", columns, tuple(rows))


def _row(value: str, frame: pl.DataFrame, config: AuditConfig) -> tuple[object, ...]:
    balance = weigh(frame)
    low, high = wilson_interval(balance.desirable, balance.total)
    ratio = balance.ratio(config) if balance.undesirable else None
    share = balance.desirable / balance.total
    return (value, balance.total, balance.desirable, balance.undesirable, share, low, high, ratio)
