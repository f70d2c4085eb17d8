"""Stage `dedup`: one row for each prompt, completion and label; the survivor carries the votes of all.

Labels are never mixed: the same answer called good and bad stays as two rows, which `conflicts` decides about.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from feedback.config import DedupConfig
from feedback.stage import CANDIDATE_TYPES, StageResult, count_labels, counted, finish_stage, sort_rows
from schemas.reasons import DropReason
from schemas.settings import settings_to_dict

__all__ = ["dedup"]

_EXACT: Final = ["prompt_hash", "completion_hash", "label"]
_CLUSTERS: Final = {"exact": _EXACT, "normalized": ["prompt_key", "completion_key", "label"]}


def dedup(candidates: pl.DataFrame, config: DedupConfig, *, digest_in: str = "") -> StageResult:
    """One row of each cluster of rows that say the same.

    Args:
        candidates: rows of `schemas.datasets.CANDIDATE`.
        config: what counts as the same, and which row stays.
        digest_in: digest of the stage before.
    """
    rows = sort_rows(candidates)
    is_copy = ~rows["row_id"].is_first_distinct()
    copies = _dropped(rows.filter(is_copy), pl.lit(DropReason.DUPLICATE_RECORD.value))
    kept, twins = rows.filter(~is_copy), None
    if config.match != "off":
        kept, twins = _merge(kept, _CLUSTERS[config.match], config.keep)
    dropped = copies if twins is None else pl.concat([copies, twins])
    return finish_stage(
        "dedup",
        kept,
        dropped,
        rows_in=candidates.height,
        labels_in=count_labels(candidates),
        config=settings_to_dict(config),
        digest_in=digest_in,
        notes=_notes(kept, copies.height, 0 if twins is None else twins.height),
    )


def _merge(rows: pl.DataFrame, cluster: list[str], keep: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The surviving rows with merged votes, and the others."""
    is_shared = pl.struct(cluster).is_duplicated()
    alone, shared = rows.filter(~is_shared), rows.filter(is_shared)
    if not shared.height:
        return rows, _dropped(shared, pl.lit(None, dtype=pl.String))
    ranked = _rank(shared, keep).with_columns(
        survivor_id=pl.col("row_id").first().over(cluster),
        is_exact=pl.all_horizontal(pl.col(name) == pl.col(name).first().over(cluster) for name in _EXACT),
    )
    is_survivor = pl.col("row_id") == pl.col("survivor_id")
    reason = (
        pl.when("is_exact")
        .then(pl.lit(DropReason.EXACT_DUPLICATE.value))
        .otherwise(pl.lit(DropReason.NORMALIZED_DUPLICATE.value))
    )
    survivors = (
        ranked.filter(is_survivor).drop("votes").join(_merged_votes(ranked), on="survivor_id").select(rows.columns)
    )
    return pl.concat([alone, survivors]), _dropped(ranked.filter(~is_survivor), reason)


def _rank(rows: pl.DataFrame, keep: str) -> pl.DataFrame:
    """`rows` with the one to keep of each cluster first; ties go to the smallest id."""
    # Votes are counted per exact text: the spelling that most people judged is the one to keep.
    merits = {
        "most_votes": pl.col("votes").list.len().sum().over(_EXACT),
        "newest": pl.col("event_ts"),
        "longest": pl.col("prompt_chars") + pl.col("completion_chars"),
    }
    return rows.sort(merits[keep], pl.col("row_id"), descending=[True, False], nulls_last=True)


def _merged_votes(rows: pl.DataFrame) -> pl.DataFrame:
    """Per survivor: all votes of its cluster, of each known rater only the latest."""
    vote = pl.col("votes").struct
    votes = rows.select("survivor_id", "votes").explode("votes", empty_as_null=False).unique()
    votes = votes.with_columns(
        rater=pl.coalesce(vote.field("rater_key"), pl.lit("vote:") + vote.field("event_id")),
        at=vote.field("event_ts"),
        event_id=vote.field("event_id"),
    )
    latest = votes.sort("at", "event_id", descending=[True, False], nulls_last=True)
    latest = latest.unique(["survivor_id", "rater"], keep="first", maintain_order=True)
    return latest.sort("event_id").group_by("survivor_id", maintain_order=True).agg("votes")


def _dropped(rows: pl.DataFrame, reason: pl.Expr) -> pl.DataFrame:
    return rows.with_columns(drop_reason=reason).select(*CANDIDATE_TYPES.names(), "drop_reason")


def _notes(kept: pl.DataFrame, copies: int, twins: int) -> list[str]:
    notes = []
    if copies:
        notes.append(f"{counted(copies, 'row')} left out as the same record read again: no vote is counted twice.")
    if twins:
        voted = kept.filter(pl.col("votes").list.len() > 1).height
        notes.append(
            f"{counted(twins, 'row')} left out as a repetition of prompt, completion and label; "
            f"{counted(voted, 'row')} kept with several votes."
        )
    return notes
