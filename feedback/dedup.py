"""Stage `dedup`: one row for each prompt, completion and label; the survivor carries the votes of all.

Of one rater only the latest vote counts. The events of the others stay behind the row, beside its votes: the text that
survives may be theirs.

Labels are never mixed: the same answer, or nearly the same, called good and bad stays as two rows, which `conflicts`
decides about. Which answers are nearly the same was found before, see `feedback.near`; here they share a `cluster_id`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import polars as pl

from feedback.config import DedupConfig
from feedback.stage import CANDIDATE_TYPES, StageResult, count_labels, counted, finish_stage, sort_rows
from schemas.reasons import DropReason
from schemas.settings import settings_to_dict

__all__ = ["dedup", "dedup_notes"]

_PLACE: Final = "place"
_SURVIVOR: Final = "survivor_place"
_VOTE: Final = ("event_id", "rater_key", "event_ts", "label")
_IDS: Final = [_SURVIVOR, "event_id"]
_EVENTS: Final = ("votes", "other_event_ids")
_EXACT: Final = ["prompt_hash", "completion_hash", "label"]
_TEXT_KEYS: Final = ("prompt_hash", "completion_hash", "prompt_key", "completion_key")
_NORMALIZED: Final = ["prompt_key", "completion_key", "label"]
_NEEDED: Final = (
    *("row_key", "row_id", "label", "cluster_id", *_TEXT_KEYS),
    *("event_ts", "prompt_chars", "completion_chars", "votes", "other_event_ids"),
)
_CLUSTERS: Final = {"exact": _EXACT, "normalized": _NORMALIZED, "near": ["cluster_id", "label"]}


def dedup(candidates: pl.DataFrame, config: DedupConfig, *, digest_in: str = "") -> StageResult:
    """One row of each cluster of rows that say the same.

    Args:
        candidates: rows of `schemas.datasets.CANDIDATE`; rows of one `cluster_id` are all here.
        config: what counts as the same, and which row stays.
        digest_in: digest of the stage before.
    """
    rows = sort_rows(candidates)
    is_copy = _is_copy(rows)
    copies = rows.filter(is_copy).with_columns(drop_reason=pl.lit(DropReason.DUPLICATE_RECORD.value))
    kept, dropped = rows.filter(~is_copy), copies
    if config.match != "off":
        kept, twins = _merge(kept, _CLUSTERS[config.match], config.keep)
        dropped = pl.concat([copies, twins])
    figures = _figures(kept, dropped)
    return finish_stage(
        "dedup",
        kept,
        dropped,
        rows_in=candidates.height,
        labels_in=count_labels(candidates),
        config=settings_to_dict(config),
        digest_in=digest_in,
        notes=dedup_notes(figures),
        figures=figures,
    )


def dedup_notes(figures: Mapping[str, Any]) -> list[str]:
    """What the stage did, from its figures."""
    notes = []
    if figures["copies"]:
        copies = counted(figures["copies"], "row")
        notes.append(f"{copies} left out as the same record read again: no vote is counted twice.")
    if figures["repetitions"]:
        notes.append(
            f"{counted(figures['repetitions'], 'row')} left out as a repetition of prompt, completion and label; "
            f"{counted(figures['rows_of_several'], 'row')} kept with several votes."
        )
    if figures["near"]:
        notes.append(
            f"{counted(figures['near'], 'row')} left out as nearly the same as a row with the same label, which has "
            "their votes now."
        )
    if figures["near_across_labels"]:
        clusters = counted(figures["near_across_labels"], "cluster")
        notes.append(f"{clusters} of near-duplicates with both labels: not merged, the stage conflicts decides.")
    return notes


def _is_copy(rows: pl.DataFrame) -> pl.Series:
    """Whether a row before has the same id; rows are in their order, so there is none where every key is greater."""
    keys = rows["row_key"].to_numpy()
    if (keys[1:] == keys[:-1]).any():
        return ~rows["row_id"].is_first_distinct()
    return pl.repeat(False, rows.height, eager=True)


def _merge(rows: pl.DataFrame, cluster: list[str], keep: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The surviving rows with merged votes, and the others."""
    shared = _shared(rows, cluster)
    if not shared.height:
        return rows, rows.clear().with_columns(drop_reason=pl.lit(None, dtype=pl.String))
    ranked = _rank(shared, keep)
    first = ranked.unique(cluster, keep="first", maintain_order=True)
    survivor = [pl.col(name).alias(f"survivor_{name}") for name in (_PLACE, *_TEXT_KEYS)]
    ranked = ranked.join(first.select(*cluster, *survivor), on=cluster, how="left", maintain_order="left")
    reason = (
        pl.when(_is_like_survivor("prompt_hash", "completion_hash"))
        .then(pl.lit(DropReason.EXACT_DUPLICATE.value))
        .when(_is_like_survivor("prompt_key", "completion_key"))
        .then(pl.lit(DropReason.NORMALIZED_DUPLICATE.value))
        .otherwise(pl.lit(DropReason.NEAR_DUPLICATE.value))
    )
    others = ranked.filter(pl.col(_PLACE) != pl.col(_SURVIVOR)).with_columns(drop_reason=reason)
    dropped = rows[others[_PLACE]].with_columns(others["drop_reason"])
    votes = _merged_votes(ranked.select(_SURVIVOR, "votes", "other_event_ids"))
    return _with_votes(rows, votes, others[_PLACE]), dropped.select(*CANDIDATE_TYPES.names(), "drop_reason")


