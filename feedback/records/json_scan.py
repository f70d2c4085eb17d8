"""Compiled loops over JSON text: where its values begin and end, and how deep they are.

Imported only by functions that are about to use it: loading numba and the compiled code takes a third of a second.
"""

from __future__ import annotations

from typing import Any

from numba import njit, types

__all__ = ["find_boundaries", "measure_depths"]

_TEXT = types.Array(types.uint8, 1, "C", readonly=True)
_NUMBERS = types.Array(types.int64, 1, "C")

_QUOTE, _BACKSLASH, _COMMA = 0x22, 0x5C, 0x2C
_OPEN, _OPEN_LIST, _CLOSE, _CLOSE_LIST = 0x7B, 0x5B, 0x7D, 0x5D


@njit(types.int64(_TEXT, types.int64, _NUMBERS, types.boolean, _NUMBERS), cache=True, nogil=True)
def find_boundaries(text: Any, start: Any, state: Any, is_array: Any, found: Any) -> Any:
    """The next places from `start` on at which a value may begin or end; how many were found.

    Of an array these are its own brackets and the commas between its elements, else brackets that close an object. The
    search ends when `found` is full, and goes on with `state` as it is then.

    Args:
        text: a chunk of the text. [B] uint8.
        start: the first byte to look at.
        state: depth of brackets, whether within a text, whether the next sign is escaped, and, set on return, the byte
            to go on with. [4].
        is_array: whether the text is one array.
        found: room for the places. [N].
    """
    depth, in_text, is_escaped = state[0], state[1], state[2]
    count, place, size = 0, start, len(text)
    while place < size and count < len(found):
        sign = text[place]
        if in_text:
            if is_escaped:
                is_escaped = 0
            elif sign == _BACKSLASH:
                is_escaped = 1
            elif sign == _QUOTE:
                in_text = 0
        elif sign == _QUOTE:
            in_text = 1
        elif sign == _COMMA:
            if is_array and depth == 1:
                found[count] = place
                count += 1
        elif sign in (_OPEN, _OPEN_LIST):
            depth += 1
            if is_array and depth == 1:
                found[count] = place
                count += 1
        elif sign in (_CLOSE, _CLOSE_LIST):
            # A bracket too many closes nothing: the depth never falls below 0.
            depth = max(depth - 1, 0)
            if depth == 0:
                found[count] = place
                count += 1
        place += 1
    state[0], state[1], state[2], state[3] = depth, in_text, is_escaped, place
    return count


@njit(types.void(_TEXT, _NUMBERS, _NUMBERS, _NUMBERS), cache=True, nogil=True)
def measure_depths(text: Any, begins: Any, ends: Any, depths: Any) -> None:
    """Write how many brackets are open at most at once in each line.

    Args:
        text: lines of JSON. [B] uint8.
        begins: the first byte of each line. [N] int64.
        ends: the byte behind each. [N] int64.
        depths: where it is written. [N] int64.
    """
    for line in range(len(begins)):
        depth, deepest, in_text, place = 0, 0, False, begins[line]
        while place < ends[line]:
            sign = text[place]
            if in_text and sign == _BACKSLASH:
                place += 1
            elif sign == _QUOTE:
                in_text = not in_text
            elif not in_text and sign in (_OPEN, _OPEN_LIST):
                depth += 1
                deepest = max(depth, deepest)
            elif not in_text and sign in (_CLOSE, _CLOSE_LIST):
                depth -= 1
            place += 1
        depths[line] = deepest
