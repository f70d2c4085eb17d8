"""A raw copy without some of its records, of the same kind: lines stay lines, an array an array, a table a table.

    lines            an empty line in the place of each, so that all others keep their numbers
    CSV              the header, and the other rows byte for byte
    array, objects   the other values byte for byte
    table, stream    the other rows, in the columns and types of the file

What is no file of lines is read again before it takes the place of the copy: it must give exactly the other records, or
it is given up. So rows can be made again from it as from the whole copy.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from feedback.records.arrow_files import PARQUET, read_seekable, read_stream
from feedback.records.byte_stream import Tally, open_bytes
from feedback.records.data_names import plain_suffix
from feedback.records.file_kinds import kind_of_bytes, kind_of_text
from feedback.records.sources import RawRecord, read_records
from feedback.store.durable import flush_file, flush_folder, private_folder
from feedback.store.faults import faultpoint

__all__ = ["kind_of_copy", "raw_lines", "rewritten"]

IsTheirs = Callable[[RawRecord], bool]

_HEAD: Final = 1 << 16
_BOM: Final = b"\xef\xbb\xbf"
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


def kind_of_copy(path: Path) -> str:
    """What a copy holds: `table`, `stream`, `csv`, `array`, `objects` or `lines`.

    Raises:
        InputError: it is something that is not read.
        CorruptionError: it is compressed, and damaged.
    """
    with open_bytes(path, Tally()) as stream:
        head = stream.read(_HEAD)
    kind = kind_of_bytes(head, path.name)
    return kind if kind != "text" else kind_of_text(head.removeprefix(_BOM), plain_suffix(path.name))


def raw_lines(path: Path) -> Iterator[RawRecord]:
    """The lines of a copy as records without a value.

    Args:
        path: the copy.
    """
    with _opened(path) as stream:
        for number, line in enumerate(stream, start=1):
            yield _line_record(path, number, line)


@contextmanager
def rewritten(path: Path, is_theirs: IsTheirs) -> Iterator[Path | None]:
    """A file with all but some of the records of a copy, flushed; behind the block it is gone, if it was not moved.

    Args:
        path: the copy.
        is_theirs: which records are left out.

    Yields:
        The file; None where none can be written that would be read as the other records.

    Raises:
        InputError: the copy cannot be read.
        CorruptionError: it is damaged.
    """
    folder = private_folder(path.parents[2] / f"incoming-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    new, kind = folder / path.name, kind_of_copy(path)
    try:
        faultpoint("erase.raw.write.before", new)
        with os.fdopen(os.open(new, os.O_RDWR | os.O_CREAT, 0o600), "wb") as sink, _packed(path, sink) as stream:
            _WRITERS[kind](path, stream, is_theirs)
        faultpoint("erase.raw.sync.before", new, unflushed=True)
        flush_file(new)
        flush_folder(folder)
        yield new if kind == "lines" or _is_the_rest(new, path, is_theirs) else None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_the_rest(new: Path, path: Path, is_theirs: IsTheirs) -> bool:
    """Whether a file is read as the other records of a copy; one that is cut off, for example, is not any more."""
    return _digest(read_records(new)) == _digest(record for record in read_records(path) if not is_theirs(record))


def _digest(records: Iterator[RawRecord]) -> str:
    """Of the bytes and rejections of records, in their order."""
    seen = hashlib.sha256()
    for record in records:
        reason = "" if record.reject is None else record.reject[0]
        seen.update(hashlib.sha256(record.raw).digest() + reason.encode() + b"\n")
    return seen.hexdigest()


@contextmanager
def _packed(path: Path, sink: BinaryIO) -> Iterator[BinaryIO]:
    """A stream into `sink`, compressed where the copy is."""
    with path.open("rb") as file:
        head = file.read(4)
    if head.startswith(_GZIP):
        with gzip.GzipFile(fileobj=sink, mode="wb", mtime=0) as packed:
            yield cast(BinaryIO, packed)
    elif head.startswith(_ZSTD):
        with zstandard.ZstdCompressor().stream_writer(sink, closefd=False) as packed:
            yield cast(BinaryIO, packed)
    else:
        yield sink


def _write_lines(path: Path, sink: BinaryIO, is_theirs: IsTheirs) -> None:
    with _opened(path) as stream:
        for number, line in enumerate(stream, start=1):
            sink.write(b"\n" if is_theirs(_line_record(path, number, line)) else line)


def _line_record(path: Path, number: int, line: bytes) -> RawRecord:
    return RawRecord(path.name, number, line.rstrip(b"\r\n").removeprefix(_BOM).strip(), None)


def _write_csv(path: Path, sink: BinaryIO, is_theirs: IsTheirs) -> None:
    records = read_records(path)
    first = next(records, None)
    with _opened(path) as stream:
        # A name in the header may have lines, and one before it may name the delimiter.
        for line in islice(stream, None if first is None else first.line - 1):
            sink.write(line.rstrip(b"\r\n") + b"\n")
    for record in chain(() if first is None else (first,), records):
        if not is_theirs(record):
            sink.write(record.raw + b"\n")


def _write_array(path: Path, sink: BinaryIO, is_theirs: IsTheirs) -> None:
    before = b"[\n"
    for record in read_records(path):
        if not is_theirs(record):
            sink.write(before + record.raw)
            before = b",\n"
    sink.write(b"[]\n" if before == b"[\n" else b"\n]\n")


def _write_objects(path: Path, sink: BinaryIO, is_theirs: IsTheirs) -> None:
    for record in read_records(path):
        if not is_theirs(record):
            sink.write(record.raw + b"\n")


def _write_table(path: Path, sink: BinaryIO, is_theirs: IsTheirs) -> None:
    """The rows that are not theirs; a row is a record, in the same order."""
    records = read_records(path)
    writer: Any = None
    with _opened(path) as stream:
        head = stream.peek(_HEAD)[:_HEAD]
        is_table = kind_of_bytes(head, path.name) == "table"
        for batch in read_seekable(None, stream, path.name) if is_table else read_stream(stream, path.name):
            kept = [not is_theirs(next(records)) for _ in range(batch.num_rows)]
            if writer is None:
                writer = _table_writer(sink, batch.schema, head)
            writer.write_batch(batch.filter(pa.array(kept, pa.bool_())))
    if writer is not None:
        writer.close()


def _table_writer(sink: BinaryIO, schema: pa.Schema, head: bytes) -> Any:
    if head.startswith(PARQUET):
        return pq.ParquetWriter(sink, schema, compression="zstd", write_page_checksum=True)
    return pa.ipc.new_file(sink, schema) if kind_of_bytes(head, "") == "table" else pa.ipc.new_stream(sink, schema)


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    with open_bytes(path, Tally()) as stream:
        yield io.BufferedReader(stream, 1 << 20)


_WRITERS: Final[dict[str, Callable[[Path, BinaryIO, IsTheirs], None]]] = {
    "array": _write_array,
    "csv": _write_csv,
    "lines": _write_lines,
    "objects": _write_objects,
    "stream": _write_table,
    "table": _write_table,
}