def _shared(rows: pl.DataFrame, cluster: list[str]) -> pl.DataFrame:
    """The keys and votes of the rows that share their cluster with others, and their place among all."""
    narrow = rows.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias(_PLACE), *_NEEDED)
    # One key of 64 bits tells most of those that are alone.
    likely = narrow.filter(pl.col(cluster[-2]).is_duplicated())
    return likely.filter(pl.struct(cluster).is_duplicated())


def _with_votes(rows: pl.DataFrame, votes: pl.DataFrame, others: pl.Series) -> pl.DataFrame:
    """The rows but for the others, those that survived with the votes of their cluster."""
    is_kept = np.ones(rows.height, dtype=np.bool_)
    is_kept[others.to_numpy()] = False
    source = np.arange(rows.height)
    source[votes[_SURVIVOR].to_numpy()] = rows.height + np.arange(votes.height)
    taken = pl.Series(source[is_kept])
    names = [name for name in _EVENTS if not (rows[name].is_null().all() and votes[name].is_null().all())]
    # In one piece: lists are gathered from several in a hundred times the time.
    merged = [pl.concat([rows[name], votes[name]], rechunk=True)[taken] for name in names]
    return rows.filter(pl.Series(is_kept)).with_columns(merged)


def _is_like_survivor(*names: str) -> pl.Expr:
    return pl.all_horizontal(pl.col(name) == pl.col(f"survivor_{name}") for name in names)


def _rank(shared: pl.DataFrame, keep: str) -> pl.DataFrame:
    """The keys of shared rows, with the one to keep of each cluster first; ties go to the smallest id."""
    # Votes are counted per exact text: the spelling that most people judged is the one to keep.
    merits = {
        "most_votes": pl.col("votes").list.len().sum().over(_EXACT),
        "newest": pl.col("event_ts"),
        "longest": pl.col("prompt_chars") + pl.col("completion_chars"),
    }
    # Rows are in the order of their ids, and those of equal merit stay so.
    order = pl.arg_sort_by(merits[keep], descending=True, nulls_last=True, maintain_order=True)
    return shared[shared.select(order).to_series()]


def _merged_votes(rows: pl.DataFrame) -> pl.DataFrame:
    """Per survivor: all votes of its cluster, of each known rater only the latest, and the ids of all other events."""
    votes = rows.explode("votes", empty_as_null=False).select(_SURVIVOR, pl.col("votes").struct.field(*_VOTE))
    if votes["event_id"].is_duplicated().any():
        votes = votes.unique()  # a pair with two bad answers votes twice, with one id
    is_again = pl.col("rater_key").is_not_null() & pl.struct(_SURVIVOR, "rater_key").is_duplicated()
    again = votes.filter(is_again).sort("event_ts", "event_id", descending=[True, False], nulls_last=True)
    is_latest = again.select(is_latest=pl.struct(_SURVIVOR, "rater_key").is_first_distinct()).to_series()
    everyone = pl.concat([again.filter(is_latest), votes.filter(~is_again)]).sort("event_id", "label")
    lists = everyone.select(_SURVIVOR, votes=pl.struct(_VOTE)).group_by(_SURVIVOR, maintain_order=True).agg("votes")
    known = rows.select(_SURVIVOR, event_id="other_event_ids").filter(pl.col("event_id").is_not_null())
    known = known.explode("event_id", empty_as_null=False).join(everyone, on=_IDS, how="anti")
    others = pl.concat([again.filter(~is_latest).select(_IDS), known])
    # Texts are copied in their order: a file holds their bytes as they lie in memory, and joins put them anywhere.
    others = others.unique().sort(_IDS).with_columns(pl.concat_str("event_id", pl.lit("")))
    others = others.group_by(_SURVIVOR, maintain_order=True).agg(other_event_ids="event_id")
    return lists.join(others, on=_SURVIVOR, how="left", maintain_order="left")


def _figures(kept: pl.DataFrame, dropped: pl.DataFrame) -> dict[str, int]:
    counts = dict(dropped.group_by("drop_reason").len().iter_rows())
    both = kept.select("cluster_id", *_NORMALIZED).filter(pl.col("cluster_id").is_duplicated())
    clusters = both.group_by("cluster_id").agg(
        labels=pl.col("label").n_unique(), answers=pl.struct("prompt_key", "completion_key").n_unique()
    )
    same = (DropReason.EXACT_DUPLICATE, DropReason.NORMALIZED_DUPLICATE)
    return {
        "copies": counts.get(DropReason.DUPLICATE_RECORD, 0),
        "repetitions": sum(counts.get(reason, 0) for reason in same),
        "near": counts.get(DropReason.NEAR_DUPLICATE, 0),
        "rows_of_several": int((kept["votes"].list.len() > 1).sum()),
        "near_across_labels": clusters.filter((pl.col("labels") > 1) & (pl.col("answers") > 1)).height,
    }
