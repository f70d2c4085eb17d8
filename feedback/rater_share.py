"""How many rows each rater may give so that nobody's share is above the cap, when all shares are of what is left.

Taking rows from one rater raises the share of every other, so the cap is solved for all at once: everybody keeps at
most k rows, k the largest number with k <= cap * (rows left). No tables and no ids here, only counts and what is said
of them. The stage `caps` holds the shares of all rows, and `rebalance` those of the rows that it chooses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedback.stage import counted

__all__ = ["ShareCap", "cap_share", "cap_share_beside", "least_cap", "share_notes"]

_EQUAL_SHARES: Final = 2


@dataclass(frozen=True, slots=True)
class ShareCap:
    """The cap on the rows of one label.

    Args:
        share: the cap in force, in (0, 1]: the wanted one, or twice an equal share where that is more.
        most: rows that a rater may give, or that the one who gives most is left.
        rows: rows of the label before.
        rows_left: rows of the label after.
        raters: known raters who gave rows of the label.
        largest: rows of the rater who gave most, before.
        over: raters who gave more than they may.
    """

    share: Fraction
    most: int
    rows: int
    rows_left: int
    raters: int
    largest: int
    over: int

    @property
    def near(self) -> int:
        """Rows from which on a rater is near the cap.

        From half the cap on, so that rebalancing by chance cannot bring one over it who was just below.
        """
        return math.ceil(self.share * self.rows_left / 2)


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


def cap_share_beside(
    counts: NDArray[np.int64], others: int, share: float, held_out: NDArray[np.int64], held_out_rows: int
) -> tuple[ShareCap, NDArray[np.int64]]:
    """The cap where rows of a test split stay as they are, and the rows that each rater may give, [N].

    Nobody's rows are more than the share of what is left, nor, with those held out, of what is left and held out. A
    rater whose rows held out are more by themselves gives none.

    Args:
        counts: rows of each known rater, at least 1. [N]
        others: rows that rest on no known rater.
        share: the wanted cap, in (0, 1].
        held_out: rows of each of these raters in the test split. [N]
        held_out_rows: rows of the test split.
    """
    rows = int(counts.sum()) + others
    cap = max(Fraction(repr(share)), least_cap(len(counts) + others))
    kept, left = counts, rows + 1
    # What is left only falls, and a rater may never give more when less is left.
    while left != int(kept.sum()) + others:
        left = int(kept.sum()) + others
        everywhere = math.floor(cap * (left + held_out_rows)) - held_out
        kept = np.minimum(counts, np.clip(everywhere, 0, math.floor(cap * left)))
    largest, most = (int(one.max(initial=0)) for one in (counts, kept))
    over = int((kept < counts).sum())
    return ShareCap(cap, most, rows, left, len(counts), largest, over), kept


def least_cap(raters: int) -> Fraction:
    """Twice an equal share, at most 1: below it nobody is held.

    >>> least_cap(5), least_cap(1)
    (Fraction(2, 5), Fraction(1, 1))

    Args:
        raters: how many there are.
    """
    return Fraction(_EQUAL_SHARES, max(raters, _EQUAL_SHARES))


def share_notes(label: str, cap: ShareCap, wanted: float) -> list[str]:
    """A sentence where the cap on a label's rows is not the wanted one, and one where it left out rows.

    Args:
        label: the label in words.
        cap: the cap.
        wanted: the wanted share, in (0, 1].
    """
    notes = []
    if cap.share > wanted and cap.largest > wanted * cap.rows:
        notes.append(
            f"Only {counted(cap.raters, 'known rater')} gave {label} rows, so that each may be behind "
            f"{float(cap.share):.1%} of them instead of {wanted:.1%}."
        )
    if cap.over:
        who = "one rater" if cap.over == 1 else f"{cap.over:,} raters"
        notes.append(
            f"{counted(cap.rows - cap.rows_left, f'{label} row')} of {who} left out: the most active gave "
            f"{cap.largest:,} of {cap.rows:,} ({cap.largest / cap.rows:.1%}) and keeps {cap.most:,} of "
            f"{cap.rows_left:,} ({cap.most / cap.rows_left:.1%}, at most {float(cap.share):.1%})."
        )
    return notes
