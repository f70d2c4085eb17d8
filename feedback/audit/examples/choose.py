"""Which rows are shown as examples: decided on keys, so that only their few texts are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from feedback.audit.causes import contradiction_reasons
from feedback.audit.contradictions import contradicted_answers, near_clusters_of
from feedback.audit.raters import votes

__all__ = ["Choice", "choose_examples"]

_ANSWER: Final = ["prompt_key", "completion_key"]
_TEXT: Final = ("text_id", "text_side", "source", "up", "down")


@dataclass(frozen=True, slots=True)
class Choice:
    """The texts to read, and of how many cases they are examples.

    Args:
        texts: a row for each text: `kind` (contradiction or near), `example` (its number), `why`, `size` (texts of its
            cluster), `text_id`, `text_side`, `source`, and the judgements that went `up` and `down`. Two rows of an
            example are the two wordings of a near-duplicate.
        contradicted: answers with both labels.
        clusters: clusters of near-duplicates.
    """

    texts: pl.DataFrame
    contradicted: int
    clusters: int


def choose_examples(rows: pl.DataFrame, limit: int) -> Choice:
    """Up to `limit` contradicted answers and as many near-duplicates, by turns of each cause; most votes come first.

    Args:
        rows: the rows to be trained on, of `schemas.datasets.CANDIDATE`.
        limit: examples of each kind, at least 1.
    """
    judged = votes(rows)
    counted = judged.group_by(_ANSWER).agg(up=pl.col("label").sum(), down=(~pl.col("label")).sum())
    one_each = rows.sort("row_id", "label").unique(_ANSWER, keep="first", maintain_order=True)
    answers = one_each.join(counted, on=_ANSWER, how="left", maintain_order="left").with_columns(
        pl.col("up", "down").fill_null(0)
    )
    contested = contradicted_answers(rows).filter("both")
    clusters = near_clusters_of(rows)
    texts = [_contradictions(answers, contradiction_reasons(rows, judged, contested), limit)]
    texts.append(_near(answers, clusters, rows, limit))
    return Choice(pl.concat(texts), contested.height, clusters.height)


def _contradictions(answers: pl.DataFrame, reasons: pl.DataFrame, limit: int) -> pl.DataFrame:
    cases = answers.join(reasons, on=_ANSWER, maintain_order="left").with_columns(
        size=pl.lit(1, pl.UInt32), weight=pl.col("up") + pl.col("down")
    )
    chosen = _by_turns(cases, limit, _ANSWER)
    return _shaped(chosen, "contradiction")


def _near(answers: pl.DataFrame, clusters: pl.DataFrame, rows: pl.DataFrame, limit: int) -> pl.DataFrame:
    """Two wordings of each chosen cluster; where it has both labels, one of each."""
    why = pl.when("both").then(pl.lit("across_labels")).otherwise(pl.lit("same_label"))
    cases = clusters.filter(~pl.col("is_torn")).with_columns(why=why, weight=pl.col("size"))
    chosen = _by_turns(cases, limit, ["cluster_id"]).select("cluster_id", "example", "why", "size")
    labels = rows.group_by(_ANSWER).agg(is_up=pl.col("label").any())
    members = answers.join(chosen, on="cluster_id").join(labels, on=_ANSWER)
    of_side = pl.int_range(pl.len()).over("example", "is_up")
    # Across labels the first of each label comes first; in a cluster of one label this is the order of ids.
    ordered = members.sort("example", "row_id").with_columns(turn=of_side).sort("example", "turn", "row_id")
    return _shaped(ordered.group_by("example", maintain_order=True).head(2), "near")


def _by_turns(cases: pl.DataFrame, limit: int, ties: list[str]) -> pl.DataFrame:
    """The first cases of every cause in turn, heaviest first, numbered."""
    ordered = cases.sort(["weight", *ties], descending=[True, *(False for _ in ties)])
    turn = pl.int_range(pl.len()).over("why")
    return (
        ordered.with_columns(turn=turn).sort("turn", "why", maintain_order=True).head(limit).with_row_index("example")
    )


def _shaped(chosen: pl.DataFrame, kind: str) -> pl.DataFrame:
    counts = pl.col("example", "size", "up", "down").cast(pl.UInt32)
    return chosen.with_columns(counts).select(pl.lit(kind).alias("kind"), "example", "why", "size", *_TEXT)
