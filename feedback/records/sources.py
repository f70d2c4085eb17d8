"""From a file, an object or a query to raw records, streaming.

    find_files ─┬─► bytes ─► decompressed ─► lines, values or rows ─┬─► blocks ─► RawRecord
                └─► query ─────────────────────────────────► rows ──┘

What a file holds is told from its content where it can be; the suffix only decides where it cannot (CSV). A bad record
is one rejected record, never the end of the file.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from feedback.records.arrow_files import read_seekable, read_stream
from feedback.records.arrow_rows import arrow_rows
from feedback.records.byte_stream import ByteStream, Tally, open_bytes
from feedback.records.csv_rows import read_csv
from feedback.records.data_names import SUFFIXES, plain_suffix
from feedback.records.file_kinds import kind_of_bytes, kind_of_text
from feedback.records.json_rows import block_records, read_rows
from feedback.records.json_text import read_json_lines
from feedback.records.json_values import read_value_blocks
from feedback.records.object_store import StoredObject
from feedback.records.places import Place, find_files, place_name
from feedback.records.queries import Query, RowTally, read_query
from feedback.records.raw_record import MAX_RECORD_BYTES, RawRecord
from feedback.records.text_blocks import CutAt, TextBlock, read_text_blocks
from schemas.progress import Advance

__all__ = [
    "SUFFIXES",
    "RawRecord",
    "find_files",
    "first_lines",
    "new_tally",
    "read_blocks",
    "read_records",
    "tally_of",
]

_HEAD: Final = 1 << 16
_BATCH_BYTES: Final = 8 << 20
_BOM: Final = b"\xef\xbb\xbf"
_Blocks = Iterator[TextBlock | list[RawRecord]]


def read_records(
    place: Place, *, max_record_bytes: int = MAX_RECORD_BYTES, tally: Tally | RowTally | None = None
) -> Iterator[RawRecord]:
    """Every record of a place.

    Args:
        place: a file, plain or compressed with gzip or zstandard, `-` for standard input, an object, or a query.
        max_record_bytes: a longer record is rejected.
        tally: told what is read, see `new_tally`.

    Raises:
        InputNotFoundError: the file cannot be opened.
        InputError: the file as a whole, the store or the database cannot be read.
        CorruptionError: compressed, Parquet or Arrow bytes are damaged.
        MissingExtraError: the driver of a database is not installed.
    """
    for block in _read(place, max_record_bytes, tally, _lines_as_records):
        yield from block_records(block) if isinstance(block, TextBlock) else block


def read_blocks(
    place: Place,
    *,
    max_record_bytes: int = MAX_RECORD_BYTES,
    tally: Tally | RowTally | None = None,
    block_bytes: int | None = None,
    cut_at: CutAt | None = None,
) -> Iterator[TextBlock | list[RawRecord]]:
    """A place in pieces: text blocks of JSON lines, values and rows, and records of anything else.

    Args and errors are those of `read_records`; `block_bytes` and `cut_at` are those of `read_text_blocks`.
    """
    return _read(place, max_record_bytes, tally, partial(read_text_blocks, block_bytes=block_bytes, cut_at=cut_at))


def first_lines(place: Place, size: int) -> TextBlock | None:
    """The first lines of a file of JSON lines; None of anything else, and where the first one is longer.

    Args:
        place: the file.
        size: bytes that are read.

    Raises:
        InputError: it cannot be read.
    """
    found: list[TextBlock | list[RawRecord]] = []

    def take(stream: io.BufferedReader, source: ByteStream, name: str, max_bytes: int) -> _Blocks:
        """Take the first block and give no record."""
        found.extend(islice(read_text_blocks(stream, source, name, max_bytes, block_bytes=size), 1))
        return iter(())

    if not isinstance(place, Query):
        with closing(_read(place, MAX_RECORD_BYTES, new_tally(place, is_hashed=False), take)) as blocks:
            next(blocks, None)
    return found[0] if found and isinstance(found[0], TextBlock) else None


def new_tally(place: Place, advance: Advance | None = None, *, is_hashed: bool = True) -> Tally | RowTally:
    """What counts a place while it is read, and hashes it: the bytes of a file, where they are to be, or rows."""
    return RowTally(advance) if isinstance(place, Query) else Tally(advance, is_hashed=is_hashed)


def tally_of(place: Place, advance: Advance | None = None) -> Tally | RowTally:
    """The tally of a place that is read for it alone.

    Raises:
        InputError: it cannot be read.
    """
    tally = new_tally(place, advance)
    if isinstance(place, Query):
        for _ in read_blocks(place, tally=tally):
            pass
    elif isinstance(tally, Tally):
        with _open(place, tally) as stream:
            while stream.read(1 << 20):
                pass
    return tally


def _read(
    place: Place,
    max_bytes: int,
    tally: Tally | RowTally | None,
    read_lines: Callable[..., _Blocks],
) -> Generator[TextBlock | list[RawRecord], None, None]:
    if isinstance(place, Query):
        yield from read_query(place, max_bytes, tally if isinstance(tally, RowTally) else RowTally())
        return
    name = place_name(place)
    with _open(place, tally if isinstance(tally, Tally) else Tally()) as source:
        stream: io.BufferedReader = io.BufferedReader(source, 4 * _HEAD)
        head = stream.peek(_HEAD)[:_HEAD]
        kind = kind_of_bytes(head, name)
        if kind == "table":
            path = place if isinstance(place, Path) and _is_as_it_lies(place, head) else None
            yield from read_rows(arrow_rows(read_seekable(path, stream, name), name), name, max_bytes)
        elif kind == "stream":
            yield from read_rows(arrow_rows(read_stream(stream, name), name), name, max_bytes)
        else:
            yield from _read_text(stream, source, name, max_bytes, read_lines)


def _read_text(
    stream: io.BufferedReader, source: ByteStream, name: str, max_bytes: int, read_lines: Callable[..., _Blocks]
) -> _Blocks:
    head = stream.peek(_HEAD)
    if head.startswith(_BOM):
        stream.read(len(_BOM))
        head = head[len(_BOM) :]
    kind = kind_of_text(head[:_HEAD], plain_suffix(name))
    if kind == "lines":
        yield from read_lines(stream, source, name, max_bytes)
    elif kind == "csv":
        yield from _batches(read_csv(stream, source, name, max_bytes))
    else:
        yield from read_value_blocks(stream, source, name, max_bytes, is_array=kind == "array")


def _open(place: Path | StoredObject, tally: Tally) -> ByteStream:
    return open_bytes(place, tally) if isinstance(place, Path) else ByteStream(place.open(), place.name, tally)


def _is_as_it_lies(path: Path, head: bytes) -> bool:
    """Whether the bytes of a file are those that are read of it, so that nothing was decompressed on the way."""
    if str(path) == "-":
        return False
    with path.open("rb") as file:
        return file.read(len(head[:8])) == head[:8]


def _lines_as_records(stream: io.BufferedReader, source: ByteStream, name: str, max_bytes: int) -> _Blocks:
    for record in read_json_lines(stream, source, name, max_bytes):
        yield [record]


def _batches(records: Iterator[RawRecord]) -> Iterator[list[RawRecord]]:
    batch: list[RawRecord] = []
    size = 0
    for record in records:
        batch.append(record)
        size += len(record.raw)
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
