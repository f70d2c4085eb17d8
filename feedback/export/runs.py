"""Runs: rows in the order of their places, cut at the borders of row groups, in memory or in a file.

Every part of the input becomes a run; a row group of the dataset is then put together from one piece of each. Beyond
memory, a run is a file of Arrow batches, one for each row group, so that only the piece that is wanted is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from feedback.export.plan import Places

__all__ = ["Run", "indices", "joined_piece", "keep_run"]


@dataclass(frozen=True, slots=True)
class Run:
    """Rows in order.

    Args:
        places: their places, ascending. [N]
        edges: where the piece of each row group starts among them, and N as the last. [G + 1]
        schema: their columns.
        rows: the columns, or a file of Arrow batches, one for each row group that the run has rows of.
        offsets: where each row group's batch starts in the file, and its size as the last. [G + 1]
    """

    places: Places
    edges: Places
    schema: pa.Schema
    rows: pa.RecordBatch | Path
    offsets: Places

    def piece(self, group: int) -> pa.RecordBatch:
        """The rows of one row group."""
        cuts = self.offsets if isinstance(self.rows, Path) else self.edges
        start, stop = int(cuts[group]), int(cuts[group + 1])
        if not isinstance(self.rows, Path):
            return self.rows.slice(start, stop - start)
        # Not mapped into memory: a page that was looked at once would count as ours until the end.
        with self.rows.open("rb") as source:
            source.seek(start)
            return pa.ipc.read_record_batch(pa.py_buffer(source.read(stop - start)), self.schema)


def keep_run(rows: pa.RecordBatch, places: Places, starts: Places, path: Path | None) -> Run:
    """The run of `rows`.

    Args:
        rows: the columns, in the order of `places`.
        places: the rows' places, ascending. [N]
        starts: the first place of each row group, and the number of all rows as the last. [G + 1]
        path: the file to write; null keeps the rows in memory.
    """
    edges = np.searchsorted(places, starts).astype(np.int64)
    offsets = np.zeros_like(edges)
    if path is None:
        return Run(places, edges, rows.schema, rows, offsets)
    with path.open("wb") as sink:
        for group, (start, stop) in enumerate(pairwise(edges.tolist())):
            if stop > start:
                sink.write(rows.slice(start, stop - start).serialize())
            offsets[group + 1] = sink.tell()
    return Run(places, edges, rows.schema, path, offsets)


def joined_piece(runs: Sequence[Run], group: int, names: Sequence[str]) -> tuple[Places, list[pa.Array]]:
    """The rows of one row group from all runs, in order: their places, and the named columns.

    Args:
        runs: the runs.
        group: number of the row group; some run has rows of it.
        names: columns; a column of text is null in the rows of a run that has it not.
    """
    found = [run for run in runs if run.edges[group] < run.edges[group + 1]]
    pieces = [run.piece(group) for run in found]
    places = np.concatenate([run.places[run.edges[group] : run.edges[group + 1]] for run in found])
    order = np.argsort(places)
    taken = indices(order)
    columns = [pa.concat_arrays([_column(piece, name) for piece in pieces]).take(taken) for name in names]
    return places[order], columns


def indices(numbers: Places) -> pa.Array:
    """Whole numbers as an Arrow array; `pyarrow.array` would load pandas, a quarter of a second."""
    return pl.Series(numbers).to_arrow()


def _column(piece: pa.RecordBatch, name: str) -> pa.Array:
    return piece.column(name) if name in piece.schema.names else pa.nulls(piece.num_rows, pa.string())
