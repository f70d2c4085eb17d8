"""Finished Parquet files: row groups put together from runs, checked, written, flushed to disk and hashed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from feedback.export.plan import ExportPlan, ShardPlan
from feedback.export.runs import Run, joined_piece
from feedback.export.texts import TEXT_COLUMNS
from feedback.stage import counted
from schemas.errors import CorruptionError
from schemas.manifest import Shard, file_sha256
from schemas.rules import UnpairedPreferenceRules, violations

__all__ = ["write_shard"]

_REPEATED: Final = [
    "prompt.list.element.role",
    "completion.list.element.role",
    "label",
    "weight",
    "origin",
    "source",
    "tools",
    "n_up",
    "n_down",
    "split",
]
"""Columns of few different values; in the others a dictionary would only be in the way."""


def write_shard(
    shard: ShardPlan,
    plan: ExportPlan,
    rows: Sequence[Run],
    texts: Sequence[Run],
    folder: Path,
    schema: pa.Schema,
) -> Shard:
    """One finished Parquet file, flushed to disk.

    Args:
        shard: what goes into it.
        plan: where row groups start.
        rows: runs of the columns that are not text.
        texts: runs of the texts.
        folder: the dataset's folder.
        schema: the columns to write.

    Raises:
        CorruptionError: a row breaks the rules of the table.
    """
    path = folder / shard.path
    with path.open("wb") as sink:
        with pq.ParquetWriter(
            sink,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=[name for name in _REPEATED if name.split(".")[0] in schema.names],
            write_statistics=["row_id", "group_id", "label", "weight", "split"],
            write_page_checksum=True,
        ) as writer:
            for group in shard.groups:
                writer.write_table(_row_group(group, plan, rows, texts, schema, path))
        sink.flush()
        os.fsync(sink.fileno())
    return Shard(
        path=shard.path,
        split=shard.split,
        rows=shard.labels.total,
        desirable=shard.labels.desirable,
        undesirable=shard.labels.undesirable,
        bytes=path.stat().st_size,
        sha256=file_sha256(path),
    )


def _row_group(
    group: int, plan: ExportPlan, rows: Sequence[Run], texts: Sequence[Run], schema: pa.Schema, path: Path
) -> pa.Table:
    names_of_texts = [name for name in schema.names if name in TEXT_COLUMNS]
    names_of_rows = [name for name in schema.names if name not in TEXT_COLUMNS]
    places, columns = joined_piece(rows, group, names_of_rows)
    text_places, text_columns = joined_piece(texts, group, names_of_texts)
    wanted = np.arange(plan.starts[group], plan.starts[group + 1])
    if not (np.array_equal(places, wanted) and np.array_equal(text_places, wanted)):
        # The worst that could happen is an answer beside another row's label.
        raise CorruptionError(
            "rows and texts do not belong together", where=path.name, todo="Curate again from the raw files"
        )
    arrays = dict(zip((*names_of_rows, *names_of_texts), (*columns, *text_columns), strict=True))
    table = pa.Table.from_arrays([arrays[name] for name in schema.names], schema=schema)
    broken = violations(pl.DataFrame(table), UnpairedPreferenceRules)
    if broken:
        raise CorruptionError(
            f"{counted(len(broken), 'row')} break the rules of the curated table",
            where=path.name,
            received=broken[0].detail,
            expected="rows that `ingest` let through",
            todo="Curate again from the raw files",
        )
    return table
