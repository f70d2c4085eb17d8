"""Compiled loops over texts as JSON writes them: lists of texts, without their quotes and escapes.

Bytes are looked at sixteen at a time, which compiles into vector instructions. Imported only by functions that are
about to use it, as loading numba takes a fifth of a second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

__all__ = ["read_text_lists"]

_SIGNS = types.Array(types.uint8, 1, "C", readonly=True)
_OFFSETS = types.Array(types.int64, 1, "C", readonly=True)
_ROOM = types.Array(types.uint8, 1, "C")
_NUMBERS = types.Array(types.int64, 1, "C")

_QUOTE, _BACKSLASH, _COMMA, _OPEN_LIST, _CLOSE_LIST, _LETTER_U = 0x22, 0x5C, 0x2C, 0x5B, 0x5D, 0x75
_SPACE, _TAB, _NEWLINE, _RETURN = 0x20, 0x09, 0x0A, 0x0D
_AT_ONCE = 16
_HIGH, _LOW, _BEHIND = 0xD800, 0xDC00, 0xE000
"""Where the first and the second halves of surrogate pairs begin, and what stands behind them."""
_PLAIN = np.zeros(256, np.uint8)
"""What each letter behind a backslash means; 0 where it means nothing, or more follows."""
for _letter, _meaning in zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True):
    _PLAIN[_letter] = _meaning
_DIGITS = np.full(256, -1, np.int64)
for _value in range(16):
    _DIGITS[ord(f"{_value:x}")] = _DIGITS[ord(f"{_value:X}")] = _value


@njit
def _is_special(sign: Any) -> Any:
    """Whether a byte is a quote, a backslash or a control character."""
    return np.uint8(sign == _QUOTE) | np.uint8(sign == _BACKSLASH) | np.uint8(sign < _SPACE)


@njit
def _plain_bytes(signs: Any) -> Any:
    """How many bytes stand before the first special one. Indices are from 0, so that no negative one is looked for."""
    place = 0
    for begin in range(0, len(signs) - _AT_ONCE + 1, _AT_ONCE):
        found, part = np.uint8(0), signs[begin : begin + _AT_ONCE]
        for at in range(_AT_ONCE):
            found |= _is_special(part[at])
        place = begin
        if found:
            break
        place = begin + _AT_ONCE
    for sign in signs[place:]:
        if _is_special(sign):
            break
        place += 1
    return place


@njit
def _copy(signs: Any, out: Any) -> None:
    for at in range(len(signs)):
        out[at] = signs[at]


@njit
def _behind_space(text: Any, place: Any, end: Any) -> Any:
    while place < end and (
        text[place] == _SPACE or text[place] == _TAB or text[place] == _NEWLINE or text[place] == _RETURN
    ):
        place += 1
    return place


@njit
def _unit(text: Any, place: Any, end: Any) -> Any:
    r"""The number that `\uXXXX` at `place` stands for; -1 where there is none."""
    if place + 6 > end or text[place] != _BACKSLASH or text[place + 1] != _LETTER_U:
        return -1
    value = 0
    for at in range(place + 2, place + 6):
        digit = _DIGITS[text[at]]
        if digit < 0:
            return -1
        value = 16 * value + digit
    return value


@njit
def _write_sign(point: Any, out: Any, size: Any) -> Any:
    """Write a code point as UTF-8; the place behind it."""
    if point < 0x80:
        out[size] = point
        return size + 1
    if point < 0x800:
        out[size] = 0xC0 | (point >> 6)
    elif point < 0x10000:
        out[size] = 0xE0 | (point >> 12)
    else:
        out[size] = 0xF0 | (point >> 18)
        size += 1
        out[size] = 0x80 | (point >> 12 & 0x3F)
    if point >= 0x800:
        size += 1
        out[size] = 0x80 | (point >> 6 & 0x3F)
    out[size + 1] = 0x80 | (point & 0x3F)
    return size + 2


@njit
def _read_escape(text: Any, place: Any, end: Any, out: Any, size: Any) -> Any:
    """Write what the escape at `place` stands for; the places behind both, -1 where it is none, or half of a pair."""
    if place + 1 < end and _PLAIN[text[place + 1]]:
        out[size] = _PLAIN[text[place + 1]]
        return place + 2, size + 1
    point = _unit(text, place, end)
    place += 6
    if _HIGH <= point < _LOW:
        low = _unit(text, place, end)
        if not _LOW <= low < _BEHIND:
            return -1, size
        point = 0x10000 + ((point - _HIGH) << 10) + (low - _LOW)
        place += 6
    elif point < 0 or _LOW <= point < _BEHIND:
        return -1, size
    return place, _write_sign(point, out, size)


@njit
def _read_text(text: Any, place: Any, end: Any, out: Any, size: Any) -> Any:
    """Write the text whose opening quote stands before `place`; the places behind both, -1 where it is none."""
    while place >= 0:
        behind = place + _plain_bytes(text[place:end])
        _copy(text[place:behind], out[size:])
        size += behind - place
        if behind >= end or text[behind] < _SPACE:
            return -1, size
        if text[behind] == _QUOTE:
            return behind + 1, size
        place, size = _read_escape(text, behind, end, out, size)
    return place, size


@njit
def _read_list(text: Any, place: Any, end: Any, out: Any, size: Any, ends: Any, count: Any) -> Any:
    """Write the texts of the list between two places; bytes and texts written by then, -1 where it is no such list."""
    place = _behind_space(text, place, end)
    if place >= end or text[place] != _OPEN_LIST:
        return -1, -1
    place = _behind_space(text, place + 1, end)
    is_first = True
    while place < end:
        if is_first and text[place] == _CLOSE_LIST:
            break
        if text[place] != _QUOTE:
            return -1, -1
        place, size = _read_text(text, place + 1, end, out, size)
        if place < 0:
            return -1, -1
        ends[count] = size
        count += 1
        place = _behind_space(text, place, end)
        if place >= end or text[place] != _COMMA:
            break
        place, is_first = _behind_space(text, place + 1, end), False
    if place >= end or text[place] != _CLOSE_LIST or _behind_space(text, place + 1, end) < end:
        return -1, -1
    return size, count


@njit(types.void(_SIGNS, _OFFSETS, _ROOM, _NUMBERS, _NUMBERS), cache=True, nogil=True)
def read_text_lists(text: Any, offsets: Any, out: Any, ends: Any, counts: Any) -> None:
    """Write the texts of many lists, one behind the other.

    Args:
        text: the lists as JSON, UTF-8. [B] uint8.
        offsets: where each begins, and the end. [N + 1] int64.
        out: room for the UTF-8 of all texts. [B] uint8.
        ends: room for the end of each text there: half as many as there are quotes. int64.
        counts: written here: the texts of each list, -1 where it is no list of texts and nothing else. [N] int64.
    """
    size, count = 0, 0
    for row in range(len(offsets) - 1):
        behind, texts = _read_list(text, offsets[row], offsets[row + 1], out, size, ends, count)
        counts[row] = texts - count if behind >= 0 else -1
        if behind >= 0:
            size, count = behind, texts
