"""Runs: rows in the order of their places, cut at the borders of row groups, in memory or in a file.

Every part of the input becomes a run; a row group of the dataset is then put together from one piece of each. Beyond
memory, a run is an Arrow file with a batch for each row group, so that only the piece that is wanted is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from feedback.export_plan import Places

__all__ = ["Run", "indices", "joined_piece", "keep_run"]


@dataclass(frozen=True, slots=True)
class Run:
    """Rows in order.

    Args:
        places: their places, ascending. [N]
        edges: where the piece of each row group starts among them, and N as the last. [G + 1]
        rows: their columns; null where they are in `path`.
        path: an Arrow file with a batch for each row group that the run has rows of.
        names: the columns.
    """

    places: Places
    edges: Places
    rows: pa.RecordBatch | None
    path: Path | None
    names: tuple[str, ...]

    def piece(self, group: int) -> pa.RecordBatch:
        """The rows of one row group."""
        start, stop = int(self.edges[group]), int(self.edges[group + 1])
        if self.rows is not None:
            return self.rows.slice(start, stop - start)
        # Not mapped into memory: a page that was looked at once would count as ours until the end.
        number = int(np.count_nonzero(np.diff(self.edges[: group + 1])))
        with pa.OSFile(str(self.path)) as source:
            return pa.ipc.open_file(source).get_batch(number)


def keep_run(rows: pa.RecordBatch, places: Places, starts: Places, path: Path | None) -> Run:
    """The run of `rows`.

    Args:
        rows: the columns, in the order of `places`.
        places: the rows' places, ascending. [N]
        starts: the first place of each row group, and the number of all rows as the last. [G + 1]
        path: the file to write; null keeps the rows in memory.
    """
    edges = np.searchsorted(places, starts).astype(np.int64)
    names = tuple(rows.schema.names)
    if path is None:
        return Run(places, edges, rows, None, names)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as file:
        for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            if stop > start:
                file.write_batch(rows.slice(start, stop - start))
    return Run(places, edges, None, path, names)


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
