"""Consent, quality of time and language of a dataset's rows: its stage folder holds them, its shards do not."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from feedback.audit.texts.features import FEATURES
from feedback.engine import read_rows
from feedback.hashing import keys_of_ids, side_ids

__all__ = ["with_provenance"]

_NAMES = ("consent", "ts_quality", "lang")


def with_provenance(features: pl.DataFrame, frame: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """`features` with what `folder/stages/ingest` knows of its rows; as they are where there is no such folder.

    A row with several votes is refused where one of its voters refused, and consented to where all of them did.

    Args:
        features: rows of `FEATURES` of a dataset, keyed by `row_id`.
        frame: the rows of the dataset with their votes, where its history holds them.
        folder: the dataset's folder.
    """
    parts = [*_of_events(folder), *_of_pairs(folder)]
    if not parts:
        return features
    known = pl.concat(parts).unique("text_key", keep="first", maintain_order=True)
    joined = features.drop(_NAMES).join(known, on="text_key", how="left", maintain_order="left")
    strictest = joined.join(_of_votes(frame, known), on="text_key", how="left", maintain_order="left")
    is_merged = pl.col("is_merged").fill_null(value=False)
    consent = pl.when(is_merged).then("consent_of_all").otherwise("consent")
    return strictest.with_columns(consent=consent).select(FEATURES.names())


def _of_votes(frame: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Of each row with several votes the strictest answer to whether its voters consented: no, not known, yes."""
    merged = frame.filter(pl.col("votes").list.len() > 1)
    votes = merged.select(keys_of_ids(pl.col("text_id")).alias("text_key"), "votes").explode("votes")
    events = votes.select("text_key", event_key=keys_of_ids(pl.col("votes").struct.field("event_id")))
    asked = events.join(known.select(event_key="text_key", consent="consent"), on="event_key", how="left")
    said = pl.col("consent")
    of_all = pl.when((~said).any()).then(pl.lit(False)).when(said.count() == pl.len()).then(pl.lit(True))
    return asked.group_by("text_key").agg(consent_of_all=of_all, is_merged=pl.lit(True))


def _of_events(folder: Path) -> list[pl.DataFrame]:
    return [
        read_rows(path, ["event_id", *_NAMES]).select(keys_of_ids(pl.col("event_id")).alias("text_key"), *_NAMES)
        for path in sorted(folder.glob("stages/ingest/events-*.arrow"))
    ]


def _of_pairs(folder: Path) -> list[pl.DataFrame]:
    """A pair is two rows, whose ids are made of its own; pairs have no consent and no language."""
    parts = []
    for path in sorted(folder.glob("stages/ingest/pairs-*.arrow")):
        pairs = read_rows(path, ["pair_id", "ts_quality"])
        for side in ("a", "b"):
            ids = pairs.with_columns(side_ids(pairs["pair_id"], side).alias("row_id"))
            parts.append(
                ids.select(
                    keys_of_ids(pl.col("row_id")).alias("text_key"),
                    pl.lit(None, dtype=pl.Boolean).alias("consent"),
                    "ts_quality",
                    pl.lit(None, dtype=pl.String).alias("lang"),
                )
            )
    return parts
