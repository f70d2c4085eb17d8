"""Answers that carry both labels, exactly or in two wordings, and what they consist of.

Answers that won one pair and lost another contradict nobody and are counted apart, see `feedback.audit.causes`.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from feedback.audit.causes import contradiction_reasons
from feedback.audit.config import AuditConfig
from feedback.audit.counted import counted_share
from feedback.audit.report import Metric
from feedback.audit.severity import warn_if
from feedback.audit.wording import agree, count, none_of, percent, plural
from feedback.config import ConflictConfig
from feedback.conflicts import resolve_conflicts

__all__ = ["contradicted_answers", "measure_contradictions", "near_clusters_of"]

_ANSWER: Final = ("prompt_key", "completion_key")


def measure_contradictions(frame: pl.DataFrame, judged: pl.DataFrame, config: AuditConfig) -> list[Metric]:
    """The metrics `contradictions`, what they consist of, and `near_contradictions`.

    The parts are `changed_minds` (one rater), `rater_disputes` (several raters) and, where there are pairs,
    `pair_contradictions`.

    Args:
        frame: the rows to be trained on, whose labels may contradict each other.
        judged: the judgements behind them, see `feedback.audit.raters.votes`.
        config: the thresholds.
    """
    if frame.is_empty():
        return []
    answers = contradicted_answers(frame)
    n, both = answers.height, int(answers["both"].sum())
    reasons = contradiction_reasons(frame, judged, answers.filter("both"))
    parts = _parts(reasons)
    has_pairs = bool((frame["origin"] == "pair").any())
    return [
        _contradictions(n, both, parts, _decided(frame, reasons), config),
        *_measure_parts(n, parts, has_pairs=has_pairs),
        _near_contradictions(frame, config),
    ]


def contradicted_answers(frame: pl.DataFrame) -> pl.DataFrame:
    """One row for each answer (prompt_key, completion_key), and whether it carries `both` labels."""
    return frame.group_by(_ANSWER).agg(both=pl.col("label").min() != pl.col("label").max())


def near_clusters_of(frame: pl.DataFrame) -> pl.DataFrame:
    """Clusters of near-duplicate answers: `cluster_id`, the `size` in different texts, and two claims.

    A cluster `is_torn` where one of its texts has both labels, which is a contradiction already; it has `both` labels
    where one text is up and another down, and none is both.
    """
    near = frame.filter(pl.col("cluster_id").is_duplicated())
    texts = near.group_by("cluster_id", *_ANSWER).agg(up=pl.col("label").any(), down=(~pl.col("label")).any())
    clusters = texts.group_by("cluster_id").agg(
        size=pl.len(),
        both=pl.col("up").any() & pl.col("down").any(),
        is_torn=(pl.col("up") & pl.col("down")).any(),
    )
    return clusters.filter(pl.col("size") > 1).with_columns(both=pl.col("both") & ~pl.col("is_torn"))


def _parts(reasons: pl.DataFrame) -> dict[str, int]:
    """Contradicted answers by why: `same_rater`, `across_raters` or `between_pairs`."""
    counted = dict(reasons.group_by("why").len().iter_rows())
    return {why: counted.get(why, 0) for why in ("across_raters", "same_rater", "between_pairs")}


def _decided(frame: pl.DataFrame, reasons: pl.DataFrame) -> dict[str, int]:
    """Rows of the answers that stand between pairs, and how many of them the policy `majority` leaves out."""
    between = frame.join(reasons.filter(pl.col("why") == "between_pairs"), on=_ANSWER, how="semi")
    rows = frame.join(between, on="cluster_id", how="semi")
    lost = resolve_conflicts(rows, ConflictConfig(cycles="off")).dropped.height if rows.height else 0
    return {"rows_between_pairs": rows.height, "rows_lost_between_pairs": lost}


def _contradictions(n: int, both: int, parts: dict[str, int], decided: dict[str, int], config: AuditConfig) -> Metric:
    return counted_share(
        name="contradictions",
        title="Contradictions",
        cases=both,
        n=n,
        severity=warn_if(both / n > config.max_contradictions, n, config),
        sentence=_sentence(n, both, parts, config),
        threshold=f"at most {percent(config.max_contradictions)} of answers",
        details={"answers": n, "contradicted": both, **parts, **decided},
    )


def _sentence(n: int, both: int, parts: dict[str, int], config: AuditConfig) -> str:
    if not both:
        return f"{none_of(n, 'answer')} carries both labels."
    pairs = parts["between_pairs"]
    ranked = f", {count(pairs)} because they won one pair and lost another" if pairs else ""
    return (
        f"{percent(both / n, config.max_contradictions)} of {plural(n, 'answer')} {agree(n, 'carry')} both labels "
        f"({count(both)}): "
        f"{count(parts['same_rater'])} because one rater changed their mind, {count(parts['across_raters'])} because "
        f"raters disagree{ranked}. Trained on as they are, the two labels pull against each other."
    )


def _measure_parts(n: int, parts: dict[str, int], *, has_pairs: bool) -> list[Metric]:
    known = [
        ("changed_minds", "Changed minds", "same_rater", "because one rater changed their mind"),
        ("rater_disputes", "Disputes between raters", "across_raters", "because raters disagree"),
    ]
    if has_pairs:
        known.append(
            ("pair_contradictions", "Won and lost", "between_pairs", "because they won one pair and lost another")
        )
    metrics = []
    for name, title, part, why in known:
        counted = f"{percent(parts[part] / n)} of {plural(n, 'answer')} ({count(parts[part])})"
        sentence = f"{counted} {agree(n, 'carry')} both labels {why}."
        metrics.append(counted_share(name=name, title=title, cases=parts[part], n=n, sentence=sentence))
    return metrics


def _near_contradictions(frame: pl.DataFrame, config: AuditConfig) -> Metric:
    """Clusters of near-duplicate answers with both labels, though none of their texts has both."""
    clusters = near_clusters_of(frame)
    several, both, torn = clusters.height, int(clusters["both"].sum()), int(clusters["is_torn"].sum())
    n = frame["cluster_id"].n_unique()
    return counted_share(
        name="near_contradictions",
        title="Near duplicates across labels",
        cases=both,
        n=n,
        severity=warn_if(both / n > config.max_near_contradictions, n, config) if several else "info",
        sentence=_near_sentence(n, both, torn, several, config),
        threshold=f"at most {percent(config.max_near_contradictions)} of answers" if several else "",
        details={"clusters": several, "contradicted": both, "torn": torn},
    )


def _near_sentence(n: int, both: int, torn: int, several: int, config: AuditConfig) -> str:
    if n == 1 and not several:
        return "There is one answer only, so none is nearly the same as another."
    if not several:
        return (
            f"No two of {plural(n, 'answer')} are marked as nearly the same: near-duplicates were not looked for here, "
            "or merged before, or there are none."
        )
    known = "a wording that has both labels by itself, which is among the contradictions"
    if torn == several:
        every = "The only cluster" if several == 1 else f"All {count(several)} clusters"
        return f"{every} of near-duplicate answers {agree(several, 'hold')} {known}."
    beside = f" {plural(torn, 'further cluster')} {agree(torn, 'hold')} {known}." if torn else ""
    if not both:
        return f"{none_of(several - torn, 'cluster')} of near-duplicate answers has both labels.{beside}"
    return (
        f"{percent(both / n, config.max_near_contradictions)} of {plural(n, 'answer')} ({count(both)}, of "
        f"{plural(several, 'cluster')} of near-duplicates) {agree(n, 'are')} up in one wording and down in nearly the "
        f"same: the model is taught both.{beside}"
    )
