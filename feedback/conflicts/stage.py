"""Stage `conflicts`: answers that carry both labels.

An answer is a cluster of near-duplicates. First each rater's own change of mind is settled: the latest vote counts.
Then the policy decides between raters, by the share of up, p. What cannot be decided is left out with its reason; no
label is guessed.

Under the policy `soft` the winning row of a contested answer stays with a weight that falls with the doubt: |2p - 1| in
the widest band, in a narrower one |p - 1/2| over its value at the edge. It is what training on both rows would come to:
KTO pulls a row up by lambda_D * sigma'(beta (r - z0)) and its twin down by lambda_U * sigma'(beta (z0 - r)), sigma' is
even, so rows of weight p and 1 - p with equal lambdas pull like one row of weight |2p - 1|.

Pairs whose preferences run in a circle (see `cycles`) are counted before anything is decided, or left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from feedback.config import ConflictConfig
from feedback.conflicts.cycles import Cycles, find_cycles, pairs_of_votes
from feedback.conflicts.events import events_of_texts, votes_of_texts
from feedback.conflicts.notes import conflict_notes
from feedback.stage import StageResult, count_labels, finish_stage
from schemas.reasons import DropReason
from schemas.settings import settings_to_dict

__all__ = ["conflict_notes", "resolve_conflicts"]

_ANSWER: Final = ["prompt_key", "completion_key"]
_NEEDED: Final = ["cluster_id", "group_id", *_ANSWER, "label", "votes", "other_event_ids"]
_EVENTS: Final = ("votes", "other_event_ids")
_KEPT_BOTH: Final = "kept_both"
_SOFTENED: Final = "softened"
_CHANGED_MIND: Final = DropReason.SUPERSEDED_VOTE.value


@dataclass(frozen=True, slots=True)
class _Decisions:
    """What becomes of each contested row, in their order, and the counts behind it.

    Args:
        rows: `drop_reason` or null, `factor` of the weight, `votes` that stand and `other_event_ids`, one row each.
        figures: see `resolve_conflicts`.
    """

    rows: pl.DataFrame
    figures: dict[str, Any]


def resolve_conflicts(candidates: pl.DataFrame, config: ConflictConfig, *, digest_in: str = "") -> StageResult:
    """Rows whose answers carry one label, or both where the policy keeps both.

    A row that is kept of a contested answer carries the votes that still stand, for either label, of its own text:
    prompt and completion after normalisation. Votes of a near-duplicate stay with the near-duplicate. Votes of its text
    that do not stand are among its `other_event_ids`.

    Args:
        candidates: rows of `schemas.datasets.CANDIDATE`; all rows of a `cluster_id`.
        config: the policy, and what a majority needs.
        digest_in: digest of the stage before.

    Returns:
        The report's figures: `contested_answers`, those of them that are `near_duplicates` only (no text has both
        labels), `changed_minds` (raters whose later vote counted), how answers `ended`, and `cycles`.
    """
    is_contested = _is_contested(candidates, config)
    contested = candidates.filter(is_contested)
    if contested.is_empty():
        decided = _Decisions(pl.DataFrame(), {"contested_answers": 0})
        kept, dropped = candidates, candidates.clear().with_columns(drop_reason=pl.lit(None, dtype=pl.String))
    else:
        decided = _decide(contested.select(_NEEDED), config)
        kept, dropped = _apply(candidates, is_contested, decided.rows)
    return finish_stage(
        "conflicts",
        kept,
        dropped,
        rows_in=candidates.height,
        labels_in=count_labels(candidates),
        config=settings_to_dict(config),
        digest_in=digest_in,
        notes=conflict_notes(decided.figures, config),
        figures=decided.figures,
    )


def _is_contested(candidates: pl.DataFrame, config: ConflictConfig) -> pl.Series:
    """Whether the row's answer carries both labels."""
    clusters = candidates["cluster_id"]
    if config.policy == "off":
        return pl.repeat(False, candidates.height, eager=True)
    label = candidates["label"]
    up, down = (clusters.filter(mask).to_frame() for mask in (label, ~label))
    both = down.join(up, on="cluster_id", how="semi")["cluster_id"].unique()
    return clusters.is_in(both.implode())


