"""Text of JSON lines in blocks of whole lines, so that many lines can be decoded at once and by many hands."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feedback.records.byte_stream import ByteStream
from feedback.records.json_text import read_json_lines
from feedback.records.raw_record import RawRecord, too_large_record

__all__ = ["BLOCK_BYTES", "CutAt", "TextBlock", "even_count", "read_text_blocks"]

BLOCK_BYTES: Final = 16 << 20
"""Size of a block: large enough that its overhead is nothing, small enough that several fit into memory."""

_SHARED: Final = 4
"""What is cut into several parts is cut into a multiple of so many, so that no core waits for the last one."""
_NEWLINE: Final = ord("\n")
_STEP: Final = 1 << 18
"""Bytes that are looked at at once: they, and what is made of them, stay in a core's cache."""


_KEPT_BACK: Final = 4
"""A line that does not begin its block, since others are kept back before it, is shorter than so many blocks."""

CutAt = Callable[[memoryview], int]


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
    data: bytes | memoryview

    def lines(self) -> list[bytes]:
        """Every line, without its line end."""
        return bytes(self.data).split(b"\n")[:-1]

    def __reduce__(self) -> tuple[Any, ...]:
        """As another process gets it: with the bytes themselves."""
        return TextBlock, (self.file, self.first_line, bytes(self.data))


def read_text_blocks(
    stream: io.BufferedReader,
    source: ByteStream,
    file: str,
    max_bytes: int,
    *,
    block_bytes: int | None = None,
    cut_at: CutAt | None = None,
) -> Iterator[TextBlock | list[RawRecord]]:
    """Blocks of lines; a line that is too long, and a last one without an end, come as records.

    Args:
        stream: the text, behind its byte-order mark.
        source: what `stream` reads from, which knows whether its end is missing.
        file: name for the records.
        max_bytes: longest record that is read.
        block_bytes: size of a block, at least 1; None takes at most `BLOCK_BYTES`.
        cut_at: where a block ends, of whole lines that others follow: what lies behind begins the next block, with the
            last line of the file where that has no end. 0 leaves them as they are. None leaves all.
    """
    from feedback.records.byte_kernels import count_bytes

    # Not more than a record may have, so that only the first line of a block can be too long.
    most = max_bytes if cut_at is None else max(max_bytes // _KEPT_BACK, 1)
    size = min(block_bytes or _even_size(source.plain_size), most)
    line, rest = 1, memoryview(b"")
    while len(signs := _read_behind(rest, stream, size)) > len(rest):
        if _is_too_long(signs, max_bytes):
            text = signs.tobytes()
            length, left = _skip_line(stream, text, size)
            head = text[: min(length, max_bytes + 2)]
            yield [too_large_record(file, line, head, length, max_bytes)]
            line += 1
            signs = np.frombuffer(left, dtype=np.uint8)
        cut = _behind_last_line(signs)
        if cut and cut_at is not None and (cut < len(signs) or stream.peek(1)):
            cut = cut_at(memoryview(signs)[:cut]) or cut  # type: ignore[arg-type]
        if cut:
            yield TextBlock(file, line, memoryview(signs)[:cut])  # type: ignore[arg-type]
            line += count_bytes(signs[:cut], 0, _NEWLINE)
        rest = memoryview(signs)[cut:]  # type: ignore[arg-type]
    tail: io.BufferedReader = io.BufferedReader(io.BytesIO(rest))
    records = (
        replace(record, line=record.line + line - 1) for record in read_json_lines(tail, source, file, max_bytes)
    )
    if cut_at is None:
        yield from ([record] for record in records)
    elif last := list(records):
        yield last


def even_count(parts: int) -> int:
    """How many parts of one size are made of what could be so many: some more, so that cores end together.

    >>> [even_count(parts) for parts in (1, 2, 4, 5)]
    [1, 4, 4, 8]
    """
    return parts if parts < 2 else -(-parts // _SHARED) * _SHARED


def _even_size(total: int | None) -> int:
    """The size of each block of a text, where the size of that is known."""
    return BLOCK_BYTES if not total else -(-total // even_count(-(-total // BLOCK_BYTES)))


def _read_behind(rest: memoryview, stream: io.BufferedReader, size: int) -> NDArray[np.uint8]:
    """`rest` and at most `size` bytes behind it, read into place; no more than `rest` at the end of the stream."""
    signs = np.empty(len(rest) + size, dtype=np.uint8)
    room = memoryview(signs)  # type: ignore[arg-type]
    room[: len(rest)] = rest
    return signs[: len(rest) + stream.readinto(room[len(rest) :])]


def _behind_last_line(signs: NDArray[np.uint8]) -> int:
    """The place behind the last line end; 0 where there is none."""
    for end in range(len(signs), 0, -_STEP):
        begin = max(end - _STEP, 0)
        found = signs[begin:end].tobytes().rfind(b"\n")
        if found >= 0:
            return begin + found + 1
    return 0


def _is_too_long(signs: NDArray[np.uint8], max_bytes: int) -> bool:
    """Whether the first line, as far as it is there, has too many bytes."""
    if len(signs) <= max_bytes or (signs[: min(max_bytes + 1, _STEP)] == _NEWLINE).any():
        return False
    text = signs.tobytes()
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
