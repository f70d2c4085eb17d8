"""Pairs of documents worth comparing: those that meet in a bucket of a band, most with the bucket's least member only.

Documents are numbered in the order of their keys, so that the least number is the least key and no position in a file
counts. A bucket of n members gives n - 1 pairs with its leader, and is done if all are like it. If some are unlike it,
one of them may still be like another member, also like one that is like the leader: a chain of near-duplicates is not
all like its least link. So of a small bucket all pairs are compared then; of others all but the leader form a new
bucket, and so on for a few rounds. A large one is first divided by the next band, so that a bucket polluted by a common
phrase still finds its twins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Buckets",
    "Compared",
    "buckets_of_band",
    "candidate_pairs",
    "pair_codes",
    "pairs_beside_leader",
    "rest_of_buckets",
]

_ROUNDS: Final = 6
"""Leaders that a bucket may have, one after the other."""
_SMALL: Final = 32
"""Of a bucket with some unlike its leader, and no more members than this, all pairs are compared."""
_LARGE: Final = 64
"""A rest of more members is divided by the next band before it gets a new leader."""
_PAIRS_AT_ONCE: Final = 4_000_000


@dataclass(frozen=True)
class Buckets:
    """Members of buckets of two or more, bucket by bucket, ascending in each.

    Args:
        members: numbers of documents. [M] uint32.
        firsts: True for the first member of a bucket, its leader. [M] bool.
    """

    members: NDArray[np.uint32]
    firsts: NDArray[np.bool_]


@dataclass(frozen=True)
class Compared:
    """Pairs that were compared.

    Args:
        codes: pairs as 2**32 * leader + member, ascending. [P] uint64.
        similarity: how alike they are; exact from the threshold on. [P] float64.
    """

    codes: NDArray[np.uint64]
    similarity: NDArray[np.float64]


def buckets_of_band(values: NDArray[np.uint32]) -> Buckets:
    """Documents with an equal value in a band.

    Args:
        values: hash of each document in the band. [N] uint32.
    """
    from feedback.near.pair_kernels import repeated

    packed = np.empty(len(values), np.uint64)
    packed = np.sort(packed[: repeated(values, packed)])
    return _buckets(packed >> np.uint64(32), packed.astype(np.uint32))


def pair_codes(buckets: Buckets) -> NDArray[np.uint64]:
    """Leader and member of each pair as one number, 2**32 * leader + member, in the order of the members.

    Args:
        buckets: M members in B buckets.

    Returns:
        [M - B] uint64.
    """
    leaders = buckets.members[buckets.firsts][np.cumsum(buckets.firsts) - 1]
    codes: NDArray[np.uint64] = (leaders.astype(np.uint64) << np.uint64(32)) | buckets.members
    return codes[~buckets.firsts]


def pairs_beside_leader(buckets: Buckets, alike: NDArray[np.bool_]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Pairs that the leaders of small buckets do not settle, and which members need no look any more.

    Args:
        buckets: M members in B buckets.
        alike: whether each pair of `pair_codes` is alike. [M - B] bool.

    Returns:
        Codes of the pairs of members of each small bucket of which one or both are unlike the leader, [P] uint64; and
        for each pair of `pair_codes` whether all pairs of its bucket are compared, or follow from others. [M - B] bool.
    """
    starts = np.flatnonzero(buckets.firsts)
    sizes = np.diff(np.append(starts, len(buckets.members)))
    unlike = np.zeros(len(buckets.members), bool)
    unlike[~buckets.firsts] = ~alike
    is_mixed = np.logical_or.reduceat(unlike, starts) if len(starts) else np.empty(0, bool)
    is_small = is_mixed & (sizes <= _SMALL)
    codes = [np.empty(0, np.uint64)]
    for size in np.unique(sizes[is_small & (sizes > 2)]).tolist():
        places = starts[is_small & (sizes == size)][:, None] + np.arange(1, size)
        one, other = np.triu_indices(size - 1, 1)
        for some in np.array_split(places, -(-places.shape[0] * len(one) // _PAIRS_AT_ONCE)):
            left, right = some[:, one], some[:, other]
            is_open = unlike[left] | unlike[right]
            ends = (buckets.members[part[is_open]].astype(np.uint64) for part in (left, right))
            codes.append(np.left_shift(next(ends), np.uint64(32)) | next(ends))
    is_done = np.repeat(~is_mixed | is_small, sizes)[~buckets.firsts]
    return np.concatenate(codes), is_done


def rest_of_buckets(buckets: Buckets, alike: NDArray[np.bool_], next_band: Callable[[], NDArray[np.uint32]]) -> Buckets:
    """Buckets of the members that need another leader.

    Args:
        buckets: M members in B buckets.
        alike: for each pair of `pair_codes` whether its member needs none. [M - B] bool.
        next_band: gives the hash of each document in another band; called only if a rest is large.
    """
    keep = np.zeros(len(buckets.members), bool)
    keep[~buckets.firsts] = ~alike
    numbers = (np.cumsum(buckets.firsts) - 1)[keep].astype(np.uint64)
    members = buckets.members[keep]
    sizes = np.bincount(numbers.astype(np.int64)) if len(numbers) else np.empty(0, np.int64)
    if sizes.max(initial=0) > _LARGE:
        large = sizes[numbers.astype(np.int64)] > _LARGE
        numbers <<= np.uint64(32)
        numbers[large] |= next_band()[members[large]]
        order = np.lexsort((members, numbers))
        numbers, members = numbers[order], members[order]
    return _buckets(numbers, members)


def candidate_pairs(
    bands: int,
    read_band: Callable[[int], NDArray[np.uint32]],
    compare: Callable[[NDArray[np.uint64]], NDArray[np.float64]],
    *,
    threshold: float,
    max_members: int = 2**62,
) -> Compared:
    """Pairs of documents that meet in a bucket, compared round by round, each once.

    Args:
        bands: number of bands.
        read_band: gives the hash of each document in a band. [N] uint32.
        compare: similarity of pairs, given as ascending codes.
        threshold: a pair is alike from here on, in [0, 1].
        max_members: members of buckets that are held at the same time, those of one band at least. It changes the
            memory, never the result.
    """
    found = Compared(np.empty(0, np.uint64), np.empty(0, np.float64))
    held: dict[int, Buckets] = {}
    for band in range(bands):
        held[band] = buckets_of_band(read_band(band))
        if band == bands - 1 or sum(len(buckets.members) for buckets in held.values()) >= max_members:
            found = _compare_rounds(found, held, bands, read_band, compare, threshold)
            held = {}
    return found


def _compare_rounds(
    found: Compared,
    buckets: dict[int, Buckets],
    bands: int,
    read_band: Callable[[int], NDArray[np.uint32]],
    compare: Callable[[NDArray[np.uint64]], NDArray[np.float64]],
    threshold: float,
) -> Compared:
    """What was found before, and the pairs of the buckets of some bands, one leader after the other."""
    for turn in range(1, _ROUNDS + 1):
        codes = {band: pair_codes(of_band) for band, of_band in buckets.items()}
        if not sum(map(len, codes.values())):
            break
        found = _extended(found, list(codes.values()), compare)
        beside = [np.empty(0, np.uint64)]
        for band, of_band in buckets.items():
            alike = found.similarity[np.searchsorted(found.codes, codes[band])] >= threshold
            pairs, is_done = pairs_beside_leader(of_band, alike)
            beside.append(pairs)
            buckets[band] = rest_of_buckets(of_band, is_done, partial(read_band, (band + turn) % bands))
            if sum(map(len, beside)) >= _PAIRS_AT_ONCE:
                found, beside = _extended(found, beside, compare), [np.empty(0, np.uint64)]
        found = _extended(found, beside, compare)
    return found


def _extended(
    found: Compared,
    codes_of_bands: list[NDArray[np.uint64]],
    compare: Callable[[NDArray[np.uint64]], NDArray[np.float64]],
) -> Compared:
    """What was found before and the similarity of what is asked; nothing is compared twice."""
    asked = np.sort(np.concatenate(codes_of_bands))
    asked = asked[np.concatenate([asked[:1] == asked[:1], asked[1:] != asked[:-1]])]
    if not len(asked):
        return found
    if len(found.codes):
        places = np.minimum(np.searchsorted(found.codes, asked), len(found.codes) - 1)
        asked = asked[found.codes[places] != asked]
    codes = np.concatenate([found.codes, asked])
    order = np.argsort(codes)
    return Compared(codes[order], np.concatenate([found.similarity, compare(asked)])[order])


def _buckets(values: NDArray[np.uint64], members: NDArray[np.uint32]) -> Buckets:
    """Buckets of members that stand in the order of values; those with one member are left out."""
    same = values[1:] == values[:-1]
    firsts = np.concatenate([np.ones(min(len(values), 1), bool), ~same])
    alone = firsts & np.concatenate([~same, np.ones(min(len(values), 1), bool)])
    return Buckets(members[~alone], firsts[~alone])
