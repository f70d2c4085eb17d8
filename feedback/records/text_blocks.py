"""Text of JSON lines in blocks of whole lines, so that many lines can be decoded at once and by many hands."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from feedback.records.byte_stream import ByteStream
from feedback.records.json_text import read_json_lines
from feedback.records.raw_record import RawRecord

__all__ = ["BLOCK_BYTES", "TextBlock", "read_text_blocks"]

BLOCK_BYTES: Final = 8 << 20
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
    stream: io.BufferedReader, source: ByteStream, file: str, max_bytes: int, *, block_bytes: int = BLOCK_BYTES
) -> Iterator[TextBlock | list[RawRecord]]:
    """Blocks of lines; lines longer than a block, and a last one without an end, come as records.

    Args:
        stream: the text, behind its byte-order mark.
        source: what `stream` reads from, which knows whether its end is missing.
        file: name for the records.
        max_bytes: longest record that is read.
        block_bytes: size of a block.
    """
    line, rest = 1, b""
    while chunk := stream.read(block_bytes):
        cut = chunk.rfind(b"\n") + 1
        if cut:
            data = rest + chunk[:cut]
            yield TextBlock(file, line, data)
            line += data.count(b"\n")
            rest = chunk[cut:]
            continue
        rest += chunk
        if len(rest) > max_bytes:
            tail = io.BufferedReader(_Behind(rest, stream), block_bytes)
            yield from _records_of(tail, source, file, line, max_bytes)
            return
    tail = io.BufferedReader(io.BytesIO(rest))  # type: ignore[type-var]
    yield from _records_of(tail, source, file, line, max_bytes)


class _Behind(io.RawIOBase):
    """Bytes that were read already, and the stream that they were read from."""

    def __init__(self, head: bytes, stream: io.BufferedReader) -> None:
        super().__init__()
        self._head = io.BytesIO(head)
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray, /) -> int:  # type: ignore[override]
        return self._head.readinto(buffer) or self._stream.readinto(buffer)


def _records_of(
    stream: io.BufferedReader, source: ByteStream, file: str, line: int, max_bytes: int
) -> Iterator[list[RawRecord]]:
    for record in read_json_lines(stream, source, file, max_bytes):
        yield [replace(record, line=record.line + line - 1)]
