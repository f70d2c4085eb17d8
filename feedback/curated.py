"""A finished dataset as candidates again, so that it can be rebalanced without its raw files."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from feedback.export import TextTable
from feedback.hashing import messages_hash, messages_key
from feedback.stage import CANDIDATE_TYPES, sort_rows
from schemas.datasets import UNPAIRED_PREFERENCE
from schemas.errors import ShapeError
from schemas.manifest import Manifest

__all__ = ["read_curated", "text_of_curated"]


def read_curated(folder: Path, manifest: Manifest) -> pl.DataFrame:
    """The rows of a dataset as `schemas.datasets.CANDIDATE`.

    Raters, times and models are not in a dataset, so they are null here; votes have their ids and their labels in
    total.

    Args:
        folder: the dataset's folder.
        manifest: its manifest.

    Raises:
        ShapeError: a shard has not the columns of `schemas.datasets.UNPAIRED_PREFERENCE`.
    """
    frames = [pl.DataFrame(schema=CANDIDATE_TYPES)]
    for shard in manifest.shards:
        with pq.ParquetFile(folder / shard.path) as file:
            missing = set(UNPAIRED_PREFERENCE.names) - {"tools"} - set(file.schema_arrow.names)
            if missing:
                raise ShapeError(f"columns are missing: {', '.join(sorted(missing))}", where=folder / shard.path)
            frames += [_candidates(pl.DataFrame(pl.from_arrow(batch))) for batch in file.iter_batches(8192)]
    return sort_rows(pl.concat(frames))


def text_of_curated(folder: Path, manifest: Manifest) -> TextTable:
    """Where the texts of a dataset's rows lie: in its own shards."""
    paths = tuple(folder / shard.path for shard in manifest.shards)
    return TextTable(paths, "row_id", {"completion": "completion"})


def _candidates(rows: pl.DataFrame) -> pl.DataFrame:
    prompts, completions = rows["prompt"].to_list(), rows["completion"].to_list()
    place = pl.int_ranges(pl.col("source_event_ids").list.len())
    votes = (
        rows.select("row_id", "n_up", event_id="source_event_ids", place=place)
        .explode("event_id", "place")
        .select(
            "row_id",
            # Which of the votes went up is not known any more, only how many did.
            votes=pl.struct(
                "event_id",
                pl.lit(None, dtype=pl.String).alias("rater_key"),
                pl.lit(None, dtype=pl.Datetime("us", "UTC")).alias("event_ts"),
                (pl.col("place") < pl.col("n_up")).alias("label"),
            ),
        )
        .group_by("row_id", maintain_order=True)
        .agg("votes")
    )
    full = rows.join(votes, on="row_id", how="left").with_columns(
        pl.Series("prompt_hash", [messages_hash(turns) for turns in prompts], pl.String),
        pl.Series("completion_hash", [messages_hash(turns) for turns in completions], pl.String),
        pl.Series("prompt_key", [messages_key(turns) for turns in prompts], pl.String),
        pl.Series("completion_key", [messages_key(turns) for turns in completions], pl.String),
        pl.lit("unknown").alias("rater_kind"),
        pl.lit("completion").alias("text_side"),
        text_id="row_id",
        prompt_chars=_chars("prompt"),
        completion_chars=_chars("completion"),
        rater_key=None,
        model_id=None,
        event_ts=None,
    )
    return full.select(pl.col(name).cast(kind) for name, kind in CANDIDATE_TYPES.items())


def _chars(column: str) -> pl.Expr:
    return pl.col(column).list.eval(pl.element().struct.field("content").str.len_chars()).list.sum()
