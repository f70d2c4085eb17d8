"""Compiled loops over the lines of a block: which hold some bytes, and how often.

Bytes are looked at 128 at a time, which compiles into vector instructions. Imported only by functions that are about to
use it, as loading numba takes a fifth of a second.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

__all__ = ["count_in_lines", "mark_lines"]

_SIGNS = types.Array(types.uint8, 1, "C", readonly=True)
_OFFSETS = types.Array(types.int64, 1, "C", readonly=True)
_AT_ONCE = 128


@njit
def _may_begin(signs, first, second):
    """Whether two bytes stand behind each other among some: in vector instructions."""
    found = np.uint8(0)
    for place in range(len(signs) - 1):
        found |= np.uint8(signs[place] == first) & np.uint8(signs[place + 1] == second)
    return found


@njit
def _may_begin_either(signs, first, second, other_first, other_second):
    """The same of two pairs of bytes."""
    found = np.uint8(0)
    for place in range(len(signs) - 1):
        found |= np.uint8(signs[place] == first) & np.uint8(signs[place + 1] == second)
        found |= np.uint8(signs[place] == other_first) & np.uint8(signs[place + 1] == other_second)
    return found


@njit
def _begins(signs, place, sought):
    """Whether some bytes stand at a place."""
    same = 0
    while same < len(sought) and place + same < len(signs) and signs[place + same] == sought[same]:
        same += 1
    return same == len(sought)


@njit(types.void(_SIGNS, _OFFSETS, _SIGNS, _SIGNS, _SIGNS, types.boolean[::1]), nogil=True, cache=True)
def mark_lines(signs, ends, sought, other, third, found):
    """Write True for every line in which one of three rows of bytes stands, and leave the others as they are.

    Args:
        signs: bytes. [B] uint8.
        ends: byte behind each line. [N] int64.
        sought: what is looked for, at least two bytes, no line end among them. uint8.
        other: likewise.
        third: likewise, with the first two bytes of `other`.
        found: written here. [N] bool.
    """
    line, first, second, other_first, other_second = 0, sought[0], sought[1], other[0], other[1]
    for begin in range(0, len(signs), _AT_ONCE):
        part = signs[begin : min(begin + _AT_ONCE + 1, len(signs))]
        if not _may_begin_either(part, first, second, other_first, other_second):
            continue
        for place in range(begin, min(begin + _AT_ONCE, len(signs))):
            if signs[place] != first and signs[place] != other_first:
                continue
            if _begins(signs, place, sought) or _begins(signs, place, other) or _begins(signs, place, third):
                while line < len(ends) and ends[line] <= place:
                    line += 1
                if line < len(ends):
                    found[line] = True


@njit(types.void(_SIGNS, _OFFSETS, _SIGNS, types.int64[::1]), nogil=True, cache=True)
def count_in_lines(signs, ends, sought, counts):
    """Add how often some bytes stand in every line.

    Args:
        signs: bytes. [B] uint8.
        ends: byte behind each line. [N] int64.
        sought: what is looked for, at least two bytes, no line end among them. uint8.
        counts: added to here. [N] int64.
    """
    line = 0
    for begin in range(0, len(signs), _AT_ONCE):
        if not _may_begin(signs[begin : min(begin + _AT_ONCE + 1, len(signs))], sought[0], sought[1]):
            continue
        for place in range(begin, min(begin + _AT_ONCE, len(signs))):
            if _begins(signs, place, sought):
                while line < len(ends) and ends[line] <= place:
                    line += 1
                if line < len(ends):
                    counts[line] += 1
