"""Records of JSON text that is one array, or objects one after another.

Everything is streamed: an array of any size, on one line or on many, needs the memory of its largest records.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from feedback.records.byte_stream import ByteStream
from feedback.records.json_lines import decode_texts
from feedback.records.json_splitter import JsonSplitter
from feedback.records.json_text import cut_detail
from feedback.records.raw_record import HEAD_BYTES, RawRecord, too_large_record
from feedback.records.text_blocks import TextBlock
from schemas.reasons import RejectReason

__all__ = ["read_value_blocks"]

_CHUNK: Final = 1 << 20
_BLOCK_BYTES: Final = 4 << 20
"""Less than a block of lines: values of an array are often large and nested, and take many times their text."""


def read_value_blocks(
    stream: io.BufferedReader, source: ByteStream, file: str, max_bytes: int, *, is_array: bool
) -> Iterator[TextBlock | list[RawRecord]]:
    """Each element of the array that `stream` holds, or each of several objects in a row.

    They come as text blocks, a value a line, numbered from 1; as records where a value spans lines or is none.

    Args:
        stream: the text, behind its byte-order mark.
        source: what `stream` reads from, which knows whether its end is missing.
        file: name for the records.
        max_bytes: longest record that is read.
        is_array: whether the text is one array.
    """
    texts: list[bytes] = []
    size, first, are_lines = 0, 1, True
    for number, value in enumerate(_values(stream, source, max_bytes, is_array), start=1):
        is_line = isinstance(value, bytes) and bool(value) and b"\n" not in value
        if texts and (isinstance(value, _Broken) or is_line != are_lines or size >= _BLOCK_BYTES):
            yield _block(file, first, texts, are_lines)
            texts, size = [], 0
        if isinstance(value, _Broken):
            yield [value.record(file, number)]
            continue
        if not texts:
            first, are_lines = number, is_line
        texts.append(value)
        size += len(value)
    if texts:
        yield _block(file, first, texts, are_lines)


@dataclass(frozen=True, slots=True)
class _Broken:
    """A value that cannot be decoded: what is there of it, and why it ends there."""

    raw: bytes
    size: int
    limit: int
    cut: str

    def record(self, file: str, number: int) -> RawRecord:
        """The rejected record in this value's place."""
        if self.cut:
            return RawRecord(file, number, self.raw, None, (RejectReason.TRUNCATED, self.cut))
        return too_large_record(file, number, self.raw, self.size, self.limit)


def _values(stream: io.BufferedReader, source: ByteStream, max_bytes: int, is_array: bool) -> Iterator[bytes | _Broken]:
    splitter = JsonSplitter(is_array, max_bytes)
    while chunk := stream.read(_CHUNK):
        for raw, size in splitter.feed(chunk):
            yield raw if size <= max_bytes else _Broken(raw, size, max_bytes, "")
    raw, size = splitter.rest()
    is_too_large = size > max_bytes
    if not splitter.is_whole or source.is_truncated:
        yield _Broken(raw[:HEAD_BYTES] if is_too_large else raw, size, max_bytes, cut_detail(source))
    elif raw:
        yield _Broken(raw, size, max_bytes, "") if is_too_large else raw


def _block(file: str, first: int, texts: list[bytes], are_lines: bool) -> TextBlock | list[RawRecord]:
    if are_lines:
        return TextBlock(file, first, b"\n".join([*texts, b""]))
    values, rejects = decode_texts(texts)
    return [
        RawRecord(file, first + place, text, value, rejects.get(place))
        for place, (text, value) in enumerate(zip(texts, values, strict=True))
    ]
