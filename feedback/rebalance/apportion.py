"""How many rows each stratum keeps: exactly `keep` in all, every stratum its share to within a row, and nested.

A stratum of s rows out of N has a quota of s * keep / N rows; it keeps the quota, rounded down or up. Largest
remainders do the same for one `keep`, but a larger `keep` may then take a row away from a stratum (the Alabama
paradox); ranking rows by (n - 1/2) / s never takes one away, but leaves the quota (a thousand strata of one row all
round alike). Here both hold.

Think of the N rows as taking turns, one in each of N slots: the n-th row of a stratum may come no earlier than slot
floor((n - 1) N / s) + 1 and no later than ceil(n N / s). Any run of slots has room for all rows that must fall into it,
since the shares of the strata sum to 1; so every row finds a slot (Hall), and taking, of the rows that may come, the
one that must come first finds it. The rows of the first `keep` slots are kept. Only their counts are computed.

Source: the windows are those of Tijdeman 1980 (the chairman assignment problem) and of Baruah et al. 1996
(proportionate progress); quota and monotone together: Balinski and Young 1975 (the quota method).
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

__all__ = ["Counts", "apportion", "apportion_capped"]

Counts = NDArray[np.int64]
"""A whole number for each stratum. [S] int64."""


def apportion(sizes: Counts, keep: int, ties: NDArray[np.uint64]) -> Counts:
    """Rows that each stratum keeps.

    Args:
        sizes: rows of each stratum, at least 1. [S]
        keep: rows to keep in all; at most 0 keeps none, and all or more keep all.
        ties: decides between strata of one size, smallest first; the same for every `keep`. [S] uint64.

    Returns:
        [S]; their sum is `keep`, each is its quota rounded down or up, and none falls when `keep` grows.

    >>> apportion(np.array([1000, 200, 40]), 124, np.array([1, 2, 3], np.uint64)).tolist()
    [100, 20, 4]
    """
    total = int(sizes.sum())
    if keep <= 0:
        return np.zeros_like(sizes)
    if keep >= total:
        return sizes.copy()
    kept = sizes * keep // total
    more = keep - int(kept.sum())
    return kept + _rounded_up(sizes, keep, more, ties) if more else kept


def apportion_capped(
    sizes: Counts,
    keep: int,
    ties: NDArray[np.uint64],
    is_capped: NDArray[np.bool_],
    held_out: Counts | None = None,
    held_out_total: int = 0,
) -> Counts:
    """Rows that each stratum keeps where some must not gain: capped strata keep their quota rounded down.

    What they lose by rounding, the others gain. Where the others have no row left to gain, as when fewer rows are left
    out in all than there are capped strata, the sum and the nesting hold and rounding down does not.

    Args:
        sizes: rows of each stratum, at least 1. [S]
        keep: rows to keep in all.
        ties: decides between strata of one size, smallest first; the same for every `keep`. [S] uint64.
        is_capped: strata that must not gain. [S]
        held_out: rows of each stratum that are kept elsewhere; a capped stratum gains nothing with them either. [S]
        held_out_total: rows of all strata that are kept elsewhere.

    Returns:
        [S]; their sum is `keep`, and none falls when `keep` grows.
    """
    total = int(sizes.sum())
    if not is_capped.any() or keep <= 0 or keep >= total:
        return apportion(sizes, keep, ties)
    capped, others = sizes[is_capped], sizes[~is_capped]
    first = _first_slots(
        capped, total, np.zeros_like(capped) if held_out is None else held_out[is_capped], held_out_total
    )
    # A row of a capped stratum may come when its quota is whole, and then waits until no other of them has that slot.
    waiting = np.cumsum(np.bincount(first, minlength=total + 1))[: keep + 1] - np.arange(keep + 1)
    taken = max(keep + min(0, int(waiting.min())), keep - int(others.sum()))
    in_turn = np.lexsort((np.repeat(ties[is_capped], capped), first))[:taken]
    kept = np.zeros_like(sizes)
    kept[is_capped] = np.bincount(np.repeat(np.arange(len(capped)), capped)[in_turn], minlength=len(capped))
    kept[~is_capped] = apportion(others, keep - taken, ties[~is_capped])
    return kept


def _first_slots(capped: Counts, total: int, held_out: Counts, held_out_total: int) -> Counts:
    """The first slot for each row of each capped stratum in which the stratum's share is no larger than it was.

    Both among the rows that are kept here, and among these and those held out.
    """
    rows = np.repeat(capped, capped)
    number = np.arange(len(rows)) - np.repeat(np.cumsum(capped) - capped, capped) + 1
    elsewhere = np.repeat(held_out, capped)
    everywhere = -(-(number + elsewhere) * (total + held_out_total) // (rows + elsewhere)) - held_out_total
    first: Counts = np.maximum(-(-number * total // rows), everywhere)
    return first


def _rounded_up(sizes: Counts, keep: int, more: int, ties: NDArray[np.uint64]) -> Counts:
    """1 for the `more` strata that keep a row beyond their whole quota, else 0."""
    total = int(sizes.sum())
    different, kind, of_kind = np.unique(sizes, return_inverse=True, return_counts=True)
    free = _free_slots(different, of_kind, total, keep)
    whole = different * keep // total
    open_kinds = np.flatnonzero(different * keep % total)
    earliest = whole * total // different + 1
    latest = -(-(whole + 1) * total // different)
    ups = np.zeros_like(different)
    heap: list[tuple[int, int, int]] = []
    used = 0
    for one in open_kinds[np.argsort(earliest[open_kinds], kind="stable")].tolist():
        used += _take(heap, ups, of_kind, int(np.searchsorted(free, earliest[one])) - used)
        heapq.heappush(heap, (int(latest[one]), -int(different[one]), one))
    _take(heap, ups, of_kind, more - used)
    rising = np.lexsort((ties, kind))
    rank = np.arange(len(sizes)) - (np.cumsum(of_kind) - of_kind)[kind[rising]]
    result = np.zeros_like(sizes)
    result[rising] = rank < ups[kind[rising]]
    return result


def _take(heap: list[tuple[int, int, int]], ups: Counts, of_kind: Counts, slots: int) -> int:
    """Give `slots` slots to the strata that must come first, and return how many were given."""
    given = 0
    while heap and given < slots:
        one = heap[0][2]
        count = min(slots - given, int(of_kind[one] - ups[one]))
        ups[one] += count
        given += count
        if ups[one] == of_kind[one]:
            heapq.heappop(heap)
    return given


def _free_slots(different: Counts, of_kind: Counts, total: int, keep: int) -> Counts:
    """The slots, of the first `keep`, that are left when each row that must come by then has the first one it may."""
    arrivals = np.zeros(keep + 1, np.int64)
    for size, strata in zip(different.tolist(), of_kind.tolist(), strict=True):
        arrivals[np.arange(size * keep // total) * total // size + 1] += strata
    slots = np.arange(keep + 1)
    busy = slots + np.minimum.accumulate(np.cumsum(arrivals) - slots)
    return np.flatnonzero(np.diff(busy) == 0) + 1
