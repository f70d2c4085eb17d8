"""Batches of rows from Parquet and Arrow files, a few megabytes at a time however the file is cut up.

Parquet and Arrow files are read from their end, so bytes that cannot be sought in (compressed, standard input, an
object store) go through a temporary file. An Arrow stream is read as it comes.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.error_text import first_line
from schemas.errors import CorruptionError

__all__ = ["ARROW_FILE", "PARQUET", "is_arrow_stream", "read_seekable", "read_stream"]

PARQUET: Final = b"PAR1"
"""How a Parquet file begins."""
ARROW_FILE: Final = b"ARROW1"
"""How an Arrow file begins, which Feather is too since its version 2."""

_STREAM: Final = b"\xff\xff\xff\xff"
_BATCH_BYTES: Final = 8 << 20
_MOST_ROWS: Final = 4096
_BUFFER: Final = 1 << 20
_CHUNK: Final = 1 << 20


def is_arrow_stream(head: bytes) -> bool:
    """Whether bytes begin as an Arrow stream does: a mark, and the size of its first message."""
    return head.startswith(_STREAM) and 0 < int.from_bytes(head[4:8], "little") < 1 << 28


def read_seekable(path: Path | None, stream: io.BufferedReader, name: str) -> Iterator[pa.RecordBatch]:
    """The batches of the Parquet or Arrow file whose bytes `stream` gives.

    Args:
        path: the file itself where it lies on disk as it is; None where only `stream` has its bytes.
        stream: its bytes, which are read to their end in any case, so that they are tallied.
        name: name for errors.

    Raises:
        CorruptionError: the file is not whole, or its bytes are damaged.
    """
    with tempfile.NamedTemporaryFile(suffix=".arrow") as copy:
        while chunk := stream.read(_CHUNK):
            if path is None:
                copy.write(chunk)
        copy.flush()
        yield from _read_file(path or Path(copy.name), name)


def read_stream(stream: io.BufferedReader, name: str) -> Iterator[pa.RecordBatch]:
    """The batches of an Arrow stream.

    Raises:
        CorruptionError: the stream is cut off, or its bytes are damaged.
    """
    rows = _Count()
    with _told(name, rows, "Arrow stream"):
        yield from rows.counted(_cut_up(iter(pa.ipc.open_stream(stream))))
    while stream.read(_CHUNK):
        pass


class _Count:
    """Rows that were read."""

    def __init__(self) -> None:
        self.rows = 0

    def counted(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """`batches`, counted on the way."""
        for batch in batches:
            yield batch
            self.rows += batch.num_rows


@contextmanager
def _told(name: str, count: _Count, kind: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise CorruptionError(
            f"the {kind} cannot be read ({first_line(error)})",
            where=f"{name} after row {count.rows:,}",
            todo="Restore the file or write it again",
        ) from error


def _read_file(path: Path, name: str) -> Iterator[pa.RecordBatch]:
    with path.open("rb") as file:
        is_parquet = file.read(len(PARQUET)) == PARQUET
    rows = _Count()
    with _told(name, rows, "Parquet file" if is_parquet else "Arrow file"):
        read: Callable[[Path], Iterator[pa.RecordBatch]] = _parquet_batches if is_parquet else _arrow_batches
        yield from rows.counted(read(path))


def _parquet_batches(path: Path) -> Iterator[pa.RecordBatch]:
    # A buffer makes it read a column piece by piece; without one a row group is in memory as a whole.
    with pq.ParquetFile(path, page_checksum_verification=True, buffer_size=_BUFFER, pre_buffer=False) as table:
        groups = [table.metadata.row_group(number) for number in range(table.num_row_groups)]
        size = sum(group.total_byte_size for group in groups)
        yield from table.iter_batches(_rows_of(size, table.metadata.num_rows), use_threads=False)


def _arrow_batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as table:
        yield from _cut_up(table.get_batch(number) for number in range(table.num_record_batches))


def _cut_up(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        step = _rows_of(batch.nbytes, batch.num_rows)
        for start in range(0, batch.num_rows, step):
            yield batch.slice(start, step)


def _rows_of(size: int, rows: int) -> int:
    """Rows of about `_BATCH_BYTES`, where so many rows have so many bytes."""
    return max(1, min(_MOST_ROWS, _BATCH_BYTES * rows // size if size else _MOST_ROWS))
