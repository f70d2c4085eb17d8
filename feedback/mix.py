"""Stage `mix`: what is new, and a share of what is older, so that a model that goes on does not forget.

A row is new where a judgement behind it is. Of the older rows of the train split a hash decides which stay, as many as
make the wanted share, each label losing the same part; a larger share only adds rows. The test split stays as it is.
"""

from __future__ import annotations

import hashlib

import polars as pl

from feedback.hashing import mix64
from feedback.stage import StageResult, count_labels, counted, finish_stage
from schemas.reasons import DropReason

__all__ = ["mix", "older_rows"]


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
    is_train = candidates["split"].fill_null("train") == "train"
    older, new = candidates.filter(is_train & ~is_new), candidates.filter(is_train & is_new)
    kept_older = _chosen(older, older_rows(new.height, older_share), seed)
    left_out = older.join(kept_older.select("row_id"), on="row_id", how="anti")
    kept = pl.concat([candidates.filter(~is_train | is_new), kept_older])
    digest = hashlib.blake2b("\n".join(events.to_list()).encode(), digest_size=16).hexdigest()
    figures = {"new": new.height, "older": kept_older.height, "older_left_out": left_out.height}
    return finish_stage(
        "mix",
        kept,
        left_out.with_columns(drop_reason=pl.lit(DropReason.OLDER.value)),
        rows_in=candidates.height,
        labels_in=count_labels(candidates),
        config={"older_share": older_share, "seed": seed, "new_events": digest},
        digest_in=digest_in,
        notes=[f"{counted(new.height, 'new row')} and {kept_older.height:,} of {counted(older.height, 'older row')}."],
        figures=figures,
    )


def older_rows(new: int, older_share: float) -> int:
    """How many older rows make `older_share` of all, beside so many new ones.

    >>> older_rows(300, 0.25), older_rows(300, 0.0)
    (100, 0)
    """
    return round(new * older_share / (1 - older_share))


def _chosen(older: pl.DataFrame, wanted: int, seed: int) -> pl.DataFrame:
    """The rows that a hash puts first, of each label the same part."""
    if wanted >= older.height:
        return older
    order = mix64(older["row_key"].to_numpy(), "mix", seed)
    ranked = older.select("row_id", "label", order=pl.Series(order)).sort("order", "row_id")
    # The n-th of N rows of a label stands at (n - 1/2) / N, so every run of places takes the same part of each label.
    place = (pl.int_range(pl.len()) + 0.5).over("label") / pl.len().over("label")
    first = ranked.with_columns(place=place).sort("place", "label", "row_id").head(wanted)
    return older.join(first.select("row_id"), on="row_id", how="semi")
