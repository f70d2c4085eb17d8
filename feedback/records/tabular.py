"""Records of CSV and Parquet files.

A CSV cell is text, and an empty one is null. A Parquet row is JSON values; its raw form is the row as JSON.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from feedback.records.byte_stream import ByteStream
from feedback.records.raw_record import RawRecord, too_large_record
from schemas.errors import CorruptionError, InputError
from schemas.reasons import RejectReason

__all__ = ["read_csv", "read_parquet"]

_BATCH_ROWS: Final = 1024
_DELIMITERS: Final = ",;\t"


def read_csv(stream: io.BufferedReader, source: ByteStream, file: str, max_bytes: int) -> Iterator[RawRecord]:
    """A record for each row below the header; `line` is the line that the row begins on.

    Args:
        stream: the text, behind its byte-order mark.
        source: what `stream` reads from, which knows whether its end is missing.
        file: name for the records.
        max_bytes: longest row that is read.

    Raises:
        InputError: the header names a column twice or not at all.
    """
    # The limit belongs to the whole process; it only ever grows here.
    csv.field_size_limit(max(csv.field_size_limit(), max_bytes))
    lines = _Lines(stream, max_bytes)
    header = _read_header(lines, file)
    if header is None:
        return
    columns, delimiter = header
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        first = lines.begin_row()
        try:
            cells = next(rows)
        except StopIteration:
            break
        except csv.Error as error:
            yield replace(_broken_row(lines, source, file, first, error, max_bytes), columns=tuple(columns))
            continue
        if cells:
            record = _csv_record(lines, file, first, columns, cells)
            yield record if record.value is not None else replace(record, columns=tuple(columns))
    if source.is_truncated:
        detail = f"the compressed stream is cut off after {source.position:,} bytes of content"
        yield RawRecord(file, lines.number + 1, b"", None, (RejectReason.TRUNCATED, detail))


def read_parquet(path: Path, file: str) -> Iterator[RawRecord]:
    """A record for each row of the Parquet file `path`.

    Args:
        path: the file.
        file: name for the records.

    Raises:
        CorruptionError: the file is not whole, or its bytes are damaged.
    """
    number = 0
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as table:
            for batch in table.iter_batches(_BATCH_ROWS):
                for row in _rows(batch):
                    number += 1
                    yield _parquet_record(file, number, row)
    except (pa.ArrowInvalid, OSError) as error:
        raise CorruptionError(
            f"the Parquet file cannot be read ({str(error).splitlines()[0]})",
            where=f"{file} after row {number:,}",
            todo="Restore the file or write it again",
        ) from error


class _Lines:
    """Lines of text for `csv`, which keeps the bytes of those that the current row took."""

    def __init__(self, stream: io.BufferedReader, max_bytes: int) -> None:
        self.number = 0
        self.taken: list[bytes] = []
        self.size = 0
        self._stream = stream
        self._max_bytes = max_bytes

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = self._stream.readline(self._max_bytes)
        if not raw:
            raise StopIteration
        self.number += 1
        self.taken.append(raw)
        self.size += len(raw)
        if self.size >= self._max_bytes:
            while raw and not raw.endswith(b"\n"):
                raw = self._stream.readline(self._max_bytes)
                self.size += len(raw)
            raise csv.Error("row larger than the limit")
        # Bytes that are not UTF-8 pass as half surrogates, so that one bad row does not end the file.
        return raw.decode("utf-8", "surrogateescape")

    def begin_row(self) -> int:
        """Forget the last row; the line that the next one begins on."""
        self.taken.clear()
        self.size = 0
        return self.number + 1

    @property
    def raw(self) -> bytes:
        """The bytes of the current row, without its line end."""
        return b"".join(self.taken).rstrip(b"\r\n")


def _read_header(lines: _Lines, file: str) -> tuple[list[str], str] | None:
    try:
        first = next(lines, None)
    except csv.Error as error:
        raise InputError("the header of the CSV file is too long", where=f"{file} line 1") from error
    if first is None:
        return None
    delimiter = max(_DELIMITERS, key=first.count)
    columns = next(csv.reader([first], delimiter=delimiter), [])
    if not all(columns) or len(set(columns)) != len(columns):
        raise InputError(
            "the header of the CSV file is not a list of different names",
            where=f"{file} line 1",
            received=columns[:20],
            todo="Give every column its own name",
        )
    return columns, delimiter


def _csv_record(lines: _Lines, file: str, line: int, columns: list[str], cells: list[str]) -> RawRecord:
    raw = lines.raw
    if len(cells) > len(columns):
        detail = f"the row has {len(cells)} cells, the header {len(columns)}"
        return RawRecord(file, line, raw, None, (RejectReason.RULE_VIOLATION, detail))
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return RawRecord(file, line, raw, None, (RejectReason.INVALID_UTF8, f"byte {error.start} is not UTF-8"))
    return RawRecord(file, line, raw, {name: cell or None for name, cell in zip(columns, cells, strict=False)})


def _broken_row(lines: _Lines, source: ByteStream, file: str, line: int, error: csv.Error, max_bytes: int) -> RawRecord:
    raw = lines.raw
    if "larger than" in str(error):
        return too_large_record(file, line, raw, lines.size, max_bytes)
    if "end of data" in str(error):
        detail = f"the file ends within a quoted cell after {source.position:,} bytes of content"
        return RawRecord(file, line, raw, None, (RejectReason.TRUNCATED, detail))
    return RawRecord(file, line, raw, None, (RejectReason.RULE_VIOLATION, f"the row is not CSV ({error})"))


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | None]:
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for place in range(batch.num_rows):
            try:
                yield batch.slice(place, 1).to_pylist()[0]
            except UnicodeDecodeError:
                yield None


def _parquet_record(file: str, number: int, row: dict[str, Any] | None) -> RawRecord:
    if row is None:
        return RawRecord(file, number, b"", None, (RejectReason.INVALID_UTF8, "a text of the row is not UTF-8"))
    raw = json.dumps(row, ensure_ascii=False, default=_as_json).encode("utf-8", "surrogatepass")
    if (b"NaN" in raw or b"Infinity" in raw) and _has_non_finite(row):
        detail = "a number of the row is NaN or infinite"
        return RawRecord(file, number, raw, None, (RejectReason.NON_FINITE_NUMBER, detail))
    return RawRecord(file, number, raw, row)


def _as_json(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime | date) else str(value)


def _has_non_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_non_finite, value.values()))
    if isinstance(value, list):
        return any(map(_has_non_finite, value))
    return isinstance(value, float) and not math.isfinite(value)
