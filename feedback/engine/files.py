"""What kernels read and write: files that are whole or absent, and rows scattered into partitions.

Parquet is for what stays or is sent around, Arrow for what the next stage reads: it is mapped, not copied.

A kernel may be run twice, even at the same time, when a node is lost. So every file is written under a name of its own
and renamed into place: both runs write the same bytes, and the last rename wins. Nothing is flushed to the disk: what a
power cut takes is noticed by its digest (see `staging`) and made anew.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.hashing import mix64

__all__ = [
    "PARTIAL_SUFFIX",
    "Piece",
    "Scattered",
    "column_names",
    "in_partition_order",
    "is_arrow",
    "partition_numbers",
    "read_arrow",
    "read_rows",
    "rows_of_partition",
    "scatter",
    "write_arrow",
    "write_parquet",
    "written_whole",
]

PARTIAL_SUFFIX: Final = ".partial"
"""Ends the names of files that are being written."""

_NUMBER: Final = "__partition"
_PLACE: Final = "__place"
_PLACES: Final = 2**32


@dataclass(frozen=True, slots=True)
class Piece:
    """A file with the rows that one task had for one partition."""

    partition: int
    path: Path
    rows: int


@dataclass(frozen=True, slots=True)
class Scattered:
    """The pieces that one task wrote, by partition; a partition without rows has none."""

    pieces: tuple[Piece, ...]


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path to write to; the file appears at `path` when the block ends without an error, and not at all otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = f"{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}"
    partial = path.with_name(f".{path.name}.{writer}{PARTIAL_SUFFIX}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_parquet(frame: pl.DataFrame, path: Path) -> Path:
    """Write `frame` to `path`, whole or not at all; quick to write and to read: keys hardly get smaller by packing."""
    with written_whole(path) as partial:
        frame.write_parquet(partial, compression="uncompressed", statistics=False)
    return path


def write_arrow(rows: pl.DataFrame | pa.Table, path: Path) -> Path:
    """Write `rows` to `path` as an Arrow file, whole or not at all: as they lie in memory."""
    table = rows if isinstance(rows, pa.Table) else rows.to_arrow(compat_level=pl.CompatLevel.newest())
    with (
        written_whole(path) as partial,
        pa.OSFile(str(partial), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    return path


def read_arrow(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The rows of a file of `write_arrow`: the file itself, mapped into memory; what is not looked at is not read.

    Args:
        path: the file.
        columns: columns to read; null reads all.
    """
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    return pl.DataFrame(table if columns is None else table.select(list(columns)))


def is_arrow(path: Path) -> bool:
    """Whether a file is one of `write_arrow`, not a Parquet file; its name says so."""
    return path.suffix == ".arrow"


def read_rows(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The rows of an Arrow or a Parquet file.

    Args:
        path: the file.
        columns: columns to read; null reads all.
    """
    if is_arrow(path):
        return read_arrow(path, columns)
    return pl.read_parquet(path, columns=None if columns is None else list(columns), glob=False)


def column_names(path: Path) -> list[str]:
    """The names of the columns of an Arrow or a Parquet file."""
    return read_arrow(path).columns if is_arrow(path) else list(pl.read_parquet_schema(path))


def partition_numbers(keys: pl.Series, partitions: int) -> pl.Series:
    """The partition of each key: equal shares of the keys, and the same on every engine and machine.

    The keys are mixed first, so that it does not matter how they are spread (the smallest of several hashes is small).

    Args:
        keys: keys without nulls. [N] uint64.
        partitions: number of partitions, at least 1.

    Returns:
        [N] uint32, in [0, partitions).
    """
    return pl.Series(_NUMBER, ((_places(keys) * np.uint64(partitions)) >> np.uint64(32)).astype(np.uint32))


def in_partition_order(frame: pl.DataFrame, keys: pl.Series) -> pl.DataFrame:
    """The rows of a table that all partitions read, so that those of one lie side by side: for `rows_of_partition`.

    Args:
        frame: the rows. [N].
        keys: what `partition_numbers` would be given for each row, whatever the number of partitions. [N] uint64.
    """
    places = _places(keys)
    order = np.argsort(places, kind="stable")
    return frame[order].with_columns(pl.Series(_PLACE, places[order].astype(np.uint32)))


def rows_of_partition(path: Path, number: int, partitions: int) -> pl.DataFrame:
    """The rows of one partition in a file of `in_partition_order`; nothing else of the file is read.

    Args:
        path: the file, as `write_arrow` wrote it.
        number: which partition, from 0.
        partitions: number of partitions.
    """
    frame = read_arrow(path)
    first, end = (-(-which * _PLACES // partitions) for which in (number, number + 1))
    start, stop = np.searchsorted(frame[_PLACE].to_numpy(), np.array([first, end], dtype=np.uint64))
    return frame[int(start) : int(stop)].drop(_PLACE)


def scatter(frame: pl.DataFrame, numbers: pl.Series, folder: Path, prefix: str) -> Scattered:
    """Write the rows of each partition into a file of its own, in their order.

    Args:
        frame: the rows. [N].
        numbers: partition of each row. [N] uint32.
        folder: where; the files are `PARTITION/PREFIX.parquet`.
        prefix: tells this task from others; named by the task's number, so that names sort in the order of the tasks.
    """
    if frame.is_empty():
        return Scattered(())
    parts = frame.with_columns(numbers.alias(_NUMBER)).partition_by(
        _NUMBER, maintain_order=True, include_key=False, as_dict=True
    )
    pieces = []
    for (number,), part in sorted(parts.items()):
        # Not an Arrow file: a text taken out of a larger column carries the bytes of all of it.
        path = write_parquet(part, folder / f"{number:05d}" / f"{prefix}.parquet")
        pieces.append(Piece(int(number), path, part.height))
    return Scattered(tuple(pieces))


def _places(keys: pl.Series) -> NDArray[np.uint64]:
    """Where each key lies among all keys, in [0, 2**32): the same for every number of partitions."""
    return mix64(keys.to_numpy(), "partition") >> np.uint64(32)
