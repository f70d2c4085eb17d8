"""The pairs of a finished dataset as candidates again, so that some of them can be taken without the raw files."""

from __future__ import annotations

from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from feedback.export.text_files import TextTable
from feedback.flat_text import flat_text
from feedback.hashing import row_keys
from schemas.datasets import OPTIONAL_COLUMNS, PAIR_CANDIDATE, PREFERENCE
from schemas.errors import ShapeError
from schemas.manifest import Manifest
from schemas.paths import AnyPath, path_of

__all__ = ["read_curated_pairs", "text_of_curated_pairs"]

_TYPES: Final = pl.Schema(PAIR_CANDIDATE)
_SIDES: Final = ("chosen", "rejected")
_BATCH_ROWS: Final = 50_000


def read_curated_pairs(folder: AnyPath, manifest: Manifest) -> pl.DataFrame:
    """The pairs of a dataset as `schemas.datasets.PAIR_CANDIDATE`, sorted by `row_id`.

    Args:
        folder: the folder of a dataset of pairs.
        manifest: its manifest.

    Raises:
        ShapeError: a shard has not the columns of `schemas.datasets.PREFERENCE`.
    """
    folder = path_of(folder, name="folder")
    frames = [pl.DataFrame(schema=_TYPES)]
    for shard in manifest.shards:
        with pq.ParquetFile(folder / shard.path) as file:
            missing = {*PREFERENCE.names} - {*OPTIONAL_COLUMNS} - {*file.schema_arrow.names}
            if missing:
                raise ShapeError(f"columns are missing: {', '.join(sorted(missing))}", where=folder / shard.path)
            frames += [_candidates(batch) for batch in file.iter_batches(_BATCH_ROWS)]
    return pl.concat(frames, rechunk=True).sort("row_key", "row_id")


def text_of_curated_pairs(folder: AnyPath, manifest: Manifest) -> TextTable:
    """Where the texts of a dataset's pairs lie: in its own shards."""
    paths = tuple(path_of(folder, name="folder") / shard.path for shard in manifest.shards)
    return TextTable(paths, "row_id", {side: side for side in _SIDES})


def _candidates(batch: pa.RecordBatch) -> pl.DataFrame:
    from feedback.near import sketch_texts  # loads numba

    rows = pl.DataFrame(batch.drop_columns(["prompt", *_SIDES]))
    prompts, *answers = (flat_text(batch.column(name)) for name in ("prompt", *_SIDES))
    chosen, rejected = (sketch_texts(prompts, answer) for answer in answers)
    no_rater = pl.Series([None] * rows.height, dtype=pl.String)
    full = rows.with_columns(
        pl.Series("prompt_key", chosen.prompt_key),
        pl.Series("prompt_chars", chosen.prompt_chars),
        pl.Series("chosen_chars", chosen.completion_chars),
        pl.Series("rejected_chars", rejected.completion_chars),
        row_keys(rows["row_id"]).alias("row_key"),
        row_keys(rows["group_id"]),
        row_keys(rows["rater_key"] if "rater_key" in rows.columns else no_rater).alias("rater_key"),
        **{f"{side}_text_id": pl.col("row_id") for side in _SIDES},
        **{f"{side}_text_side": pl.lit(side) for side in _SIDES},
    )
    return full.select(pl.col(name).cast(kind) for name, kind in _TYPES.items())
