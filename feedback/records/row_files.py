"""Records into one file: JSON lines, plain or compressed, or Parquet; whole or not there."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, cast

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from schemas.errors import OutputExistsError, UsageError
from schemas.lock import locked_output
from schemas.paths import beside, output_place

__all__ = ["RowFile", "check_out", "open_row_file"]

_LINES: Final = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson", ".ndjson.gz", ".ndjson.zst")
_BATCH_ROWS: Final = 5_000


class RowFile(Protocol):
    """Where records go one by one."""

    def write(self, record: dict[str, Any]) -> None:
        """Append one record."""
        ...


def check_out(path: Path, *, can_be_parquet: bool) -> str:
    """The suffix that says how `path` is written.

    Args:
        path: the file to write.
        can_be_parquet: whether the records fit into a table.

    Raises:
        UsageError: the suffix is not one that can be written, or no file can be there.
        OutputExistsError: the file is there already.
    """
    known = (*_LINES, ".parquet") if can_be_parquet else _LINES
    suffix = next((one for one in known if path.name.lower().endswith(one)), None)
    if suffix is None:
        raise UsageError(
            "the output cannot be written by its suffix", where=path, expected=f"one of {', '.join(known)}"
        )
    _refuse_existing(output_place(path))
    return suffix


@contextmanager
def open_row_file(path: Path, suffix: str, schema: pa.Schema | None) -> Iterator[RowFile]:
    """A file to write to, which appears as `path` when the block ends without an error.

    Args:
        path: the file to write.
        suffix: what `check_out` gave.
        schema: the table's schema; None for lines of JSON.

    Raises:
        LockedError: another run writes it.
        OutputExistsError: a file has come there meanwhile.
    """
    place = output_place(path)
    for folder in (place.parent, path.parent):  # of `nosuch/../out` both: what belongs beside it goes by the path given
        folder.mkdir(parents=True, exist_ok=True)
    partial = beside(place, "", ".partial")
    with locked_output(place):
        try:
            with partial.open("wb") as raw:
                file = _Lines(_compressed(raw, suffix)) if schema is None else _Table(raw, schema)
                try:
                    yield file
                finally:
                    file.close()
            _refuse_existing(place)
            partial.replace(place)
        finally:
            partial.unlink(missing_ok=True)


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise OutputExistsError("the output is there already", where=path, todo="Remove it, or name another file")


class _Lines:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, record: dict[str, Any]) -> None:
        """Write one line."""
        self._stream.write(json.dumps(record, ensure_ascii=False).encode("utf-8") + b"\n")

    def close(self) -> None:
        """Close the stream, and with it a compressor's last block."""
        self._stream.close()


class _Table:
    def __init__(self, stream: BinaryIO, schema: pa.Schema) -> None:
        self._schema = schema
        self._batch: list[dict[str, Any]] = []
        self._writer = pq.ParquetWriter(stream, schema, compression="zstd")

    def write(self, record: dict[str, Any]) -> None:
        """Keep one row until its batch is full."""
        self._batch.append(record)
        if len(self._batch) >= _BATCH_ROWS:
            self._write_batch()

    def close(self) -> None:
        """Write the last batch and the footer."""
        if self._batch:
            self._write_batch()
        self._writer.close()

    def _write_batch(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._batch, schema=self._schema))
        self._batch.clear()


def _compressed(raw: BinaryIO, suffix: str) -> BinaryIO:
    if suffix.endswith(".gz"):
        # No time and no name in the header: the same records give the same bytes.
        return cast(BinaryIO, gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0))
    if suffix.endswith(".zst"):
        return cast(BinaryIO, zstandard.ZstdCompressor(level=6).stream_writer(raw, closefd=False))
    return raw
