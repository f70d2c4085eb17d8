"""Records of CSV and TSV files: a cell is text, and an empty one is null."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from feedback.records.byte_stream import ByteStream
from feedback.records.raw_record import RawRecord, too_large_record
from schemas.errors import InputError
from schemas.reasons import RejectReason

__all__ = ["read_csv"]

_DELIMITERS: Final = ",;\t"
_QUOTED: Final = re.compile(r'(?:^|(?<=[,;\t]))"(?:[^"]|"")*"')
_OPEN: Final = re.compile(r'(?:^|[,;\t])"')
"""A name in quotes, and the begin of one without its end."""
_SEPARATOR: Final = re.compile(r'"?sep=([^"\s\w]|\t)"?')
"""The line that names the delimiter to Excel; the header is the next one."""
_MOST_LINES: Final = 100
"""Lines of a header; quotes that are still open there are a mistake."""


def read_csv(stream: io.BufferedReader, source: ByteStream, file: str, max_bytes: int) -> Iterator[RawRecord]:
    """A record for each row below the header; `line` is the line that the row begins on.

    Args:
        stream: the text, behind its byte-order mark.
        source: what `stream` reads from, which knows whether its end is missing.
        file: name for the records.
        max_bytes: longest row that is read.

    Raises:
        InputError: the header names a column twice or not at all, or is not CSV, or no line ends in a line feed.
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
        text = next(lines, None)
        named = None if text is None else _SEPARATOR.fullmatch(text.rstrip("\r\n"))
        text = text if named is None else next(lines, None)
        if text is None:
            return None
        bare, read = _QUOTED.sub("", text), 1
        # A name may hold a delimiter or a line break in its quotes.
        while _OPEN.search(bare) and read < _MOST_LINES and (more := next(lines, None)) is not None:
            text, read = text + more, read + 1
            bare = _QUOTED.sub("", text)
        delimiter = max(_DELIMITERS, key=bare.count) if named is None else named[1]
        columns = next(csv.reader([text], delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        raise _broken_header(error, file) from error
    if not all(columns) or len(set(columns)) != len(columns):
        raise InputError(
            "the header of the CSV file is not a list of different names",
            where=f"{file} line 1",
            received=columns[:20],
            todo="Give every column its own name",
        )
    return columns, delimiter


def _broken_header(error: csv.Error, file: str) -> InputError:
    where = f"{file} line 1"
    if "larger than" in str(error):
        return InputError("the header of the CSV file is too long", where=where)
    if "new-line" in str(error):
        return InputError(
            "the lines of the CSV file end in carriage returns alone",
            where=where,
            expected="lines that end in \\n or \\r\\n",
            todo="Save the file with such line ends, for example as CSV UTF-8",
        )
    return InputError(f"the header of the CSV file is not CSV ({error})", where=where, todo="Close its quotes")


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
