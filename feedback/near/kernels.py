"""Compiled loops over flat UTF-8 texts: normalised keys, hashed word shingles and MinHash bands, in one pass.

Imported only by functions that are about to use it: loading numba and the compiled code takes a third of a second.
All that is likely to change is in one file, because numba's cache looks at the age of a function's own file only.

A text of ASCII is read eight bytes at a time, lower-cased and cut into words on the way. Any other text comes here in
its normalised form, see `feedback.near.utf8`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from feedback.near.code_points import BREAK, MARK, SINGLE, SPACE, TABLE_SIZE, WORD
from feedback.near.utf8 import decode

__all__ = ["count_code_points", "sketch_rows"]

_TEXT = types.Array(types.uint8, 1, "C", readonly=True)
_OFFSETS = types.Array(types.int64, 1, "C", readonly=True)
_U64, _U32, _I64, _U8 = types.uint64, types.uint32, types.int64, types.uint8

_KEY_START = np.uint64(0x243F6A8885A308D3)
_WORD_START = np.uint64(0x13198A2E03707344)
_AFTER_SPACE = np.uint64(0xA4093822299F31D0)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_STEP = np.uint64(0xBF58476D1CE4E5B9)
_FINISH = np.uint64(0x94D049BB133111EB)
_PLACE = np.uint64(0xD6E8FEB86659FD93)
_EMPTY, _LAST = np.uint32(0xFFFFFFFF), np.uint32(0xFFFFFFFE)

_ONES = 0x0101010101010101
_HIGH = np.uint64(0x80 * _ONES)
_CASE = np.uint64(0x20 * _ONES)
_FROM_A, _PAST_Z = np.uint64((0x80 - 0x61) * _ONES), np.uint64((0x80 - 0x7B) * _ONES)
_FROM_0, _PAST_9 = np.uint64((0x80 - 0x30) * _ONES), np.uint64((0x80 - 0x3A) * _ONES)
_UNDERSCORE, _NOT_ZERO = np.uint64(0x5F * _ONES), np.uint64(0x7F * _ONES)


@intrinsic
def _load_eight(typing: Any, text: Any, index: Any) -> Any:  # noqa: ARG001 - numba passes its context
    """Eight bytes from any address as one number, the first byte lowest."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(address, align=1)

    return _U64(text, types.intp), emit


