"""Stage `mix`: what is new, and a share of what is older, so that a model that goes on does not forget.

A row or a pair is new where a judgement behind it is. Of the older ones of the train split a hash decides which stay,
as many as make the wanted share; of rows each label loses the same part. A larger share only adds some. The test split
stays as it is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from feedback.hashing import mix64, stage_digest
from feedback.stage import StageResult, count_labels, counted, finish_stage
from schemas.reasons import DropReason
from schemas.report import LabelCounts, StageReport

__all__ = ["is_new_pair", "mix", "mix_pairs", "older_rows"]

_DECISIONS_OF_PAIRS: Final = ("row_key", "weight", "group_id", "split")


def mix(
    candidates: pl.DataFrame, new_events: pl.Series, older_share: float, *, seed: int = 0, digest_in: str = ""
) -> StageResult:
    """The new rows, and a share of older ones.

    Args:
        candidates: rows of `schemas.datasets.CANDIDATE`, split.
        new_events: ids of the events and pairs that are new. [N] text.
        older_share: share of the train split that older rows make, in [0, 1); fewer where there are not so many.
        seed: decides which older rows stay.
        digest_in: digest of the stage before.
    """
    events = new_events.unique().sort()
    is_new = candidates["votes"].list.eval(pl.element().struct.field("event_id").is_in(events.implode())).list.any()
    mixed = _mixed(candidates, is_new, older_share, seed)
    return finish_stage(
        "mix",
        mixed.kept,
        mixed.dropped,
        rows_in=candidates.height,
        labels_in=count_labels(candidates),
        config=_described(events, older_share, seed),
        digest_in=digest_in,
        notes=[mixed.note("row")],
        figures=mixed.figures,
    )


def mix_pairs(
    pairs: pl.DataFrame, new_events: pl.Series, older_share: float, *, seed: int = 0, digest_in: str = ""
) -> StageResult:
    """The new pairs, and a share of older ones.

    Args:
        pairs: rows of `schemas.datasets.PAIR_CANDIDATE`, split.
        new_events: ids of the events and pairs that are new. [N] text.
        older_share: share of the train split that older pairs make, in [0, 1); fewer where there are not so many.
        seed: decides which older pairs stay.
        digest_in: digest of the stage before.
    """
    events = new_events.unique().sort()
    described = _described(events, older_share, seed)
    mixed = _mixed(pairs, is_new_pair(pairs["source_event_ids"], events), older_share, seed)
    kept, dropped = (some.sort("row_key", "row_id") for some in (mixed.kept, mixed.dropped))
    ids = kept.select(pl.col("source_event_ids").list.len().alias("votes")).to_series(), kept["row_id"]
    report = StageReport(
        stage="mix",
        rows_in=pairs.height,
        rows_created=0,
        rows_kept=kept.height,
        dropped={DropReason.OLDER.value: dropped.height} if dropped.height else {},
        labels_in=LabelCounts(unlabelled=pairs.height),
        labels_kept=LabelCounts(unlabelled=kept.height),
        digest_in=digest_in,
        digest_out=stage_digest(digest_in, "mix", described, kept, _DECISIONS_OF_PAIRS, ids),
        config=described,
        notes=(mixed.note("pair"),),
        figures=mixed.figures,
    )
    return StageResult(kept, dropped, report)


def is_new_pair(source_event_ids: pl.Series, new_events: pl.Series) -> pl.Series:
    """Whether a judgement behind a pair is among new ones. [N] bool.

    Args:
        source_event_ids: the judgements behind each pair. [N] lists of text.
        new_events: ids of the events and pairs that are new. [M] text.
    """
    return source_event_ids.list.eval(pl.element().is_in(new_events.implode())).list.any()


def older_rows(new: int, older_share: float) -> int:
    """How many older rows make `older_share` of all, beside so many new ones.

    >>> older_rows(300, 0.25), older_rows(300, 0.0)
    (100, 0)
    """
    return round(new * older_share / (1 - older_share))


@dataclass(frozen=True, slots=True)
class _Mixed:
    """What stays and what does not, with its reason; how much of the train split is new, kept and left out."""

    kept: pl.DataFrame
    dropped: pl.DataFrame
    figures: dict[str, int]

    def note(self, noun: str) -> str:
        """What was done, in a sentence."""
        new, older, left_out = (self.figures[name] for name in ("new", "older", "older_left_out"))
        return f"{counted(new, f'new {noun}')} and {older:,} of {counted(older + left_out, f'older {noun}')}."


def _mixed(rows: pl.DataFrame, is_new: pl.Series, older_share: float, seed: int) -> _Mixed:
    is_train = rows["split"].fill_null("train") == "train"
    older, new = rows.filter(is_train & ~is_new), rows.filter(is_train & is_new)
    kept_older = _chosen(older, older_rows(new.height, older_share), seed)
    left_out = older.join(kept_older.select("row_id"), on="row_id", how="anti")
    return _Mixed(
        kept=pl.concat([rows.filter(~is_train | is_new), kept_older]),
        dropped=left_out.with_columns(drop_reason=pl.lit(DropReason.OLDER.value)),
        figures={"new": new.height, "older": kept_older.height, "older_left_out": left_out.height},
    )


def _described(events: pl.Series, older_share: float, seed: int) -> dict[str, Any]:
    digest = hashlib.blake2b("\n".join(events.to_list()).encode(), digest_size=16).hexdigest()
    return {"older_share": older_share, "seed": seed, "new_events": digest}


def _chosen(older: pl.DataFrame, wanted: int, seed: int) -> pl.DataFrame:
    """The rows that a hash puts first, of each label the same part; pairs have no label."""
    if wanted >= older.height:
        return older
    order = mix64(older["row_key"].to_numpy(), "mix", seed)
    label = pl.col("label") if "label" in older.columns else pl.lit(True)
    ranked = older.select("row_id", label=label, order=pl.Series(order)).sort("order", "row_id")
    # The n-th of N rows of a label stands at (n - 1/2) / N, so every run of places takes the same part of each label.
    place = (pl.int_range(pl.len()) + 0.5).over("label") / pl.len().over("label")
    first = ranked.with_columns(place=place).sort("place", "label", "row_id").head(wanted)
    return older.join(first.select("row_id"), on="row_id", how="semi")