def _apply(
    candidates: pl.DataFrame, is_contested: pl.Series, decided: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows kept, with their votes and weights, and the rows dropped, both in the order of `candidates`."""
    place = pl.when(is_contested).then(is_contested.cum_sum() - 1)
    full = candidates.select(place=place)["place"]
    reason = decided["drop_reason"].gather(full)
    is_kept = reason.is_null()
    # A dropped row keeps its own votes: they are what it stood for.
    dropped = candidates.filter(~is_kept).with_columns(drop_reason=reason.filter(~is_kept))
    own = pl.int_range(candidates.height, eager=True)
    source = (full.cast(pl.Int64) + candidates.height).fill_null(own).filter(is_kept)
    # In one piece: lists are gathered from several in a hundred times the time.
    events = [pl.concat([candidates[name], decided[name]], rechunk=True)[source] for name in _EVENTS]
    factor = decided["factor"].gather(full.filter(is_kept)).fill_null(1.0)
    return candidates.filter(is_kept).with_columns(*events, weight=pl.col("weight") * factor), dropped


def _decide(rows: pl.DataFrame, config: ConflictConfig) -> _Decisions:
    rows = rows.with_row_index("row")
    given = votes_of_texts(rows)
    votes, cycles, pairs_left_out = _without_cycles(given, config)
    standing, changed_minds = _standing_votes(votes)
    tally = _tally(standing, config)
    own = [*_ANSWER, "label"]
    counts = rows.select("row", "cluster_id", *own)
    for name, table in (("voted", votes), ("stands", standing)):
        counts = counts.join(table.group_by(own).len(name), on=own, how="left")
    counts = counts.join(tally, on="cluster_id", how="left").sort("row")
    decided = counts.with_columns(is_decided=_is_decided(), ending=_ending(config))
    decided = decided.with_columns(drop_reason=_reason(config), factor=_factor(config))
    figures = _figures(rows, decided, changed_minds, cycles, pairs_left_out)
    lists = events_of_texts(given, standing, rows, decided.filter(pl.col("drop_reason").is_null()))
    events = decided.select("row", *_ANSWER).join(lists, on=_ANSWER, how="left").sort("row").select(_EVENTS)
    return _Decisions(decided.select("drop_reason", "factor").hstack(events), figures)


def _without_cycles(votes: pl.DataFrame, config: ConflictConfig) -> tuple[pl.DataFrame, Cycles | None, int]:
    """The votes but for those of pairs on a circle where these are to be dropped, the circles, and pairs left out."""
    # Whatever is on a circle has won and lost, so the votes of contested answers hold every pair that matters.
    pairs = pairs_of_votes(votes) if config.cycles != "off" else pl.DataFrame()
    if pairs.height < 3:
        return votes, None, 0
    cycles = find_cycles(pairs)
    if config.cycles == "report" or cycles.arrows.is_empty():
        return votes, cycles, 0
    both_ways = pl.concat([cycles.arrows, cycles.arrows.select(winner="loser", loser="winner")])
    out = pairs.join(both_ways, on=["winner", "loser"], how="semi").select("event_id").unique()
    return votes.join(out, on="event_id", how="anti"), cycles, out.height


def _standing_votes(votes: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """The votes without those that their own rater took back by a later vote for the other label, and such raters."""
    rater = ["cluster_id", "rater_key"]
    known = votes.filter(pl.col("rater_key").is_not_null())
    per_rater = known.group_by(rater).agg(
        has_up=pl.col("label").any(),
        has_all=pl.col("label").all(),
        # Votes without a time, or at one time, have no order: both stand, and the rater counts on both sides.
        has_times=pl.col("event_ts").is_not_null().all(),
        first=pl.col("event_ts").min(),
        last=pl.col("event_ts").max(),
    )
    minds = per_rater.filter("has_up", ~pl.col("has_all"), "has_times", pl.col("first") < pl.col("last"))
    marked = votes.join(minds.select(*rater, "last"), on=rater, how="left")
    standing = marked.filter(pl.col("last").is_null() | (pl.col("event_ts") == pl.col("last"))).drop("last")
    return standing, minds.height


def _tally(standing: pl.DataFrame, config: ConflictConfig) -> pl.DataFrame:
    """Per answer: up and down (raters, each counted as often as allowed), and the number of raters."""
    # An unknown rater is somebody else each time.
    rater = ["cluster_id", "rater_key", pl.when(pl.col("rater_key").is_null()).then("event_id").alias("unknown")]
    per_rater = standing.group_by(rater).agg(up=pl.col("label").sum(), down=(~pl.col("label")).sum())
    most = config.votes_per_rater
    return per_rater.group_by("cluster_id").agg(
        up=pl.col("up").clip(0, most).cast(pl.Int64).sum(),
        down=pl.col("down").clip(0, most).cast(pl.Int64).sum(),
        raters=pl.len(),
    )


def _shares(config: ConflictConfig) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Up with its prior, down with its prior, and the share of up."""
    up, down = pl.col("up") + config.prior_up, pl.col("down") + config.prior_down
    return up, down, up / (up + down)


def _ending(config: ConflictConfig) -> pl.Expr:
    """How an answer ended on which raters disagree: a drop reason, `kept_both` or `softened`."""
    if config.policy == "keep_both":
        return pl.lit(_KEPT_BOTH)
    contested, outvoted = pl.lit(DropReason.CONTESTED.value), pl.lit(DropReason.OUTVOTED.value)
    if config.policy == "drop":
        return contested
    up, down, share = _shares(config)
    in_band = share.is_between(*config.band)
    return (
        pl.when(pl.col("raters") < config.min_raters)
        .then(pl.lit(DropReason.TOO_FEW_RATERS.value))
        .when(up == down)
        .then(contested)
        .when(in_band)
        .then(pl.lit(_SOFTENED) if config.policy == "soft" else contested)
        .otherwise(outvoted)
    )


def _is_decided() -> pl.Expr:
    """Whether an answer has votes of one label only, once votes that do not stand are gone."""
    return (pl.col("up").fill_null(0) == 0) | (pl.col("down").fill_null(0) == 0)


def _reason(config: ConflictConfig) -> pl.Expr:
    ending = pl.col("ending")
    up, down, _ = _shares(config)
    is_loser = pl.col("label") != (up > down)
    return (
        pl.when(pl.col("voted").is_null())
        .then(pl.lit(DropReason.PREFERENCE_CYCLE.value))
        .when(pl.col("stands").is_null())
        .then(pl.lit(DropReason.SUPERSEDED_VOTE.value))
        .when(pl.col("is_decided") | (ending == _KEPT_BOTH))
        .then(pl.lit(None, dtype=pl.String))
        .when(ending.is_in([_SOFTENED, DropReason.OUTVOTED.value]))
        .then(pl.when(is_loser).then(pl.lit(DropReason.OUTVOTED.value)))
        .otherwise(ending)
    )


def _factor(config: ConflictConfig) -> pl.Expr:
    """What the doubt leaves of the weight of a winning row, in (0, 1]."""
    if config.policy != "soft":
        return pl.lit(1.0)
    low, high = config.band
    share = _shares(config)[2]
    edge = pl.when(share > 0.5).then(high - 0.5).otherwise(0.5 - low)
    is_soft = ~pl.col("is_decided") & (pl.col("ending") == _SOFTENED)
    return pl.when(is_soft).then((share - 0.5).abs() / edge).otherwise(1.0)


def _figures(
    rows: pl.DataFrame, decided: pl.DataFrame, changed_minds: int, cycles: Cycles | None, pairs_left_out: int
) -> dict[str, Any]:
    texts = rows.group_by("cluster_id", *_ANSWER).agg(has_both=pl.col("label").n_unique() == 2)
    near = texts.group_by("cluster_id").agg(pl.col("has_both").any()).filter(~pl.col("has_both")).height
    lost_to_cycle = pl.col("voted").is_null().any()
    by_itself = pl.when(lost_to_cycle).then(pl.lit(DropReason.PREFERENCE_CYCLE.value)).otherwise(pl.lit(_CHANGED_MIND))
    answers = decided.group_by("cluster_id").agg(
        ended=pl.when(pl.col("is_decided").first()).then(by_itself).otherwise(pl.col("ending").first())
    )
    ended = answers.group_by("ended").len().sort("ended")
    return {
        "contested_answers": answers.height,
        "near_duplicates": near,
        "changed_minds": changed_minds,
        "ended": dict(ended.iter_rows()),
        "cycles": _cycle_figures(cycles, pairs_left_out),
    }


def _cycle_figures(cycles: Cycles | None, pairs_left_out: int) -> dict[str, int]:
    """Counts of the circles; empty where there are none."""
    if cycles is None or cycles.table.is_empty():
        return {}
    table = cycles.table
    return {
        "found": table.height,
        "prompts": table["prompt"].n_unique(),
        "answers": int(table["answers"].sum()),
        "judgements": int(table["judgements"].sum()),
        "reversals": int(table["reversals"].sum()),
        "approximate": table.height - int(table["is_exact"].sum()),
        "pairs_left_out": pairs_left_out,
    }
