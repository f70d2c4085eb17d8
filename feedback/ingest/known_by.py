"""What records without an id are known by that find others: their own digest and all that they found.

    sha256(own digest, size ":" text, size ":" text, ...)

Many are hashed at once: one by one, each hash of a longer text lets go of Python's lock, and waits until another thread
does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.hashing import sha256_of

__all__ = ["KnownDigests"]

_MOST_BYTES: Final = 1 << 21
"""What is put together at once: it stays in the processor's cache."""
_KNOWN: Final = "known"


class KnownDigests:
    """Digests of records, of which some are worked out anew with what the records found.

    Args:
        own: the sha256 of each record's bytes, hex digits. [N] string.
    """

    def __init__(self, own: pl.Series) -> None:
        self._known: list[str] = own.to_list()
        self._waiting: list[int] = []
        self._parts: list[bytes | memoryview] = []
        self._sizes: list[int] = []
        self._bytes = 0

    def add(self, number: int, found: Sequence[memoryview]) -> None:
        """Take what a record found.

        Args:
            number: its number.
            found: the texts, which nobody changes.
        """
        parts: list[bytes | memoryview] = [bytes.fromhex(self._known[number])]
        for text in found:
            parts += (b"%d:" % len(text), text)
        self._parts += parts
        self._waiting.append(number)
        self._sizes.append(sum(map(len, parts)))
        self._bytes += self._sizes[-1]
        if self._bytes >= _MOST_BYTES:
            self.settle()

    def settle(self) -> None:
        """Work out the digests of the records that wait, and let go of what they found."""
        if not self._waiting:
            return
        offsets = np.cumsum([0, *self._sizes], dtype=np.int64)
        made = _sha256(np.frombuffer(b"".join(self._parts), dtype=np.uint8), offsets)
        for number, digest in zip(self._waiting, made.to_list(), strict=True):
            self._known[number] = digest
        self._waiting, self._parts, self._sizes, self._bytes = [], [], [], 0

    def digests(self) -> pl.Series:
        """What each record is known by. [N] string."""
        self.settle()
        return pl.Series(self._known, dtype=pl.String)


def _sha256(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> pl.Series:
    """The sha256 of each piece between two offsets, hex digits."""
    whole = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )
    return pl.Series(_KNOWN, whole).to_frame().select(sha256_of(pl.col(_KNOWN))).to_series()
