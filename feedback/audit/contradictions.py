"""Answers that carry both labels: a change of mind, raters who disagree, or a place in the middle of a ranking.

A pair says of two answers which is better, so an answer that won one pair and lost another carries both labels though
nobody contradicts anybody. Such answers are counted apart.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from feedback.audit.config import AuditConfig
from feedback.audit.counted import counted_share
from feedback.audit.report import Metric
from feedback.audit.severity import warn_if
from feedback.audit.wording import count, percent, plural

__all__ = [
    "contradicted_answers",
    "contradiction_reasons",
    "measure_contradictions",
    "near_clusters_of",
    "newest_votes",
]

_ANSWER: Final = ("prompt_key", "completion_key")
_VOTE: Final = (*_ANSWER, "origin", "event_id", "rater_key", "event_ts", "label")


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
    parts = _parts(frame, judged, answers.filter("both"))
    has_pairs = bool((frame["origin"] == "pair").any())
    return [
        _contradictions(n, both, parts, config),
        *_measure_parts(n, parts, has_pairs=has_pairs),
        _near_contradictions(frame, config),
    ]


def contradicted_answers(frame: pl.DataFrame) -> pl.DataFrame:
    """One row for each answer (prompt_key, completion_key), and whether it carries `both` labels."""
    return frame.group_by(_ANSWER).agg(both=pl.col("label").min() != pl.col("label").max())


def newest_votes(judged: pl.DataFrame) -> pl.DataFrame:
    """The newest judgement of each answer and rater, ties to the greatest id. An unknown rater is somebody each time.

    Args:
        judged: prompt_key, completion_key, event_id, rater_key, event_ts and label of each judgement.
    """
    stranger = pl.when(pl.col("rater_key").is_null()).then(pl.int_range(pl.len()))
    ordered = judged.with_columns(stranger=stranger).sort("event_ts", "event_id", "label", nulls_last=False)
    return ordered.unique(subset=[*_ANSWER, "rater_key", "stranger"], keep="last", maintain_order=True)


def contradiction_reasons(frame: pl.DataFrame, judged: pl.DataFrame, contested: pl.DataFrame) -> pl.DataFrame:
    """Why each contradicted answer has both labels: `same_rater`, `across_raters` or `between_pairs`.

    Args:
        frame: the rows to be trained on.
        judged: the judgements behind them.
        contested: prompt_key and completion_key of the answers with both labels.

    Returns:
        prompt_key, completion_key and `why` of each.
    """
    # A row stands for a judgement even where its votes are not known any more.
    own = frame.join(contested, on=_ANSWER, how="semi").with_columns(event_id="row_id").select(_VOTE)
    known = judged.join(contested, on=_ANSWER, how="semi").select(_VOTE)
    given = pl.concat([own, known])
    newest = newest_votes(given).group_by(_ANSWER).agg(still=pl.col("label").n_unique() == 2)
    of_pairs = given.group_by(_ANSWER).agg(pairs=(pl.col("origin") == "pair").all())
    why = pl.when("pairs").then(pl.lit("between_pairs")).when("still").then(pl.lit("across_raters"))
    return of_pairs.join(newest, on=_ANSWER).select(*_ANSWER, why=why.otherwise(pl.lit("same_rater")))


def near_clusters_of(frame: pl.DataFrame) -> pl.DataFrame:
    """Clusters of near-duplicate answers: `cluster_id`, the `size` in different texts, and two claims.

    A cluster has `both` labels where one text is up and another down; it `is_torn` where one of its texts is both,
    which is a contradiction already.
    """
    near = frame.filter(pl.col("cluster_id").is_duplicated())
    texts = near.group_by("cluster_id", *_ANSWER).agg(up=pl.col("label").any(), down=(~pl.col("label")).any())
    clusters = texts.group_by("cluster_id").agg(
        size=pl.len(),
        both=pl.col("up").any() & pl.col("down").any(),
        is_torn=(pl.col("up") & pl.col("down")).any(),
    )
    return clusters.filter(pl.col("size") > 1).with_columns(both=pl.col("both") & ~pl.col("is_torn"))


def _parts(frame: pl.DataFrame, judged: pl.DataFrame, contested: pl.DataFrame) -> dict[str, int]:
    """Contradicted answers by why: `same_rater`, `across_raters` or `between_pairs`."""
    counted = dict(contradiction_reasons(frame, judged, contested).group_by("why").len().iter_rows())
    return {why: counted.get(why, 0) for why in ("across_raters", "same_rater", "between_pairs")}


def _contradictions(n: int, both: int, parts: dict[str, int], config: AuditConfig) -> Metric:
    return counted_share(
        name="contradictions",
        title="Contradictions",
        cases=both,
        n=n,
        severity=warn_if(both / n > config.max_contradictions, n, config),
        sentence=_sentence(n, both, parts),
        threshold=f"at most {percent(config.max_contradictions)} of answers",
        details={"answers": n, "contradicted": both, **parts},
    )


def _sentence(n: int, both: int, parts: dict[str, int]) -> str:
    if not both:
        return f"None of {plural(n, 'answer')} carries both labels."
    pairs = parts["between_pairs"]
    ranked = f", {count(pairs)} because they won one pair and lost another" if pairs else ""
    return (
        f"{percent(both / n)} of {plural(n, 'answer')} carry both labels ({count(both)}): "
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
        sentence = f"{counted} carry both labels {why}."
        metrics.append(counted_share(name=name, title=title, cases=parts[part], n=n, sentence=sentence))
    return metrics


def _near_contradictions(frame: pl.DataFrame, config: AuditConfig) -> Metric:
    """Clusters of near-duplicate answers with both labels, though none of their texts has both."""
    clusters = near_clusters_of(frame)
    several, both = clusters.height, int(clusters["both"].sum())
    n = frame["cluster_id"].n_unique()
    return counted_share(
        name="near_contradictions",
        title="Near duplicates across labels",
        cases=both,
        n=n,
        severity=warn_if(both / n > config.max_near_contradictions, n, config) if several else "info",
        sentence=_near_sentence(n, both, several),
        threshold=f"at most {percent(config.max_near_contradictions)} of answers" if several else "",
        details={"clusters": several, "contradicted": both},
    )


def _near_sentence(n: int, both: int, several: int) -> str:
    if not several:
        return (
            f"No two of {plural(n, 'answer')} are marked as nearly the same: near-duplicates were not looked for here, "
            "or merged before, or there are none."
        )
    if not both:
        return f"None of {plural(several, 'cluster')} of near-duplicate answers has both labels."
    return (
        f"{percent(both / n)} of {plural(n, 'answer')} ({count(both)}, of {plural(several, 'cluster')} of "
        "near-duplicates) are up in one wording and down in nearly the same: the model is taught both."
    )
