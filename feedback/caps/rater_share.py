"""How many rows each rater may give so that nobody's share is above the cap, when all shares are of what is left.

Taking rows from one rater raises the share of every other, so the cap is solved for all at once: everybody keeps at
most k rows, k the largest number with k <= cap * (rows left). No tables and no ids here, only counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["ShareCap", "cap_share", "least_cap"]

_EQUAL_SHARES: Final = 2


@dataclass(frozen=True, slots=True)
class ShareCap:
    """The cap on the rows of one label.

    Args:
        share: the cap in force, in (0, 1]: the wanted one, or twice an equal share where that is more.
        most: rows that a rater may give.
        rows: rows of the label before.
        rows_left: rows of the label after.
        raters: known raters who gave rows of the label.
        largest: rows of the rater who gave most, before.
        over: raters who gave more than `most`.
    """

    share: Fraction
    most: int
    rows: int
    rows_left: int
    raters: int
    largest: int
    over: int


def cap_share(counts: NDArray[np.int64], others: int, share: float) -> ShareCap:
    """The most rows a rater may give so that nobody's rows are more than `share` of what is left.

    Where few raters gave the label, `share` would leave nearly nothing (ten raters at 0.1 would all be held to the rows
    of the least active one), so nobody is held below twice an equal share. A row of no known rater counts as a rater.

    Args:
        counts: rows of each known rater, at least 1. [N]
        others: rows that rest on no known rater.
        share: the wanted cap, in (0, 1].
    """
    rows, raters = int(counts.sum()) + others, len(counts)
    cap = max(Fraction(repr(share)), least_cap(raters + others))
    ordered = np.sort(counts)
    sums = np.concatenate([[0], np.cumsum(ordered)])

    def left(most: int) -> int:
        """Rows left when everybody keeps at most `most`."""
        smaller = int(np.searchsorted(ordered, most, side="right"))
        return int(sums[smaller]) + most * (raters - smaller) + others

    # What is left grows ever slower with k, and at 0 nothing is above the cap: the k that hold are those up to one.
    low, high = 0, int(ordered[-1]) if raters else 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle <= cap * left(middle) else (low, middle - 1)
    return ShareCap(
        share=cap,
        most=low,
        rows=rows,
        rows_left=left(low),
        raters=raters,
        largest=int(ordered[-1]) if raters else 0,
        over=int((counts > low).sum()),
    )


def least_cap(raters: int) -> Fraction:
    """Twice an equal share, at most 1: below it nobody is held.

    >>> least_cap(5), least_cap(1)
    (Fraction(2, 5), Fraction(1, 1))

    Args:
        raters: how many there are.
    """
    return Fraction(_EQUAL_SHARES, max(raters, _EQUAL_SHARES))
