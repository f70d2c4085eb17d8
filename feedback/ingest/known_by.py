"""What records that find others of their own file are known by, for many at once, see `feedback.ingest.partners`."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.hashing import sha256_of
from feedback.records.json_columns import Lines

__all__ = ["known_digests"]

Places = NDArray[np.int64]

_DIGEST_BYTES: Final = 32
_MOST_BYTES: Final = 1 << 21
"""What is put together at once: it stays in the processor's cache."""
_POWERS: Final = 10 ** np.arange(1, 19, dtype=np.int64)
_KNOWN: Final = "known"


def known_digests(own: pl.Series, lines: Lines, found: list[Places]) -> pl.Series:
    """The sha256 of each record's own digest and all that it finds, each behind its size; hex digits. [N] string.

    Args:
        own: the sha256 of each record's bytes, hex digits. [N].
        lines: the lines of the file.
        found: the lines that each record finds, in their order. [N].
    """
    sizes = lines.ends - lines.starts
    sizes = sizes + np.searchsorted(_POWERS, sizes, side="right") + 2
    known = np.array([_DIGEST_BYTES + int(sizes[one].sum()) for one in found], dtype=np.int64)
    parts = [pl.Series(dtype=pl.String)]
    start, ends = 0, np.cumsum(known)
    while start < len(found):
        before = int(ends[start] - known[start])
        stop = max(start + 1, int(np.searchsorted(ends, before + _MOST_BYTES, side="right")))
        parts.append(_digests(own[start:stop], lines, found[start:stop], known[start:stop]))
        start = stop
    return pl.concat(parts)


def _digests(own: pl.Series, lines: Lines, found: list[Places], known: Places) -> pl.Series:
    from feedback.records.line_kernels import write_known  # loads numba

    offsets = np.concatenate(([0], np.cumsum(known)))
    out = np.empty(int(offsets[-1]), dtype=np.uint8)
    write_known(
        np.frombuffer(lines.data, dtype=np.uint8),
        lines.starts,
        lines.ends,
        np.frombuffer(bytes.fromhex("".join(own.to_list())), dtype=np.uint8),
        np.cumsum([0, *map(len, found)], dtype=np.int64),
        np.concatenate(found),
        out,
    )
    whole = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(known), [None, pa.py_buffer(offsets), pa.py_buffer(out)]
    )
    return pl.Series(_KNOWN, whole).to_frame().select(sha256_of(pl.col(_KNOWN))).to_series()
