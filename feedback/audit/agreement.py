"""How far raters agree about one answer, where two or more judged it. Each counts once, with the newest judgement."""

from __future__ import annotations

from typing import Final

import polars as pl

from feedback.audit.causes import newest_votes
from feedback.audit.report import Metric
from feedback.audit.wording import number, plural

__all__ = ["measure_agreement"]

_ANSWER: Final = ("prompt_key", "completion_key")


def measure_agreement(judged: pl.DataFrame) -> list[Metric]:
    """The metrics `disagreement` and `krippendorff_alpha`, where an answer has two raters or more.

    Args:
        judged: the judgements, see `feedback.audit.raters.votes`.

    Source: Krippendorff 2011, Computing Krippendorff's Alpha-Reliability; nominal, by the package `krippendorff`.
    """
    several = judged.filter(pl.len().over(_ANSWER) >= 2)
    counts = newest_votes(several).group_by(_ANSWER).agg(up=pl.col("label").sum(), n=pl.len())
    # In one order, as sums of floats depend on it.
    counts = counts.filter(pl.col("n") >= 2).select(pl.col("up", "n").cast(pl.Int64)).sort("up", "n")
    if counts.is_empty():
        return []
    return [_disagreement(counts), _alpha(counts)]


def _disagreement(counts: pl.DataFrame) -> Metric:
    share = pl.col("up") / pl.col("n")
    value = float(counts.select((4 * share * (1 - share)).mean()).item())
    return Metric(
        name="disagreement",
        title="Disagreement",
        value=value,
        kind="number",
        n=counts.height,
        severity="info",
        sentence=f"Over {plural(counts.height, 'answer')} with two votes or more, disagreement is {number(value)} "
        "(mean of 4p(1-p), p the share of up: 0 is agreement, 1 is half against half).",
    )


def _alpha(counts: pl.DataFrame) -> Metric:
    votes, up = int(counts["n"].sum()), int(counts["up"].sum())
    value = _nominal_alpha(counts) if 0 < up < votes else None
    scope = f"{plural(votes, 'vote')} on {plural(counts.height, 'answer')} with two votes or more"
    return Metric(
        name="krippendorff_alpha",
        title="Agreement (Krippendorff's alpha)",
        value=value,
        kind="number",
        n=counts.height,
        severity="info",
        sentence=f"All of {scope} are {'up' if up else 'down'}, so chance and agreement cannot be told apart."
        if value is None
        else f"Over {scope}, alpha is {number(value)}: 1 is agreement, 0 is what chance gives, below 0 is worse. "
        f"{_meaning(value)}",
        details={"votes": votes, "up": up},
    )


def _nominal_alpha(counts: pl.DataFrame) -> float:
    import krippendorff

    table = counts.select("up", pl.col("n") - pl.col("up")).to_numpy()
    return float(krippendorff.alpha(value_counts=table, level_of_measurement="nominal"))


def _meaning(alpha: float) -> str:
    if alpha >= 0.8:
        return "Labels like these are usually taken as reliable (0.8 or more)."
    if alpha >= 0.667:
        return "Labels like these are usually taken for tentative conclusions only (0.667 to 0.8)."
    return "One rater's label says little about what the next one would say (below 0.667)."
