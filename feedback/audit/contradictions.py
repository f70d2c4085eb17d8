"""Answers that carry both labels: one rater's change of mind, or raters who disagree."""

from __future__ import annotations

from typing import Final

import polars as pl

from feedback.audit.config import AuditConfig
from feedback.audit.report import Metric
from feedback.audit.statistics import wilson_interval
from feedback.audit.wording import count, number, percent, plural

__all__ = ["measure_contradictions"]

_ANSWER: Final = ("prompt_key", "completion_key")


def measure_contradictions(frame: pl.DataFrame, judged: pl.DataFrame, config: AuditConfig) -> list[Metric]:
    """The metrics `contradictions` and `disagreement`.

    Args:
        frame: the rows to be trained on, whose labels may contradict each other.
        judged: the judgements behind them, see `feedback.audit.raters.votes`.
        config: the thresholds.
    """
    if frame.is_empty():
        return []
    return [_contradictions(frame, config), *_disagreement(judged)]


def _contradictions(frame: pl.DataFrame, config: AuditConfig) -> Metric:
    answers = frame.group_by(_ANSWER).agg(both=pl.col("label").n_unique() == 2)
    n, both = answers.height, int(answers["both"].sum())
    contested = frame.join(answers.filter("both"), on=_ANSWER, how="semi")
    still = _latest_of_each_rater(contested).group_by(_ANSWER).agg(both=pl.col("label").n_unique() == 2)
    across = int(still["both"].sum())
    share = both / n
    low, high = wilson_interval(both, n)
    is_judged = n >= config.min_rows
    return Metric(
        name="contradictions",
        title="Contradictions",
        value=share,
        kind="share",
        n=n,
        severity=("warn" if share > config.max_contradictions else "ok") if is_judged else "info",
        sentence=_contradictions_sentence(n, both, across),
        low=low,
        high=high,
        threshold=f"at most {percent(config.max_contradictions)} of answers",
        details={"answers": n, "contradicted": both, "across_raters": across, "same_rater": both - across},
    )


def _contradictions_sentence(n: int, both: int, across: int) -> str:
    if not both:
        return f"None of {plural(n, 'answer')} carries both labels."
    return (
        f"{percent(both / n)} of {plural(n, 'answer')} carry both labels ({count(both)}): "
        f"{count(both - across)} because one rater changed their mind, {count(across)} because raters disagree. "
        "Trained on as they are, the two labels pull against each other."
    )


def _latest_of_each_rater(frame: pl.DataFrame) -> pl.DataFrame:
    """The newest row of each answer and rater, ties to the greatest id. An unknown rater is somebody else each time."""
    stranger = pl.when(pl.col("rater_key").is_null()).then(pl.int_range(pl.len()))
    ordered = frame.with_columns(stranger=stranger).sort("event_ts", "row_key", "row_id", nulls_last=False)
    return ordered.unique(subset=[*_ANSWER, "rater_key", "stranger"], keep="last", maintain_order=True)


def _disagreement(votes: pl.DataFrame) -> list[Metric]:
    judged = votes.group_by(_ANSWER).agg(n=pl.len(), share=pl.col("label").mean()).filter(pl.col("n") >= 2)
    if judged.is_empty():
        return []
    value = float((4 * judged["share"] * (1 - judged["share"])).mean())  # type: ignore[arg-type]
    return [
        Metric(
            name="disagreement",
            title="Disagreement",
            value=value,
            kind="number",
            n=judged.height,
            severity="info",
            sentence=f"Over {plural(judged.height, 'answer')} with two votes or more, disagreement is {number(value)} "
            "(mean of 4p(1-p), p the share of up: 0 is agreement, 1 is half against half).",
        )
    ]
