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

__all__ = ["key_rows", "sketch_rows"]

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
_ONE, _ALL = np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF)
_EMPTY, _LAST = np.uint32(0xFFFFFFFF), np.uint32(0xFFFFFFFE)

_CASE_BIT = 0x20
_CASE = np.uint64(_CASE_BIT * 0x0101010101010101)
_AT_ONCE = 64
"""Bytes that one mask covers."""


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


@intrinsic
def _word_and_space_bits(typing: Any, text: Any, index: Any) -> Any:  # noqa: ARG001 - numba passes its context
    """Of 64 bytes from any address: a bit for each letter, digit or underscore, and one for each white space.

    Written in vectors, which every processor that LLVM knows has instructions for.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        vector = ir.VectorType(ir.IntType(8), _AT_ONCE)
        signs = builder.load(builder.bitcast(builder.gep(array.data, [arguments[1]]), vector.as_pointer()), align=1)

        def each(byte: int) -> Any:
            return ir.Constant(vector, [byte] * _AT_ONCE)

        def is_between(values: Any, first: str, last: str) -> Any:
            above = builder.sub(values, each(ord(first)))
            return builder.icmp_unsigned("<=", above, each(ord(last) - ord(first)))

        letter = is_between(builder.or_(signs, each(_CASE_BIT)), "a", "z")
        word = builder.or_(builder.or_(letter, is_between(signs, "0", "9")), is_between(signs, "_", "_"))
        space = builder.or_(is_between(signs, "\t", "\r"), is_between(signs, " ", " "))
        bits = [builder.bitcast(one, ir.IntType(_AT_ONCE)) for one in (word, space)]
        return context.make_tuple(builder, signature.return_type, bits)

    return types.UniTuple(_U64, 2)(text, types.intp), emit


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
def _hash_word(text, start, size):
    """Hash of a word of ASCII, eight bytes at a time. The bit 0x20 makes letters lower case."""
    value = _WORD_START
    while size > 8:
        value = _mix(value, _load_eight(text, start) | _CASE)
        start += 8
        size -= 8
    return _mix(value, (_load_eight(text, start) | _CASE) & (_ALL >> np.uint64(64 - 8 * size)))


@njit
def _scan_ascii(text, start, end, kinds, tokens):
    """Hash of every token into `tokens`; their number and the key. At least 64 bytes must stand behind the text.

    The text is looked at 64 bytes at a time: bits tell where words begin and end, and where anything else stands that
    is no white space.
    """
    key, count = _KEY_START, 0
    begun, behind_space = False, np.uint64(0)
    base = start
    while base < end:
        word, space = _word_and_space_bits(text, base)
        whole = _ALL if end - base >= _AT_ONCE else (_ONE << np.uint64(end - base)) - _ONE
        word, space = word & whole, space & whole
        left = ((word & ~(word << _ONE)) | ~(word | space)) & whole
        after_space = (space << _ONE) | behind_space
        behind_space = space >> np.uint64(63)
        next_base = base + _AT_ONCE
        while left != 0:
            at = _zeros_below(left)
            left &= left - _ONE
            gap = _AFTER_SPACE if begun and (after_space >> at) & _ONE else np.uint64(0)
            begun = True
            place = base + np.int64(at)
            if (word >> at) & _ONE:
                rest = ~(word >> at)
                size = np.int64(_zeros_below(rest))
                if np.int64(at) + size == _AT_ONCE:  # it may go on: it is measured alone, and a new mask begins behind
                    while place + size < end and kinds[text[place + size]] == WORD:
                        size += 1
                    next_base = place + size
                value = _hash_word(text, place, size)
                tokens[count] = value
                count += 1
                key = _step(key, value ^ gap)
                continue
            code = text[place]
            element = _sign(code)
            kind = kinds[code]
            if kind == BREAK:
                key, begun = _step(key, element), False
                continue
            if kind == SINGLE:
                element = _mix(_WORD_START, np.uint64(code))
                tokens[count] = element
                count += 1
            key = _step(key, element ^ gap)
        base = next_base
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
    """Values of all bins; an empty one borrows from the first filled bin on its own chain (optimal densification).

    All empty bins take a step of their chains at once: which ones are empty is chance, and a branch on it costs more.
    """
    out[:] = bins
    step, is_left = 0, True
    while is_left:
        is_left = False
        for place in range(len(bins)):
            value = bins[chain[step, place]]
            is_empty = out[place] == _EMPTY
            out[place] = value if is_empty else out[place]
            is_left |= is_empty & (value == _EMPTY)
        step += 1


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
def _scan(side, row, kinds, tokens):
    """Tokens of one text; their number and its key."""
    text, offsets, places, normal, ends = side
    place = places[row]
    start, end = offsets[row], offsets[row + 1]
    if place >= 0:
        return _scan_utf8(normal, ends[place], ends[place + 1], kinds, tokens)
    if end + _AT_ONCE <= len(text):
        return _scan_ascii(text, start, end, kinds, tokens)
    behind = np.zeros(end - start + _AT_ONCE, np.uint8)
    behind[: end - start] = text[start:end]
    return _scan_ascii(behind, 0, end - start, kinds, tokens)


@njit
def _read(side, row, kinds, words, tokens, out, bins):
    """Shingles and bins of one text; its key and the number of its shingles."""
    count, key = _scan(side, row, kinds, tokens)
    return key, _shingle(tokens, count, key, words, out, bins)


_SIDE = types.Tuple((_TEXT, _OFFSETS, _I64[::1], _TEXT, _OFFSETS))


@njit(types.void(_SIDE, _U8[::1], _I64, _U64[::1]), nogil=True, cache=True)
def key_rows(texts, kinds, longest, keys):
    """Write the normalised key of every text, as `sketch_rows` does.

    Args:
        texts: UTF-8 of all and what belongs to it, see `sketch_rows`.
        kinds: kind of each code point, of the first 128 at least.
        longest: bytes of the longest text, normalised ones too.
        keys: written here. [N].
    """
    tokens = np.empty(longest + 1, np.uint64)
    for row in range(len(keys)):
        keys[row] = _scan(texts, row, kinds, tokens)[1]


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
        chain: for each step the slot that each slot asks. [slots, slots] uint8.
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
