"""What records that find others are known by: their own digest and all that they found, for many at once.

    sha256(own digest, size ":" text, size ":" text, ...)

One by one, each hash of a longer text lets go of Python's lock, and waits until another thread does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.hashing import sha256_of
from feedback.records.json_columns import Lines

__all__ = ["KnownDigests", "known_digests"]

Places = NDArray[np.int64]

_DIGEST_BYTES: Final = 32
_MOST_BYTES: Final = 1 << 21
"""What is put together at once: it stays in the processor's cache."""
_POWERS: Final = 10 ** np.arange(1, 19, dtype=np.int64)
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


def known_digests(own: pl.Series, lines: Lines, found: Places, firsts: Places) -> pl.Series:
    """The sha256 of each record's own digest and all that it finds, each behind its size; hex digits. [N] string.

    Args:
        own: the sha256 of each record's bytes, hex digits. [N].
        lines: the lines of the file.
        found: the lines that the records find, one record's behind the other's, each in their order. [F].
        firsts: where the lines of each record begin there, and the end. [N + 1].
    """
    sizes = (lines.ends - lines.starts)[found]
    sizes = np.concatenate(([0], np.cumsum(sizes + np.searchsorted(_POWERS, sizes, side="right") + 2)))
    ends = sizes[firsts[1:]] + _DIGEST_BYTES * np.arange(1, len(firsts))
    offsets = np.concatenate(([0], ends))
    parts = [pl.Series(dtype=pl.String)]
    start = 0
    while start < len(own):
        stop = max(start + 1, int(np.searchsorted(ends, offsets[start] + _MOST_BYTES, side="right")))
        known = offsets[start : stop + 1] - offsets[start]
        parts.append(_digests(own[start:stop], lines, found, firsts[start : stop + 1], known))
        start = stop
    return pl.concat(parts)


def _digests(own: pl.Series, lines: Lines, found: Places, firsts: Places, known: Places) -> pl.Series:
    from feedback.records.line_kernels import write_known  # loads numba

    out = np.empty(int(known[-1]), dtype=np.uint8)
    write_known(
        np.frombuffer(lines.data, dtype=np.uint8),
        lines.starts,
        lines.ends,
        np.frombuffer(bytes.fromhex("".join(own.to_list())), dtype=np.uint8),
        firsts,
        found,
        out,
    )
    return _sha256(out, known)


def _sha256(data: NDArray[np.uint8], offsets: Places) -> pl.Series:
    """The sha256 of each piece between two offsets, hex digits."""
    whole = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )
    return pl.Series(_KNOWN, whole).to_frame().select(sha256_of(pl.col(_KNOWN))).to_series()
