"""Compiled loops over chat turns: conversations as one text each, in one pass over their bytes.

Imported only by functions that are about to use it, as loading numba takes a fifth of a second.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

__all__ = ["join_turns"]

_TEXT = types.Array(types.uint8, 1, "C", readonly=True)
_OFFSETS = types.Array(types.int32, 1, "C", readonly=True)
_BEHIND_ROLE, _BEHIND_TURN = np.uint8(0x1F), np.uint8(0x1E)


@njit(
    types.void(_TEXT, _OFFSETS, _TEXT, _OFFSETS, _OFFSETS, types.int64[::1], types.uint8[::1]), nogil=True, cache=True
)
def join_turns(roles, role_offsets, texts, offsets, firsts, ends, out):
    """Write the words of each list of one turn, and of each other one its turns behind their roles.

    Args:
        roles: the roles of all turns. uint8.
        role_offsets: where each begins, and the end. [T + 1] int32.
        texts: what is said. uint8.
        offsets: where each turn's text begins, and the end. [T + 1] int32.
        firsts: the first turn of each list, and the end. [N + 1] int32.
        ends: byte behind each list's text, written here. [N] int64.
        out: the texts, written here: bytes of all roles and texts, and two for each turn, are enough.
    """
    place = 0
    for row in range(len(ends)):
        first, last = firsts[row], firsts[row + 1]
        for turn in range(first, last):
            if last - first > 1:
                for byte in range(role_offsets[turn], role_offsets[turn + 1]):
                    out[place] = roles[byte]
                    place += 1
                out[place] = _BEHIND_ROLE
                place += 1
            begin, end = offsets[turn], offsets[turn + 1]
            out[place : place + end - begin] = texts[begin:end]
            place += end - begin
            if turn + 1 < last:
                out[place] = _BEHIND_TURN
                place += 1
        ends[row] = place
