"""Stage `conflicts`: answers that carry both labels.

First each rater's own change of mind is settled: the latest vote counts. Then the policy decides between raters. What
cannot be decided is left out with its reason; no label is guessed.
"""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from feedback.config import ConflictConfig
from feedback.stage import CANDIDATE_TYPES, StageResult, count_labels, counted, finish_stage
from schemas.reasons import DropReason
from schemas.settings import settings_to_dict

__all__ = ["resolve_conflicts"]

_ANSWER: Final = ["prompt_key", "completion_key"]
_NO_REASON: Final = pl.lit(None, dtype=pl.String)


def resolve_conflicts(candidates: pl.DataFrame, config: ConflictConfig, *, digest_in: str = "") -> StageResult:
    """Rows whose answers carry one label, or both where the policy keeps both.

    Answers are the same when prompt and completion are, after normalisation. The rows kept of a contested answer carry
    all votes that still stand, for either label.

    Args:
        candidates: rows of `schemas.datasets.CANDIDATE`.
        config: the policy, and what a majority needs.
        digest_in: digest of the stage before.
    """
    has_both = pl.lit(False) if config.policy == "off" else pl.col("label").n_unique().over(_ANSWER) > 1
    marked = candidates.with_columns(has_both=has_both)
    contested = marked.filter("has_both").drop("has_both")
    decided = _decide(contested, config)
    is_out = pl.col("drop_reason").is_not_null()
    return finish_stage(
        "conflicts",
        pl.concat([marked.filter(~pl.col("has_both")).drop("has_both"), decided.filter(~is_out).drop("drop_reason")]),
        decided.filter(is_out),
        rows_in=candidates.height,
        labels_in=count_labels(candidates),
        config=settings_to_dict(config),
        digest_in=digest_in,
        notes=_notes(decided),
        figures=_figures(decided),
    )


def _decide(rows: pl.DataFrame, config: ConflictConfig) -> pl.DataFrame:
    """`rows` of contested answers with the votes that stand and a `drop_reason` or null."""
    votes = _standing_votes(rows)
    tally = votes.group_by(_ANSWER).agg(
        standing=pl.col("votes").sort_by("event_id", "label"),
        up=pl.col("rater").filter("label").n_unique(),
        down=pl.col("rater").filter(~pl.col("label")).n_unique(),
        raters=pl.col("rater").n_unique(),
    )
    own, other = _by_label("up", "down"), _by_label("down", "up")
    reason = (
        pl.when(own == 0)
        .then(pl.lit(DropReason.SUPERSEDED_VOTE.value))
        .when(other == 0)
        .then(_NO_REASON)
        .otherwise(_policy_reason(config, own, other))
    )
    decided = rows.join(tally, on=_ANSWER, how="left").with_columns(drop_reason=reason)
    # A dropped row keeps its own votes: they are what it stood for.
    votes_kept = pl.when(pl.col("drop_reason").is_null()).then("standing").otherwise("votes")
    return decided.with_columns(votes=votes_kept).select(*CANDIDATE_TYPES.names(), "drop_reason")


def _standing_votes(rows: pl.DataFrame) -> pl.DataFrame:
    """The votes of each answer, without those that their own rater took back by a later vote for the other label."""
    vote = pl.col("votes").struct
    votes = rows.select(*_ANSWER, "votes").explode("votes", empty_as_null=False).unique()
    votes = votes.with_columns(
        rater=pl.coalesce(vote.field("rater_key"), pl.lit("vote:") + vote.field("event_id")),
        at=vote.field("event_ts"),
        event_id=vote.field("event_id"),
        label=vote.field("label"),
    )
    of_rater = [*_ANSWER, "rater"]
    # Votes without a time, or at one time, have no order: both stand, and the rater counts on both sides.
    is_flip = (pl.col("label").n_unique().over(of_rater) > 1) & pl.col("at").is_not_null().all().over(of_rater)
    return votes.filter(~is_flip | (pl.col("at") == pl.col("at").max().over(of_rater)))


def _policy_reason(config: ConflictConfig, own: pl.Expr, other: pl.Expr) -> pl.Expr:
    if config.policy == "keep_both":
        return _NO_REASON
    contested = pl.lit(DropReason.CONTESTED.value)
    if config.policy == "drop":
        return contested
    share_up = pl.col("up") / (pl.col("up") + pl.col("down"))
    return (
        pl.when(pl.col("raters") < config.min_raters)
        .then(pl.lit(DropReason.TOO_FEW_RATERS.value))
        .when(share_up.is_between(config.band_low, config.band_high) | (own == other))
        .then(contested)
        .when(own < other)
        .then(pl.lit(DropReason.OUTVOTED.value))
        .otherwise(_NO_REASON)
    )


def _by_label(desirable: str, undesirable: str) -> pl.Expr:
    return pl.when("label").then(desirable).otherwise(undesirable)


def _figures(decided: pl.DataFrame) -> dict[str, Any]:
    """Answers with both labels, by how they ended: one count for each answer."""
    reasons = decided.group_by(_ANSWER).agg(reason=pl.col("drop_reason").drop_nulls().min())
    ends = reasons.select(pl.col("reason").fill_null("kept_both")).group_by("reason").len().sort("reason")
    return {"contested_answers": reasons.height, "ended": dict(ends.iter_rows())}


def _notes(decided: pl.DataFrame) -> list[str]:
    figures = _figures(decided)
    total, ended = figures["contested_answers"], figures["ended"]
    if not total:
        return []
    words = {
        DropReason.SUPERSEDED_VOTE: "settled by the rater's own later vote",
        DropReason.OUTVOTED: "settled by a majority of raters",
        DropReason.CONTESTED: "left out with both labels because the votes do not decide",
        DropReason.TOO_FEW_RATERS: "left out with both labels because too few raters judged them",
        "kept_both": "kept with both labels",
    }
    ends = ", ".join(f"{ended[reason]:,} {text}" for reason, text in words.items() if reason in ended)
    return [f"{counted(total, 'answer')} with both labels: {ends}."]
