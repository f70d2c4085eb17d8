"""Why an answer carries both labels: a change of mind, raters who disagree, or a place in the middle of a ranking.

A pair says of two answers which is better, so an answer that won one pair and lost another carries both labels though
nobody contradicts anybody. Where the same two answers were judged both ways, somebody does:

    votes of pairs ──the other answer of the event──► votes on a couple ──newest of each rater──► one label or both
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

__all__ = ["contradiction_reasons", "newest_votes"]

_ANSWER: Final = ("prompt_key", "completion_key")
_COUPLE: Final = (*_ANSWER, "other", "alone")
_VOTE: Final = (*_ANSWER, "origin", "event_id", "rater_key", "event_ts", "label")


def newest_votes(judged: pl.DataFrame, of: Sequence[str] = _ANSWER) -> pl.DataFrame:
    """The newest judgement of each answer and rater, ties to the greatest id. An unknown rater is somebody each time.

    Args:
        judged: prompt_key, completion_key, event_id, rater_key, event_ts and label of each judgement.
        of: the columns that name what is judged.
    """
    stranger = pl.when(pl.col("rater_key").is_null()).then(pl.int_range(pl.len()))
    ordered = judged.with_columns(stranger=stranger).sort("event_ts", "event_id", "label", nulls_last=False)
    return ordered.unique(subset=[*of, "rater_key", "stranger"], keep="last", maintain_order=True)


def contradiction_reasons(frame: pl.DataFrame, judged: pl.DataFrame, contested: pl.DataFrame) -> pl.DataFrame:
    """Why each contradicted answer has both labels: `same_rater`, `across_raters` or `between_pairs`.

    Of an answer of pairs only, raters disagree where two of them judged it against the same other answer with another
    label each; it stands between pairs where every rater's newest judgement of each couple leaves both labels. A pair
    whose other answer is not among the rows is a couple by itself.

    Args:
        frame: the rows to be trained on.
        judged: the judgements behind them.
        contested: prompt_key and completion_key of the answers with both labels.

    Returns:
        prompt_key, completion_key and `why` of each.
    """
    # A row stands for a judgement even where its votes are not known any more.
    own = frame.join(contested, on=_ANSWER, how="semi").with_columns(event_id="row_id")
    known = judged.join(contested, on=_ANSWER, how="semi").select(_VOTE)
    given = pl.concat([own.select(_VOTE), known])
    newest = newest_votes(given).group_by(_ANSWER).agg(still=pl.col("label").n_unique() == 2)
    of_pairs = given.group_by(_ANSWER).agg(pairs=(pl.col("origin") == "pair").all())
    bare = own.filter(pl.col("votes").list.len() == 0).select(_VOTE)
    compared = _compared(pl.concat([bare, known]).join(of_pairs.filter("pairs"), on=_ANSWER, how="semi"), judged)
    why = (
        pl.when("disputed")
        .then(pl.lit("across_raters"))
        .when("between")
        .then(pl.lit("between_pairs"))
        .when(~pl.col("pairs") & pl.col("still"))
        .then(pl.lit("across_raters"))
        .otherwise(pl.lit("same_rater"))
    )
    reasons = of_pairs.join(newest, on=_ANSWER).join(compared, on=_ANSWER, how="left")
    return reasons.select(*_ANSWER, why=why)


def _compared(votes: pl.DataFrame, judged: pl.DataFrame) -> pl.DataFrame:
    """Of each answer of pairs: whether a couple is `disputed`, and whether it has both labels `between` couples."""
    events = judged.filter(pl.col("origin") == "pair").join(votes.select("event_id"), on="event_id", how="semi")
    others = events.select("event_id", *_ANSWER).rename({"completion_key": "other"})
    beside = votes.join(others, on=["event_id", "prompt_key"]).filter(pl.col("other") != pl.col("completion_key"))
    lone = votes.join(beside, on=["event_id", *_ANSWER], how="anti").with_columns(
        other=pl.lit(None, pl.UInt64), alone="event_id"
    )
    couples = pl.concat([beside.with_columns(alone=pl.lit(None, pl.String)).select(lone.columns), lone])
    labels = {"up": pl.col("label").any(), "down": (~pl.col("label")).any()}
    newest = newest_votes(couples, _COUPLE).group_by(_COUPLE).agg(**labels)
    return newest.group_by(_ANSWER).agg(
        disputed=(pl.col("up") & pl.col("down")).any(), between=pl.col("up").any() & pl.col("down").any()
    )
