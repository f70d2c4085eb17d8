"""Files that hold text, in pieces: the row groups of a Parquet file, the record batches of an Arrow file.

An Arrow file is mapped into memory, so that of its texts only those are read that are taken out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from feedback.engine import is_arrow, read_rows

__all__ = ["TextPiece", "TextTable", "read_column", "read_piece", "text_pieces"]


@dataclass(frozen=True, slots=True)
class TextTable:
    """Parquet or Arrow files with text: the column of ids, and for each `text_side` the column of its completion."""

    paths: tuple[Path, ...]
    id_column: str
    completions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TextPiece:
    """A row group or a record batch.

    Args:
        path: its file.
        number: which of the file it is, from 0.
        first: its first row, counted through all files of the table.
        rows: its rows.
        size: its bytes in memory.
    """

    path: Path
    number: int
    first: int
    rows: int
    size: int


def text_pieces(paths: Sequence[Path]) -> Iterator[TextPiece]:
    """All pieces of some files, in the order of their rows."""
    first = 0
    for path in paths:
        for number, (rows, size) in enumerate(_batches(path) if is_arrow(path) else _row_groups(path)):
            yield TextPiece(path, number, first, rows, size)
            first += rows


def read_piece(piece: TextPiece, columns: Sequence[str]) -> pa.RecordBatch:
    """The rows of a piece, with those of the columns that its file has."""
    if is_arrow(piece.path):
        with pa.memory_map(str(piece.path)) as source:
            batch = pa.ipc.open_file(source).get_batch(piece.number)
        return batch.select([name for name in columns if name in batch.schema.names])
    with pq.ParquetFile(piece.path) as file:
        names = [name for name in columns if name in file.schema_arrow.names]
        table = file.read_row_group(piece.number, columns=names, use_threads=False)
    return table.combine_chunks().to_batches()[0]


def read_column(paths: Sequence[Path], name: str) -> pl.DataFrame:
    """One column of some files, from one file after another."""
    return pl.concat([read_rows(path, [name]) for path in paths])


def _batches(path: Path) -> Iterator[tuple[int, int]]:
    with pa.memory_map(str(path)) as source:
        file = pa.ipc.open_file(source)
        for number in range(file.num_record_batches):
            batch = file.get_batch(number)
            yield batch.num_rows, batch.nbytes


def _row_groups(path: Path) -> Iterator[tuple[int, int]]:
    metadata = pq.read_metadata(path)
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        yield group.num_rows, group.total_byte_size
