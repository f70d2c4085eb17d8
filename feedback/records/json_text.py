"""Records of JSON lines, streamed: a file of any size needs the memory of its largest record."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Final

from feedback.records.byte_stream import ByteStream
from feedback.records.raw_record import RawRecord, json_record, too_large_record
from schemas.reasons import RejectReason

__all__ = ["cut_detail", "read_json_lines"]

_CHUNK: Final = 1 << 18
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


def cut_detail(source: ByteStream) -> str:
    """Where the text of `source` ends although a record has begun, as quarantine shows it."""
    what = "compressed stream is cut off" if source.is_truncated else "text ends within a record"
    return f"the {what} after {source.position:,} bytes of content"


def _skip_line(stream: io.BufferedReader, is_whole: bool) -> int:
    size = 0
    while not is_whole:
        more = stream.readline(_CHUNK)
        is_whole = not more or more.endswith(b"\n")
        size += len(more.rstrip(b"\r\n"))
    return size


def _truncated(file: str, line: int, raw: bytes, source: ByteStream) -> RawRecord:
    return RawRecord(file, line, raw, None, (RejectReason.TRUNCATED, cut_detail(source)))
