"""JSON text cut into values without decoding them: only quotes, backslashes, brackets and commas are looked at.

A compiled loop looks at every byte; Python itself runs once for each value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from feedback.records.raw_record import HEAD_BYTES

__all__ = ["JsonSplitter"]

_SPACE: Final = b" \t\r\n"
_COMMA, _OPEN, _CLOSE = (ord(sign) for sign in ",[]")
_PLACES: Final = 1 << 14


class JsonSplitter:
    """Cuts the text that it is fed with, chunk by chunk.

    Args:
        is_array: whether the text is one array, whose elements are the values; else objects in a row.
        max_bytes: of a longer value only the head is kept.
    """

    def __init__(self, is_array: bool, max_bytes: int) -> None:
        from feedback.records.json_scan import find_boundaries  # loads numba

        self._find = find_boundaries
        self._is_array = is_array
        self._max_bytes = max_bytes
        self._state = np.zeros(4, dtype=np.int64)
        self._found = np.empty(_PLACES, dtype=np.int64)
        self._has_closed = False
        self._after_comma = False
        self._value = bytearray()
        self._size = 0

    @property
    def is_whole(self) -> bool:
        """Whether the text so far could be all of it."""
        return not self._state[:2].any()

    def feed(self, chunk: bytes) -> Iterator[tuple[bytes, int]]:
        """Values that end in `chunk`: their bytes (the head of one that is too large) and their size."""
        start = 0
        for position, sign in self._boundaries(chunk):
            if self._has_closed:
                continue
            # A bracket that opens or closes the array itself is part of no value; one that closes an object is.
            self._keep(chunk[start : position if self._is_array else position + 1])
            start = position + 1
            if self._ends_value(sign):
                yield self._take()
            self._has_closed = self._is_array and sign == _CLOSE
        self._keep(chunk[start:])

    def rest(self) -> tuple[bytes, int]:
        """What is left when the text has ended, and its size."""
        return self._take()

    def _boundaries(self, chunk: bytes) -> Iterator[tuple[int, int]]:
        """Places of signs at which a value may begin or end, and the signs."""
        signs = np.frombuffer(chunk, dtype=np.uint8)
        self._state[-1] = 0
        while self._state[-1] < len(chunk):
            count = self._find(signs, self._state[-1], self._state, self._is_array, self._found)
            for place in self._found[:count].tolist():
                yield place, chunk[place]

    def _ends_value(self, sign: int) -> bool:
        if self._is_array and sign == _OPEN:
            return False
        is_blank = sign != _COMMA and not self._after_comma and not self._value.strip(_SPACE)
        self._after_comma = sign == _COMMA
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
