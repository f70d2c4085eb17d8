"""How many digits and other signs each text has: enough to say of most texts that no number of a kind is in them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["SignCounts", "count_signs"]

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SignCounts:
    """What each of N texts has; nothing where there is no text.

    Args:
        digits: digits from 0 to 9. [N] int64.
        dots: dots. [N] int64.
        colons: colons. [N] int64.
        gaps: colons right behind a colon, as they stand for the zeros left out of an address. [N] int64.
        wide: bytes of signs that are not ASCII, digits of other scripts among them. [N] int64.
    """

    digits: Counts
    dots: Counts
    colons: Counts
    gaps: Counts
    wide: Counts


def count_signs(texts: pl.Series) -> SignCounts:
    """The counts of each text, all in one pass over the bytes.

    >>> found = count_signs(pl.Series(["10.0.0.1", "at 7:30 ::1", None]))
    >>> found.digits.tolist(), found.dots.tolist(), found.colons.tolist(), found.gaps.tolist()
    ([5, 4, 0], [3, 0, 0], [0, 3, 0], [0, 1, 0])

    Args:
        texts: texts or nulls. [N]
    """
    from feedback.records import byte_kernels  # loads numba

    array = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, places, text = array.buffers()
    offsets = np.frombuffer(places, np.int64)[array.offset : array.offset + len(array) + 1]
    counts = SignCounts(*(np.zeros(len(array), np.int64) for _ in fields(SignCounts)))
    signs = np.frombuffer(text or b"", np.uint8)
    byte_kernels.count_signs(signs, offsets, *(getattr(counts, one.name) for one in fields(SignCounts)))
    return counts
