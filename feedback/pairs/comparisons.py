"""Comparisons: which two answers somebody saw side by side, as keys, before their rows are merged or left out."""

from __future__ import annotations

from typing import Final

import polars as pl

from schemas.reasons import DropReason

__all__ = ["comparisons_of"]

_OF_PAIR: Final = ("text_id", "source", "prompt_hash", "prompt_key", "group_id", "prompt_chars", "rater_key")
_OF_SIDE: Final = ("text_side", "completion_hash", "completion_key", "cluster_id", "completion_chars", "is_left_out")


def comparisons_of(kept: pl.DataFrame, dropped: pl.DataFrame) -> pl.DataFrame:
    """The comparisons with a winner among the rows of a partition, in the order of their ids.

    Args:
        kept: rows of `schemas.datasets.CANDIDATE` as the stage `convert` made them.
        dropped: those that it left out, with their reason.

    Returns:
        text_id, source, prompt_hash, prompt_key, group_id, prompt_chars and rater_key, and of either answer
        `chosen_...` and `rejected_...`: text_side, completion_hash, completion_key, cluster_id, completion_chars, and
        is_left_out, where its absolute score gave it no label. A record that came in twice is there twice; `copy`
        counts from 0.
    """
    judged = dropped.filter(pl.col("drop_reason") == DropReason.SCORE_THRESHOLD.value).drop("drop_reason")
    rows = pl.concat([kept.with_columns(is_left_out=False), judged.with_columns(is_left_out=True)])
    rows = rows.filter(pl.col("origin") == "pair")
    copy = pl.int_range(pl.len()).over("text_id").alias("copy")
    chosen = rows.filter("label").select(*_OF_PAIR, copy, *_of_side("chosen"))
    rejected = rows.filter(~pl.col("label")).select("text_id", copy, *_of_side("rejected"))
    # Of two bad answers none is chosen.
    return chosen.join(rejected, on=["text_id", "copy"]).sort("text_id", "copy")


def _of_side(side: str) -> list[pl.Expr]:
    return [pl.col(name).alias(f"{side}_{name}") for name in _OF_SIDE]
