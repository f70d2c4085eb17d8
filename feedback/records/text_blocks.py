"""Text of JSON lines in blocks of whole lines, so that many lines can be decoded at once and by many hands."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from feedback.records.byte_stream import ByteStream
from feedback.records.json_text import read_json_lines
from feedback.records.raw_record import RawRecord, too_large_record

__all__ = ["BLOCK_BYTES", "TextBlock", "read_text_blocks"]

BLOCK_BYTES: Final = 16 << 20
"""Size of a block: large enough that its overhead is nothing, small enough that several fit into memory."""


@dataclass(frozen=True, slots=True)
class TextBlock:
    """Whole lines of a file.

    Args:
        file: name of the file, without its folder.
        first_line: number of the first line, from 1.
        data: the lines, each with its line end.
    """

    file: str
    first_line: int
    data: bytes


def read_text_blocks(
    stream: io.BufferedReader, source: ByteStream, file: str, max_bytes: int, *, block_bytes: int | None = None
) -> Iterator[TextBlock | list[RawRecord]]:
    """Blocks of lines; a line that is too long, and a last one without an end, come as records.

    Args:
        stream: the text, behind its byte-order mark.
        source: what `stream` reads from, which knows whether its end is missing.
        file: name for the records.
        max_bytes: longest record that is read.
        block_bytes: size of a block, at least 1; None takes `BLOCK_BYTES`.
    """
    # Not more than a record may have, so that only the first line of a block can be too long.
    size = min(block_bytes or BLOCK_BYTES, max_bytes)
    line, rest = 1, b""
    while chunk := stream.read(size):
        cut = chunk.rfind(b"\n") + 1
        if cut and len(rest) + chunk.find(b"\n") <= max_bytes:
            data = b"".join((rest, memoryview(chunk)[:cut]))
            yield TextBlock(file, line, data)
            line += data.count(b"\n")
            rest = chunk[cut:]
            continue
        text = rest + chunk
        if _is_too_long(text, max_bytes):
            length, rest = _skip_line(stream, text, size)
            head = text[: min(length, max_bytes + 2)]
            yield [too_large_record(file, line, head, length, max_bytes)]
            line += 1
            text = rest
        cut = text.rfind(b"\n") + 1
        if cut:
            data = text[:cut]
            yield TextBlock(file, line, data)
            line += data.count(b"\n")
        rest = text[cut:]
    tail: io.BufferedReader = io.BufferedReader(io.BytesIO(rest))
    for record in read_json_lines(tail, source, file, max_bytes):
        yield [replace(record, line=record.line + line - 1)]


def _is_too_long(text: bytes, max_bytes: int) -> bool:
    """Whether the first line of `text`, as far as it is there, has too many bytes."""
    if len(text) <= max_bytes:
        return False
    end = text.find(b"\n")
    size = end if end >= 0 else len(text)
    return size > max_bytes and len(text[:size].rstrip(b"\r")) > max_bytes


def _skip_line(stream: io.BufferedReader, text: bytes, size: int) -> tuple[int, bytes]:
    """The bytes of the line that `text` begins with, without its end, and what was read behind it."""
    length, last = 0, b""
    while True:
        end = text.find(b"\n")
        piece = text if end < 0 else text[:end]
        length += len(piece)
        last = piece[-1:] or last
        if end >= 0:
            return length - (last == b"\r"), text[end + 1 :]
        text = stream.read(size)
        if not text:
            return length - (last == b"\r"), b""
