"""Rates within each source, model, language, period and length of answer: where a fault lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from feedback.audit.config import AuditConfig
from feedback.audit.report import Column, Table
from feedback.audit.slices import name_length_bin, period_of
from feedback.audit.statistics import wilson_interval
from feedback.audit.wording import safe_name
from feedback.hashing import answer_id

__all__ = ["tabulate_rates"]

_TEXTS: Final = ("prompt_hash", "completion_hash", "label")
_UNKNOWN: Final = "(not known)"


def tabulate_rates(frame: pl.DataFrame, pairs: pl.DataFrame, config: AuditConfig) -> list[Table]:
    """The tables `contradictions_by_slice`, `duplicates_by_slice` and `chosen_longer_by_slice`.

    A table is left out where its rate is 0 everywhere. An answer that has rows in two slices counts in both, and is
    contradicted in a slice where it has both labels there. A record that is read again is no duplicate, as in the
    metric `exact_duplicates`.

    Args:
        frame: the rows to be trained on.
        pairs: the pairs behind them, see `feedback.audit.pairs.pairs_behind`.
        config: how many values of a slice are shown.
    """
    slices = _slices(frame)
    rows = frame.select(
        pl.Series(
            "answer", answer_id(*(frame[name].to_numpy() for name in ("prompt_key", "completion_key"))), pl.UInt64
        ),
        "label",
        *(value.alias(name) for name, value in slices.items()),
        is_case=~pl.struct(_TEXTS).is_first_distinct() & pl.col("row_key").is_first_distinct(),
    ).with_columns(is_shared=pl.col("answer").is_duplicated())
    longer = pl.col("chosen_completion_chars") - pl.col("rejected_completion_chars")
    lengths = pairs.filter(longer != 0).with_columns(is_case=longer > 0)
    of_pairs = {name: value for name, value in _slices(lengths).items() if name in ("Source", "Week", "Month")}
    judged = lengths.select("is_case", *(value.alias(name) for name, value in of_pairs.items()))
    counts = {
        ("contradictions", "Contradictions", "Answers"): {name: _contradicted(rows, name) for name in slices},
        ("duplicates", "Exact duplicates", "Rows"): {name: _counted(rows, name) for name in slices},
        ("chosen_longer", "Longer answer chosen", "Pairs"): {name: _counted(judged, name) for name in of_pairs},
    }
    tables = [_table(*named, found, config) for named, found in counts.items()]
    return [table for table in tables if any(row[3] for row in table.rows)]


def _slices(frame: pl.DataFrame) -> dict[str, pl.Expr]:
    """The value of each row by the name of the slice."""
    dated = frame.filter(pl.col("event_ts").is_not_null())
    slices = {"Source": pl.col("source")}
    if "model_id" in frame.columns:
        slices["Model"] = pl.col("model_id").fill_null(_UNKNOWN)
    if "lang" in frame.columns:
        slices["Language"] = pl.col("lang").fill_null(_UNKNOWN)
    if dated.height:
        title, period = period_of(dated)
        slices[title] = period.fill_null(_UNKNOWN)
    if "completion_chars" in frame.columns:
        slices["Answer length"] = name_length_bin()
    return slices


def _contradicted(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """Answers and contradicted ones by slice; only rows that share their answer with another can contradict any."""
    several = (
        rows.filter("is_shared").group_by(name, "answer").agg(is_case=pl.col("label").min() != pl.col("label").max())
    )
    lone = rows.filter(~pl.col("is_shared")).select(name, is_case=pl.lit(False))
    return _counted(pl.concat([several.select(name, "is_case"), lone]), name)


def _counted(cases: pl.DataFrame, name: str) -> pl.DataFrame:
    return cases.group_by(value=name).agg(n=pl.len(), cases=pl.col("is_case").sum())


def _table(name: str, title: str, unit: str, found: Mapping[str, pl.DataFrame], config: AuditConfig) -> Table:
    rows: list[tuple[object, ...]] = []
    for slice_name, counts in found.items():
        largest = counts.sort(["n", "value"], descending=[True, False]).head(config.max_slices)
        for value, n, cases in largest.sort("value").iter_rows():
            rows.append((slice_name, safe_name(value), n, cases, cases / n, *wilson_interval(cases, n)))
    columns = (
        Column("slice", "Slice", "text"),
        Column("value", "Value", "text"),
        Column("n", unit, "count"),
        Column("cases", "Cases", "count"),
        Column("share", "Share", "share"),
        Column("low", "95% from", "share"),
        Column("high", "to", "share"),
    )
    note = f"The {config.max_slices} largest values of each slice."
    return Table(f"{name}_by_slice", f"{title} by slice", columns, tuple(rows), note)