@intrinsic
def _zeros_below(typing: Any, value: Any) -> Any:  # noqa: ARG001 - numba passes its context
    """Number of zero bits below the lowest one."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return _U64(_U64), emit


@njit
def _eight(text, index):
    if index + 8 <= len(text):
        return _load_eight(text, index)
    value = np.uint64(0)
    for place in range(len(text) - index):
        value |= np.uint64(text[index + place]) << np.uint64(8 * place)
    return value


@njit
def _ends_of_word(eight):
    """High bit of each byte that is no letter, digit or underscore; right up to the first byte above 127."""
    lower = eight | _CASE
    letter = (lower + _FROM_A) & ~(lower + _PAST_Z)
    digit = (eight + _FROM_0) & ~(eight + _PAST_9)
    underscore = ~((eight ^ _UNDERSCORE) + _NOT_ZERO)
    return ~(letter | digit | underscore) & _HIGH


@njit
def _mix(value, more):
    value = (value ^ more) * _MIX
    return value ^ (value >> np.uint64(32))


@njit
def _step(key, element):
    key = (key ^ element) * _STEP
    return key ^ (key >> np.uint64(29))


@njit
def _finish(value):
    """Every bit of the result depends on every bit of the value (the finalizer of SplitMix64)."""
    value = (value ^ (value >> np.uint64(30))) * _STEP
    value = (value ^ (value >> np.uint64(27))) * _FINISH
    return value ^ (value >> np.uint64(31))


@njit
def _sign(code):
    """What a separator puts into the key."""
    return (np.uint64(code) + np.uint64(0x100)) * _PLACE


@njit
def _scan_ascii(text, start, end, kinds, tokens):
    """Hash of every token into `tokens`; their number and the key. The bit 0x20 makes letters lower case."""
    key, count, index = _KEY_START, 0, start
    begun, space = False, np.uint64(0)
    while index < end:
        code = text[index]
        kind = kinds[code]
        if kind == WORD:
            value = _WORD_START
            while index < end:
                eight = _eight(text, index)
                stops = _ends_of_word(eight)
                if end - index < 8:
                    stops |= _HIGH << np.uint64(8 * (end - index))
                if stops == 0:
                    value = _mix(value, eight | _CASE)
                    index += 8
                    continue
                bits = _zeros_below(stops) & np.uint64(0x38)
                if bits != 0:
                    value = _mix(value, (eight | _CASE) & ((np.uint64(1) << bits) - np.uint64(1)))
                    index += np.int64(bits >> np.uint64(3))
                break
            tokens[count] = value
            count += 1
            key = _step(key, value ^ space)
            begun, space = True, np.uint64(0)
            continue
        index += 1
        if kind == SPACE:
            if begun:
                space = _AFTER_SPACE
        elif kind == BREAK:
            key = _step(key, _sign(code))
            begun, space = False, np.uint64(0)
        else:
            element = _sign(code)
            if kind == SINGLE:
                element = _mix(_WORD_START, np.uint64(code))
                tokens[count] = element
                count += 1
            key = _step(key, element ^ space)
            begun, space = True, np.uint64(0)
    return count, _finish(key)


@njit
def _kind_of(code, kinds):
    if code < TABLE_SIZE:
        return kinds[code]
    if code < 0xE0000 or code > 0xE01EF:
        return np.uint8(SINGLE)
    if code >= 0xE0100:
        return np.uint8(MARK)
    tag = code == 0xE0001 or (0xE0020 <= code < 0xE0080)
    return np.uint8(0) if tag else np.uint8(SINGLE)


@njit
def _scan_utf8(text, start, end, kinds, tokens):
    """As `_scan_ascii`, for normalised UTF-8."""
    key, count, index = _KEY_START, 0, start
    begun, space = False, np.uint64(0)
    value, held, bits, in_word = _WORD_START, np.uint64(0), np.uint64(0), False
    while True:
        code, width, kind = np.uint32(0), 0, np.uint8(SPACE)
        if index < end:
            code, width = decode(text, index)
            kind = _kind_of(code, kinds)
            if kind == WORD or (kind == MARK and in_word):
                in_word = True
                for place in range(width):
                    byte = np.uint64(text[index + place])
                    held |= (byte | np.uint64(0x20) if byte < 0x80 else byte) << bits
                    bits += np.uint64(8)
                    if bits == 64:
                        value, held, bits = _mix(value, held), np.uint64(0), np.uint64(0)
                index += width
                continue
        if in_word:
            if bits != 0:
                value = _mix(value, held)
            tokens[count] = value
            count += 1
            key = _step(key, value ^ space)
            begun, space = True, np.uint64(0)
            value, held, bits, in_word = _WORD_START, np.uint64(0), np.uint64(0), False
        if index >= end:
            break
        if kind == SPACE:
            if begun:
                space = _AFTER_SPACE
        elif kind == BREAK:
            key = _step(key, _sign(code))
            begun, space = False, np.uint64(0)
        else:
            element = _sign(code)
            if kind == SINGLE:
                packed = np.uint64(0)
                for place in range(width):
                    packed |= np.uint64(text[index + place]) << np.uint64(8 * place)
                element = _mix(_WORD_START, packed)
                tokens[count] = element
                count += 1
            key = _step(key, element ^ space)
            begun, space = True, np.uint64(0)
        index += width
    return count, _finish(key)


@njit
def _shingle(tokens, count, key, words, out, bins):
    """Low half of each shingle's hash into `out`, the least of each bin (told by the high half) into `bins`."""
    bins[:] = _EMPTY
    size = np.uint64(len(bins))
    shingles = max(count - words + 1, 1)
    if count < words:
        joined = key if count == 0 else np.uint64(count)
        for place in range(count):
            joined = joined * _PLACE + tokens[place]
        tokens[0] = _finish(joined)
    elif words == 3:  # the same as below, in a form that is compiled into vector instructions
        for place in range(shingles):
            tokens[place] = _finish((tokens[place] * _PLACE + tokens[place + 1]) * _PLACE + tokens[place + 2])
    else:
        for place in range(shingles):
            joined = tokens[place]
            for offset in range(1, words):
                joined = joined * _PLACE + tokens[place + offset]
            tokens[place] = _finish(joined)
    for place in range(shingles):
        value = tokens[place]
        low = min(np.uint32(value & np.uint64(0xFFFFFFFF)), _LAST)
        out[place] = low
        which = np.int64(((value >> np.uint64(32)) * size) >> np.uint64(32))
        bins[which] = min(bins[which], low)
    return shingles


