"""Compiled loops over the bytes of a block: where its lines end, and how many of what each has.

Bytes are looked at 128 at a time, which compiles into vector instructions. Imported only by functions that are about to
use it, as loading numba takes a fifth of a second.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

__all__ = ["count_between", "count_bytes", "count_code_points", "count_signs", "find_newlines"]

_SIGNS = types.Array(types.uint8, 1, "C", readonly=True)
_OFFSETS = types.Array(types.int64, 1, "C", readonly=True)
_COUNTS = types.int64[::1]
_AT_ONCE = 128
_NEWLINE = np.uint8(ord("\n"))
"""The bit 0x20 is all that tells `[` from `{`."""


@njit
def _count(signs, bits, value):
    """Of less than 256 bytes, so that a byte holds the count; indices from 0, so that no negative one is looked for."""
    count = np.uint8(0)
    for place in range(len(signs)):
        count = np.uint8(count + np.uint8((signs[place] | bits) == value))
    return count


@njit(types.int64(_SIGNS, types.uint8, types.uint8), nogil=True, cache=True)
def count_bytes(signs, bits, value):
    """Number of bytes that are `value` once `bits` are set in them.

    Args:
        signs: bytes. [B] uint8.
        bits: bits that do not matter, 0 for none.
        value: the byte looked for, these bits set.
    """
    count, whole = 0, len(signs) // _AT_ONCE * _AT_ONCE
    for begin in range(0, whole, _AT_ONCE):
        count += _count(signs[begin : begin + _AT_ONCE], bits, value)
    for place in range(whole, len(signs)):
        count += (signs[place] | bits) == value
    return count


@njit(types.void(_SIGNS, _OFFSETS, _OFFSETS, types.uint8, types.uint8, types.int64[::1]), nogil=True, cache=True)
def count_between(signs, starts, ends, bits, value, counts):
    """Write how many bytes of each of some pieces are `value` once `bits` are set in them.

    Args:
        signs: bytes. [B] uint8.
        starts: first byte of each piece. [N] int64.
        ends: byte behind each. [N] int64.
        bits: bits that do not matter, 0 for none.
        value: the byte looked for, these bits set.
        counts: written here. [N] int64.
    """
    for row in range(len(starts)):
        count = np.int64(0)
        for begin in range(starts[row], ends[row], _AT_ONCE):
            count += _count(signs[begin : min(begin + _AT_ONCE, ends[row])], bits, value)
        counts[row] = count


@njit(types.void(_SIGNS, types.int64[::1]), nogil=True, cache=True)
def find_newlines(signs, places):
    """Write the place of every line feed.

    Args:
        signs: bytes. [B] uint8.
        places: written here; as many as there are. [N] int64.
    """
    line, whole = 0, len(signs) // _AT_ONCE * _AT_ONCE
    for begin in range(0, len(signs), _AT_ONCE):
        if begin < whole and _count(signs[begin : begin + _AT_ONCE], np.uint8(0), _NEWLINE) == 0:
            continue
        for place in range(begin, min(begin + _AT_ONCE, len(signs))):
            if signs[place] == _NEWLINE:
                places[line] = place
                line += 1


@njit
def _count_continuing(text):
    """Number of bytes within code points, of less than 256 bytes: in vector instructions."""
    count = np.uint8(0)
    for index in range(len(text)):
        count = np.uint8(count + np.uint8((text[index] & np.uint8(0xC0)) == np.uint8(0x80)))
    return count


@njit(types.void(_SIGNS, _OFFSETS, types.int64[::1]), nogil=True, cache=True)
def count_code_points(text, offsets, chars):
    """Write the number of code points of each text, [N] int64, from the UTF-8 of all and where each begins, [N + 1]."""
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        count = end - begin
        for part in range(begin, end, 128):
            count -= _count_continuing(text[part : min(part + 128, end)])
        chars[row] = count


@njit
def _count_range(text, first, size):
    """Number of bytes from `first` on and before `first + size`, of less than 256 bytes: in vector instructions."""
    count = np.uint8(0)
    for index in range(len(text)):
        count = np.uint8(count + np.uint8(np.uint8(text[index] - first) < size))
    return count


@njit
def _count_twice(text, value):
    """How often `value` stands beside itself, in less than 256 bytes."""
    count = np.uint8(0)
    for index in range(len(text) - 1):
        count = np.uint8(count + np.uint8((text[index] == value) & (text[index + 1] == value)))
    return count


@njit(types.void(_SIGNS, _OFFSETS, _COUNTS, _COUNTS, _COUNTS, _COUNTS, _COUNTS), nogil=True, cache=True)
def count_signs(text, offsets, digits, dots, colons, gaps, wide):
    """Write how many digits, dots and colons each text has, and how many bytes that are not ASCII.

    Args:
        text: the UTF-8 of all texts. [B] uint8.
        offsets: where each begins, and the end. [N + 1] int64.
        digits: bytes from 0 to 9, written here. [N] int64.
        dots: likewise. [N] int64.
        colons: likewise. [N] int64.
        gaps: colons behind another colon, likewise. [N] int64.
        wide: bytes from 0x80 on, likewise. [N] int64.
    """
    one = np.uint8(1)
    for row in range(len(offsets) - 1):
        digits[row] = dots[row] = colons[row] = gaps[row] = wide[row] = 0
        for begin in range(offsets[row], offsets[row + 1], _AT_ONCE):
            part = text[begin : min(begin + _AT_ONCE, offsets[row + 1])]
            digits[row] += _count_range(part, np.uint8(ord("0")), np.uint8(10))
            dots[row] += _count_range(part, np.uint8(ord(".")), one)
            colons[row] += _count_range(part, np.uint8(ord(":")), one)
            gaps[row] += _count_twice(text[begin : min(begin + _AT_ONCE + 1, offsets[row + 1])], np.uint8(ord(":")))
            wide[row] += _count_range(part, np.uint8(0x80), np.uint8(0x80))
