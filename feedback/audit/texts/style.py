"""Whether the style of an answer moves its label: then the model learns style, and to please."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from feedback.audit.balance import training_rows
from feedback.audit.config import AuditConfig
from feedback.audit.report import Column, Metric, Table
from feedback.audit.severity import warn_if
from feedback.audit.texts.logistic import fit_logistic
from feedback.audit.texts.style_flags import STYLES, Style
from feedback.audit.wording import number, plural
from feedback.hashing import keys_of_ids, order_hash

__all__ = ["Lift", "find_lifts", "measure_style", "rows_for_style", "tabulate_style"]

_LEAST_CASES: Final = 5
"""Rows with and without a mark, up and down each, below which no lift is said of it."""


@dataclass(frozen=True, slots=True)
class Lift:
    """How a mark of style moves the label.

    Args:
        style: the mark.
        rows: rows that were looked at.
        having: rows among them with the mark.
        up_with: share of up among those.
        up_without: share of up among the others.
        value: log-odds of up given the mark, at equal length; null where too few rows say.
        low: lower bound of its 95% interval.
        high: upper bound of the same.
    """

    style: Style
    rows: int
    having: int
    up_with: float | None
    up_without: float | None
    value: float | None = None
    low: float | None = None
    high: float | None = None

    def is_beyond(self, margin: float) -> bool:
        """Whether the whole interval lies further from 0 than the margin."""
        return self.low is not None and self.high is not None and (self.low > margin or self.high < -margin)


def find_lifts(rows: pl.DataFrame, config: AuditConfig) -> list[Lift]:
    """The lift of every mark of style, each by a regression of its own on the mark and the logarithm of the length.

    Each alone, since marks come together (lists and headings are markdown) and would take each other's share.

    Args:
        rows: the rows to be trained on with `feedback.audit.texts.features.FEATURES`.
        config: the thresholds, and the most rows that the regression takes; a hash decides which.
    """
    taken = _first(rows.filter(pl.col(STYLES[0].name).is_not_null()), config)
    label = taken["label"].to_numpy()
    length = np.log1p(taken["answer_chars"].to_numpy().astype(np.float64))
    return [_lift(style, taken[style.name].to_numpy(), label, length) for style in STYLES]


def rows_for_style(frame: pl.DataFrame, config: AuditConfig) -> pl.DataFrame:
    """`text_key` and `text_side` of the answers whose style `find_lifts` looks at.

    Args:
        frame: rows of `schemas.datasets.CANDIDATE`.
        config: the most rows.
    """
    taken = _first(training_rows(frame.select("row_key", "text_id", "text_side", "split")), config)
    return taken.select(keys_of_ids(pl.col("text_id")).alias("text_key"), "text_side")


def measure_style(lifts: list[Lift], config: AuditConfig) -> list[Metric]:
    """The metric `style_lift`: the lift that is furthest from 0 for sure, and a sentence on all beyond the margin."""
    known = [lift for lift in lifts if lift.value is not None]
    if not known:
        return []
    worst = max(known, key=_surely)
    beyond = sorted((lift for lift in known if lift.is_beyond(config.style_margin)), key=_surely, reverse=True)
    return [
        Metric(
            name="style_lift",
            title="Style lift",
            value=worst.value,
            kind="number",
            n=worst.rows,
            severity=warn_if(bool(beyond), worst.rows, config),
            sentence=_sentence(worst, beyond),
            low=worst.low,
            high=worst.high,
            threshold=f"log-odds within {number(config.style_margin)} of 0",
            details={lift.style.name: {"lift": lift.value, "low": lift.low, "high": lift.high} for lift in known},
        )
    ]


def tabulate_style(lifts: list[Lift]) -> list[Table]:
    """The table `style`: each mark, how often it is there, the share of up with and without it, and its lift."""
    if not any(lift.having for lift in lifts):
        return []
    columns = (
        Column("style", "Answers with", "text"),
        Column("rows", "Rows", "count"),
        Column("up_with", "Up with", "share"),
        Column("up_without", "Up without", "share"),
        Column("lift", "Log-odds of up", "number"),
        Column("low", "95% from", "number"),
        Column("high", "to", "number"),
    )
    lines = tuple(
        (
            lift.style.title + (" (English)" if lift.style.is_english else ""),
            lift.having,
            lift.up_with,
            lift.up_without,
            lift.value,
            lift.low,
            lift.high,
        )
        for lift in lifts
    )
    note = (
        f"Of {plural(lifts[0].rows, 'row')}. Logistic regression of up on the mark and the logarithm of the length, "
        "one for each mark; Wald intervals from the information matrix, rows taken as independent. Patterns marked "
        "(English) know no other language."
    )
    return [Table("style", "Style of answers and their labels", columns, lines, note)]


def _first(rows: pl.DataFrame, config: AuditConfig) -> pl.DataFrame:
    """The rows that a hash puts first, as many as are wanted."""
    return rows[order_hash(rows["row_key"], "style").arg_sort()[: config.style_rows]] if rows.height else rows


def _lift(style: Style, has: np.ndarray, label: np.ndarray, length: np.ndarray) -> Lift:
    having, n = int(has.sum()), len(has)
    up_with = float(label[has].mean()) if having else None
    up_without = float(label[~has].mean()) if having < n else None
    plain = Lift(style, n, having, up_with, up_without)
    cells = [((has == mark) & (label == up)).sum() for mark in (True, False) for up in (True, False)]
    if min(cells) < _LEAST_CASES:
        return plain
    spread = float(length.std())
    # Where all answers have one length, there is nothing to hold equal.
    columns = np.column_stack((has, (length - length.mean()) / spread)) if spread > 0 else has[:, None]
    fit = fit_logistic(columns.astype(np.float64), label)
    if fit is None:
        return plain
    low, high = fit.interval(0)
    return Lift(style, n, having, up_with, up_without, float(fit.coefficients[1]), low, high)


def _surely(lift: Lift) -> float:
    """How far from 0 the lift is at least; negative where 0 is in the interval."""
    if lift.low is None or lift.high is None:
        return -np.inf
    return max(lift.low, -lift.high)


def _sentence(worst: Lift, beyond: list[Lift]) -> str:
    if not beyond:
        return (
            f"At equal length no mark of style moves the label far; furthest is {worst.style.title} "
            f"({_odds(worst)}, {plural(worst.having, 'answer')})."
        )
    listed = ", ".join(f"{lift.style.title} ({_odds(lift)}, {plural(lift.having, 'answer')})" for lift in beyond)
    pleased = [lift for lift in beyond if lift.style.name in ("flattery", "agreement") and (lift.value or 0) > 0]
    why = (
        "pleasing the user pays, so the model learns to flatter" if pleased else "the model learns style for substance"
    )
    return f"At equal length the odds of up change with {listed}: {why}."


def _odds(lift: Lift) -> str:
    return f"odds times {number(float(np.exp(lift.value or 0)))}"