@njit
def _fill(bins, chain, out):
    """Values of all bins; an empty one borrows from the first filled bin on its own chain (optimal densification)."""
    for place in range(len(bins)):
        value = bins[place]
        step = 0
        while value == _EMPTY:
            value = bins[chain[place, step]]
            step += 1
        out[place] = value


@njit
def _write_bands(values, row, bands):
    """Hash of the values of each band, two at a time."""
    width = len(values) // len(bands)
    for band in range(len(bands)):
        hashed = np.uint64(band)
        for place in range(band * width, (band + 1) * width, 2):
            hashed = _mix(hashed, np.uint64(values[place]) | (np.uint64(values[place + 1]) << np.uint64(32)))
        bands[band, row] = np.uint32(hashed & np.uint64(0xFFFFFFFF))


@njit
def _read(side, row, kinds, words, tokens, out, bins):
    """Shingles and bins of one text; its key and the number of its shingles."""
    text, offsets, places, normal, ends = side
    place = places[row]
    if place < 0:
        count, key = _scan_ascii(text, offsets[row], offsets[row + 1], kinds, tokens)
    else:
        count, key = _scan_utf8(normal, ends[place], ends[place + 1], kinds, tokens)
    return key, _shingle(tokens, count, key, words, out, bins)


@njit
def _count_continuing(text):
    """Number of bytes within code points, of less than 256 bytes: in vector instructions."""
    count = np.uint8(0)
    for index in range(len(text)):
        count = np.uint8(count + np.uint8((text[index] & np.uint8(0xC0)) == np.uint8(0x80)))
    return count


@njit(types.void(_TEXT, _OFFSETS, _I64[::1]), nogil=True, cache=True)
def count_code_points(text, offsets, chars):
    """Write the number of code points of each text, [N] int64, from the UTF-8 of all and where each begins, [N + 1]."""
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        count = end - begin
        for part in range(begin, end, 128):
            count -= _count_continuing(text[part : min(part + 128, end)])
        chars[row] = count


_SIDE = types.Tuple((_TEXT, _OFFSETS, _I64[::1], _TEXT, _OFFSETS))


@njit(
    _I64(
        _SIDE, _SIDE, _U8[::1], _U8[:, ::1], _I64, _I64,
        _U64[:, ::1], _U32[:, ::1], _U32[:, ::1], _U32[::1], _U32[:, ::1],
    ),
    nogil=True,
    cache=True,
)  # fmt: skip
def sketch_rows(
    prompts, completions, kinds, chain, words, longest, keys, prompt_bands, answer_bands, shingles, lengths
):
    """Read every prompt and completion once: keys, bands and shingles.

    Args:
        prompts: UTF-8 of all, where each begins, for each its place among the normalised texts or -1 if it is ASCII,
            those normalised texts and where each of them begins.
        completions: the same of the completions.
        kinds: kind of each code point, of the first 128 at least.
        chain: for each slot the order in which it borrows. [slots, slots] uint8.
        words: words of a shingle, at least 1.
        longest: bytes of the longest text, normalised ones too.
        keys: normalised key of prompt and completion, written here. [2, N].
        prompt_bands: written here. [bands, N].
        answer_bands: written here. [bands, N].
        shingles: hashed shingles of prompt, completion, next prompt, ..., written here.
        lengths: number of shingles of each prompt and completion, written here. [N, 2].

    Returns:
        number of shingles.
    """
    tokens = np.empty(longest + 1, np.uint64)
    slots = len(chain)
    of_prompt, of_completion = np.empty(slots, np.uint32), np.empty(slots, np.uint32)
    of_answer, values = np.empty(slots, np.uint32), np.empty(slots, np.uint32)
    width = slots // len(answer_bands)
    place = 0
    for row in range(lengths.shape[0]):
        keys[0, row], count = _read(prompts, row, kinds, words, tokens, shingles[place:], of_prompt)
        lengths[row, 0] = count
        place += count
        keys[1, row], count = _read(completions, row, kinds, words, tokens, shingles[place:], of_completion)
        lengths[row, 1] = count
        place += count
        _fill(of_prompt, chain, values)
        _write_bands(values, row, prompt_bands)
        for slot in range(slots):
            of_answer[slot] = min(of_prompt[slot], of_completion[slot])
        _fill(of_completion, chain, values)
        _fill(of_answer, chain, of_completion)
        for slot in range(slots):  # half of a band from the completion alone, as both must reach the threshold
            if 2 * (slot % width) < width:
                values[slot] = of_completion[slot]
        _write_bands(values, row, answer_bands)
    return place
