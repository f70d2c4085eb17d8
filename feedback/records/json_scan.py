"""Compiled loops over JSON text: where its values begin and end, and which lines are ambiguous.

Imported only by functions that are about to use it: loading numba and the compiled code takes a third of a second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

__all__ = ["find_ambiguous", "find_boundaries"]

_TEXT = types.Array(types.uint8, 1, "C", readonly=True)
_NUMBERS = types.Array(types.int64, 1, "C")

_FLAGS = types.Array(types.uint8, 1, "C")

_QUOTE, _BACKSLASH, _COMMA, _COLON = 0x22, 0x5C, 0x2C, 0x3A
_SPACE, _TAB, _RETURN = 0x20, 0x09, 0x0D
_SMALL, _EXPONENT, _PLUS, _ZERO, _NINE = 0x20, 0x65, 0x2B, 0x30, 0x39
_MOST_KEYS = 2048
_AT_ONCE = 32
"""Bytes of a text that are looked at together."""
_WORD = 8
_HASH_START, _HASH_STEP = np.uint64(0xCBF29CE484222325), np.uint64(0x9E3779B97F4A7C15)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
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


@intrinsic
def _stops(typing: Any, text: Any, index: Any) -> Any:  # noqa: ARG001 - numba passes its context
    """A bit for each quote and each backslash among `_AT_ONCE` bytes from any address, the first byte's lowest."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        vector = ir.VectorType(ir.IntType(8), _AT_ONCE)
        signs = builder.load(builder.bitcast(builder.gep(array.data, [arguments[1]]), vector.as_pointer()), align=1)
        quote, backslash = (
            builder.icmp_unsigned("==", signs, ir.Constant(vector, [sign] * _AT_ONCE)) for sign in (_QUOTE, _BACKSLASH)
        )
        return builder.zext(builder.bitcast(builder.or_(quote, backslash), ir.IntType(_AT_ONCE)), ir.IntType(64))

    return types.uint64(text, types.intp), emit


@intrinsic
def _word_at(typing: Any, text: Any, index: Any) -> Any:  # noqa: ARG001 - numba passes its context
    """`_WORD` bytes from any address as one number, the first byte lowest."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(address, align=1)

    return types.uint64(text, types.intp), emit


@intrinsic
def _lowest(typing: Any, bits: Any) -> Any:  # noqa: ARG001 - numba passes its context
    """The place of the lowest bit that is set."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), emit


@njit
def _behind_plain(text, place, end):
    """The next place from `place` on with a quote or a backslash, or `end`."""
    while place + _AT_ONCE <= len(text) and place < end:
        stops = _stops(text, place)
        if stops:
            return min(place + _lowest(stops), end)
        place += _AT_ONCE
    while place < end and text[place] != _QUOTE and text[place] != _BACKSLASH:
        place += 1
    return min(place, end)


@njit
def _is_digit(sign: Any) -> Any:
    return _ZERO <= sign <= _NINE


@njit
def _may_be_infinite(text: Any, place: Any, end: Any) -> Any:
    """Whether the letter at `place` begins an exponent of two digits or more, without a minus."""
    first = place + 2 if place + 1 < end and text[place + 1] == _PLUS else place + 1
    return place > 0 and _is_digit(text[place - 1]) and first + 1 < end and _is_digit(text[first + 1])


@njit
def _hash_of(text, begin, end):
    """A hash of some bytes, which is the same wherever they stand."""
    value = _HASH_START ^ np.uint64(end - begin)
    for place in range(begin, end, _WORD):
        left = min(end - place, _WORD)
        if place + _WORD <= len(text):
            word = _word_at(text, place) & (_ALL >> np.uint64(8 * (_WORD - left)))
        else:
            word = np.uint64(0)
            for behind in range(left):
                word |= np.uint64(text[place + behind]) << np.uint64(8 * behind)
        value = (value ^ word) * _HASH_STEP
        value ^= value >> np.uint64(32)
    return value


@njit(types.void(_TEXT, _NUMBERS, _NUMBERS, types.int64, _FLAGS), cache=True, nogil=True)
def find_ambiguous(text: Any, begins: Any, ends: Any, max_depth: Any, found: Any) -> None:
    """Write which lines may nest too deep, or hold an object with a key that occurs twice, or a number without end.

    Never too few are found: a number counts from an exponent of two digits on. Keys are told apart by a hash, so
    different ones may be taken for one; a line with an escape in a key, or with more keys on the way to its innermost
    object than are remembered, is found as well. A line that is no JSON may be or not.

    Args:
        text: lines of JSON. [B] uint8.
        begins: the first byte of each line. [N] int64.
        ends: the byte behind each. [N] int64.
        max_depth: brackets that may be open at once.
        found: where it is written. [N] uint8.
    """
    keys = np.empty(_MOST_KEYS, np.uint64)
    firsts = np.empty(max_depth + 1, np.int64)
    is_object = np.empty(max_depth + 1, np.bool_)
    for line in range(len(begins)):
        depth, count, place, end = 0, 0, begins[line], ends[line]
        found[line] = 0
        while place < end and not found[line]:
            sign = text[place]
            if sign == _QUOTE:
                begin, is_escaped = place + 1, False
                place = _behind_plain(text, place + 1, end)
                while place < end and text[place] == _BACKSLASH:
                    is_escaped = True
                    place = _behind_plain(text, min(place + 2, end), end)
                behind = place + 1
                while behind < end and (text[behind] == _SPACE or _TAB <= text[behind] <= _RETURN):
                    behind += 1
                if behind < end and text[behind] == _COLON and depth > 0 and is_object[depth]:
                    key = _hash_of(text, begin, min(place, end))
                    for other in range(firsts[depth], count):
                        if keys[other] == key:
                            found[line] = 1
                    if is_escaped or count == _MOST_KEYS:
                        found[line] = 1
                    else:
                        keys[count] = key
                        count += 1
                    place = behind
            elif sign in (_OPEN, _OPEN_LIST):
                depth += 1
                if depth > max_depth:
                    found[line] = 1
                else:
                    firsts[depth], is_object[depth] = count, sign == _OPEN
            elif sign in (_CLOSE, _CLOSE_LIST) and depth > 0:
                count = firsts[depth]
                depth -= 1
            elif sign | _SMALL == _EXPONENT and _may_be_infinite(text, place, end):
                found[line] = 1
            place += 1
