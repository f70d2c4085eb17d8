"""Records of JSON text: a record a line, the elements of one array, or objects one after another.

Everything is streamed: a file of any size needs the memory of its largest record.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Final

from feedback.records.byte_stream import ByteStream
from feedback.records.raw_record import HEAD_BYTES, RawRecord, json_record, too_large_record
from schemas.reasons import RejectReason

__all__ = ["read_json_lines", "read_json_values"]

_CHUNK: Final = 1 << 18
_STRUCTURE: Final = re.compile(rb'["{}\[\],]')
_IN_TEXT: Final = re.compile(rb'["\\]')
_SPACE: Final = b" \t\r\n"


def read_json_lines(stream: io.BufferedReader, source: ByteStream, file: str, max_bytes: int) -> Iterator[RawRecord]:
    """A record for each line that is not blank.

    Args:
        stream: the text, behind its byte-order mark.
        source: what `stream` reads from, which knows whether its end is missing.
        file: name for the records.
        max_bytes: longest record that is read.
    """
    line = 0
    while raw := stream.readline(max_bytes + 2):
        line += 1
        whole = raw.endswith(b"\n")
        text = raw.rstrip(b"\r\n")
        if len(text) > max_bytes:
            yield too_large_record(file, line, text, len(text) + _skip_line(stream, whole), max_bytes)
        elif not whole and source.is_truncated:
            yield _truncated(file, line, text, source)
            return
        elif text.strip(_SPACE):
            record = json_record(file, line, text)
            # Broken JSON without a line end is a file that stopped growing in mid-record.
            is_cut = not whole and record.reject is not None and record.reject[0] == RejectReason.INVALID_JSON
            yield _truncated(file, line, text, source) if is_cut else record
    if source.is_truncated:
        yield _truncated(file, line + 1, b"", source)


def read_json_values(
    stream: io.BufferedReader, source: ByteStream, file: str, max_bytes: int, *, is_array: bool
) -> Iterator[RawRecord]:
    """A record for each element of the array that `stream` holds, or for each of several objects in a row.

    Args:
        stream: the text, behind its byte-order mark.
        source: what `stream` reads from, which knows whether its end is missing.
        file: name for the records.
        max_bytes: longest record that is read.
        is_array: whether the text is one array.
    """
    splitter = _Splitter(is_array, max_bytes)
    number = 0
    while chunk := stream.read(_CHUNK):
        for raw, size in splitter.feed(chunk):
            number += 1
            yield _value_record(file, number, raw, size, max_bytes)
    raw, size = splitter.rest()
    if splitter.is_whole and not source.is_truncated:
        if raw:
            yield _value_record(file, number + 1, raw, size, max_bytes)
        return
    yield _truncated(file, number + 1, raw[:HEAD_BYTES] if size > max_bytes else raw, source)


class _Splitter:
    """Cuts JSON text into values without decoding them: only quotes, brackets and commas are looked at."""

    def __init__(self, is_array: bool, max_bytes: int) -> None:
        self._is_array = is_array
        self._max_bytes = max_bytes
        self._depth = 0
        self._in_text = False
        self._has_closed = False
        self._after_comma = False
        self._value = bytearray()
        self._size = 0
        self._skip = 0

    @property
    def is_whole(self) -> bool:
        """Whether the text so far could be all of it."""
        return self._depth == 0 and not self._in_text

    def feed(self, chunk: bytes) -> Iterator[tuple[bytes, int]]:
        """Values that end in `chunk`: their bytes (the head of one that is too large) and their size."""
        start, position = 0, self._skip
        while match := (_IN_TEXT if self._in_text else _STRUCTURE).search(chunk, position):
            sign, position = match.group(), match.end()
            if sign == b"\\":
                position += 1
            elif sign == b'"':
                self._in_text = not self._in_text
            elif self._is_boundary(sign):
                # A bracket that opens or closes the array itself is part of no value; one that closes an object is.
                cut = position - 1 if self._is_array else position
                self._keep(chunk[start:cut])
                start = position
                if self._ends_value(sign):
                    yield self._take()
        self._skip = max(position - len(chunk), 0)
        self._keep(chunk[start:])

    def rest(self) -> tuple[bytes, int]:
        """What is left when the text has ended, and its size."""
        return self._take()

    def _is_boundary(self, sign: bytes) -> bool:
        level = 1 if self._is_array and not self._has_closed else 0
        if sign in b"{[":
            self._depth += 1
            return self._is_array and not self._has_closed and self._depth == 1
        if sign in b"}]":
            self._depth = max(self._depth - 1, 0)
            if self._is_array and not self._has_closed and self._depth == 0:
                self._has_closed = True
                return True
            return self._depth == 0 and not self._is_array
        return level == 1 and self._depth == 1

    def _ends_value(self, sign: bytes) -> bool:
        if sign == b"[" and self._is_array:
            return False
        is_blank = not self._value.strip(_SPACE) and not self._after_comma and sign != b","
        self._after_comma = sign == b","
        return not is_blank

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= self._max_bytes:
            self._value += data
        else:
            room = max(HEAD_BYTES - len(self._value), 0)
            self._value += data[:room]
            del self._value[HEAD_BYTES:]

    def _take(self) -> tuple[bytes, int]:
        raw, size = bytes(self._value).strip(_SPACE), self._size
        self._value.clear()
        self._size = 0
        return raw, size


def _value_record(file: str, number: int, raw: bytes, size: int, max_bytes: int) -> RawRecord:
    if size > max_bytes:
        return too_large_record(file, number, raw, size, max_bytes)
    return json_record(file, number, raw)


def _skip_line(stream: io.BufferedReader, is_whole: bool) -> int:
    size = 0
    while not is_whole:
        more = stream.readline(_CHUNK)
        is_whole = not more or more.endswith(b"\n")
        size += len(more.rstrip(b"\r\n"))
    return size


def _truncated(file: str, line: int, raw: bytes, source: ByteStream) -> RawRecord:
    what = "compressed stream is cut off" if source.is_truncated else "text ends within a record"
    detail = f"the {what} after {source.position:,} bytes of content"
    return RawRecord(file, line, raw, None, (RejectReason.TRUNCATED, detail))
