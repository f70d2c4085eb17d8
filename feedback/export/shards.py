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
from feedback.stage import counted
from schemas.errors import CorruptionError
from schemas.manifest import Shard, file_sha256
from schemas.rules import Rules, violations

__all__ = ["Columns", "write_shard"]

Columns = Sequence[tuple[Sequence[str], Sequence[Run]]]
"""Names of columns, and the runs that hold them; the runs of all names together hold every row."""

_REPEATED: Final = [
    "prompt.list.element.role",
    "completion.list.element.role",
    "chosen.list.element.role",
    "rejected.list.element.role",
    "label",
    "weight",
    "origin",
    "source",
    "tools",
    "n_up",
    "n_down",
    "rater_key",
    "split",
]
"""Columns of few different values; in the others a dictionary would only be in the way."""

_STATISTICS: Final = ("row_id", "group_id", "label", "weight", "split")
"""Columns with statistics, by which a reader may leave out row groups."""


def write_shard(
    shard: ShardPlan,
    plan: ExportPlan,
    columns: Columns,
    folder: Path,
    schema: pa.Schema,
    rules: Rules,
) -> Shard:
    """One finished Parquet file, flushed to disk.

    Args:
        shard: what goes into it.
        plan: where row groups start.
        columns: where each column of the schema is.
        folder: the dataset's folder.
        schema: the columns to write.
        rules: what every row must keep.

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
            write_statistics=[name for name in _STATISTICS if name in schema.names],
            write_page_checksum=True,
        ) as writer:
            for group in shard.groups:
                writer.write_table(_row_group(group, plan, columns, schema, rules, path))
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


def _row_group(group: int, plan: ExportPlan, columns: Columns, schema: pa.Schema, rules: Rules, path: Path) -> pa.Table:
    wanted = np.arange(plan.starts[group], plan.starts[group + 1])
    arrays: dict[str, pa.Array] = {}
    for names, runs in columns:
        places, found = joined_piece(runs, group, names)
        if not np.array_equal(places, wanted):
            # The worst that could happen is an answer beside another row's label.
            raise CorruptionError(
                "rows and texts do not belong together", where=path.name, todo="Curate again from the raw files"
            )
        arrays |= dict(zip(names, found, strict=True))
    table = pa.Table.from_arrays([arrays[name] for name in schema.names], schema=schema)
    broken = violations(pl.DataFrame(table), rules)
    if broken:
        raise CorruptionError(
            f"{counted(len(broken), 'row')} break the rules of the curated table",
            where=path.name,
            received=broken[0].detail,
            expected="rows that `ingest` let through",
            todo="Curate again from the raw files",
        )
    return table
