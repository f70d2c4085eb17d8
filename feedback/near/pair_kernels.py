"""Compiled loops over pairs of documents: copies of their shingles, Jaccard similarity, connected components.

Imported only by functions that are about to use it, as `feedback.near.kernels` is.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

__all__ = ["gather", "join", "repeated", "similarities"]

_U32, _I64, _F64 = types.uint32, types.int64, types.float64
_SHINGLES = types.Array(types.uint32, 1, "C", readonly=True)


@njit(types.void(_SHINGLES, _I64[::1], _I64[::1], _U32[::1], _I64[::1]), nogil=True, cache=True)
def gather(shingles, starts, ends, out, places):
    """Copy slices.

    Args:
        shingles: where they are copied from. uint32.
        starts: where each slice begins. [N] int64.
        ends: where each slice ends. [N] int64.
        out: where they are copied to. uint32.
        places: where each slice goes. [N] int64.
    """
    for number in range(len(starts)):
        size = ends[number] - starts[number]
        out[places[number] : places[number] + size] = shingles[starts[number] : ends[number]]


@njit(_I64(_U32[::1], types.uint64[::1]), nogil=True, cache=True)
def repeated(values, out):
    """Write 2**32 * value + place of every value that occurs twice, and of a few that do not; their number.

    Most values of a band occur once. Two bits for each residue tell so in a fifth of the time that sorting all takes.

    Args:
        values: hashes. [N] uint32.
        out: written here. [N] uint64.
    """
    size = 64
    while size < 16 * len(values):
        size *= 2
    mask = np.uint32(min(size, 2**32) - 1)
    once, twice = np.zeros(size >> 6, np.uint64), np.zeros(size >> 6, np.uint64)
    for value in values:
        residue = value & mask
        word, bit = residue >> np.uint32(6), np.uint64(1) << np.uint64(residue & np.uint32(63))
        twice[word] |= once[word] & bit
        once[word] |= bit
    count = 0
    for place in range(len(values)):
        residue = values[place] & mask
        if twice[residue >> np.uint32(6)] >> np.uint64(residue & np.uint32(63)) & np.uint64(1):
            out[count] = (np.uint64(values[place]) << np.uint64(32)) | np.uint64(place)
            count += 1
    return count


@njit
def _jaccard(one, other, table, stamp):
    """Jaccard similarity of two lists of hashes taken as sets.

    A slot of the table holds stamp, two marks (in one, in the other) and hash; with another stamp it is empty.
    """
    mask = np.uint64(1)
    while mask < 2 * (len(one) + len(other)):
        mask *= np.uint64(2)
    mask -= np.uint64(1)
    both, union = 0, 0
    first, second = np.uint64(1 << 32), np.uint64(1 << 33)
    low, high = np.uint64(0xFFFFFFFF), np.uint64(34)
    for hashed in one:
        value = np.uint64(hashed)
        place = value & mask
        while table[place] >> high == stamp and table[place] & low != value:
            place = (place + np.uint64(1)) & mask
        if table[place] >> high != stamp:
            table[place] = (stamp << high) | first | value
            union += 1
    for hashed in other:
        value = np.uint64(hashed)
        place = value & mask
        while table[place] >> high == stamp and table[place] & low != value:
            place = (place + np.uint64(1)) & mask
        if table[place] >> high != stamp:
            table[place] = (stamp << high) | second | value
            union += 1
        elif table[place] & second == 0:
            table[place] |= second
            both += 1
    return both / union


@njit(
    types.void(_U32[::1], _I64[::1], _I64[::1], _I64[::1], _I64[::1], _I64[::1], _I64, _F64, _F64[::1]),
    nogil=True,
    cache=True,
)
def similarities(shingles, starts, middles, ends, left, right, longest, threshold, out):
    """Write the similarity of each pair: the lesser of those of the whole and of the tail after the middle.

    Args:
        shingles: of all documents. uint32.
        starts: where each document begins. [N] int64.
        middles: where its tail begins; its start where there is no tail. [N] int64.
        ends: where it ends. [N] int64.
        left: first document of each pair. [P] int64.
        right: second document of each pair. [P] int64.
        longest: shingles of the longest document.
        threshold: if the tails are below it, the whole is not looked at.
        out: written here. [P] float64.
    """
    size = 1
    while size < 4 * longest:
        size *= 2
    table = np.zeros(size, np.uint64)
    stamp = np.uint64(0)
    for pair in range(len(left)):
        one, other = left[pair], right[pair]
        stamp += np.uint64(1)
        found = _jaccard(shingles[middles[one] : ends[one]], shingles[middles[other] : ends[other]], table, stamp)
        if found >= threshold and (middles[one] > starts[one] or middles[other] > starts[other]):
            stamp += np.uint64(1)
            whole = _jaccard(shingles[starts[one] : ends[one]], shingles[starts[other] : ends[other]], table, stamp)
            found = min(found, whole)
        out[pair] = found


@njit
def _root(parents, node):
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@njit(types.void(_I64[::1], _I64[::1], _I64[::1]), nogil=True, cache=True)
def join(parents, left, right):
    """Make every node point to the least node of its component.

    Args:
        parents: each node's own number, or what an earlier call left. [N] int64.
        left: first node of each edge. [E] int64.
        right: second node of each edge. [E] int64.
    """
    for edge in range(len(left)):
        one, other = _root(parents, left[edge]), _root(parents, right[edge])
        if one < other:
            parents[other] = one
        elif other < one:
            parents[one] = other
    for node in range(len(parents)):
        parents[node] = _root(parents, node)
