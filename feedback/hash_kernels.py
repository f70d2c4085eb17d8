"""XXH3 in compiled loops, for hashes of which each is the seed of the next: libraries take one seed for a whole column.

Imported only by functions that are about to use it: loading numba and the compiled code takes a fifth of a second.

Source: xxhash.h of Cyan4973/xxHash 0.8, `XXH3_128bits_withSeed` and `XXH3_64bits_withSeed`, whose steps are kept;
for machines whose words begin with their low byte. Compared with the library `xxhash` for all lengths up to several
blocks (tests/curation/test_hash_kernels.py).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

__all__ = ["chain_hashes", "hash_text"]

_TEXT: Final = types.Array(types.uint8, 1, "C", readonly=True)
_OFFSETS: Final = types.Array(types.int64, 1, "C", readonly=True)
_U64: Final = types.uint64

_SECRET: Final = np.frombuffer(
    bytes.fromhex(
        "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
        "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
        "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
        "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
    ),
    dtype=np.uint8,
)
_P32 = (np.uint64(0x9E3779B1), np.uint64(0x85EBCA77), np.uint64(0xC2B2AE3D))
_P64_1, _P64_2 = np.uint64(0x9E3779B185EBCA87), np.uint64(0xC2B2AE3D27D4EB4F)
_P64_3, _P64_4 = np.uint64(0x165667B19E3779F9), np.uint64(0x85EBCA77C2B2AE63)
_P64_5 = np.uint64(0x27D4EB2F165667C5)
_MX1, _MX2 = np.uint64(0x165667919E3779F9), np.uint64(0x9FB21C651E98DF25)
_LOW = np.uint64(0xFFFFFFFF)
_STRIPE, _STRIPES, _SIZE = 64, 16, 192
"""Bytes that are taken at once, how many times the secret lasts for that, and its bytes."""


@njit
def _shift(value, bits):
    return value ^ (value >> np.uint64(bits))


@njit
def _left(value, bits):
    return (value << np.uint64(bits)) | (value >> np.uint64(64 - bits))


@njit
def _read32(text, place):
    word = np.uint64(0)
    for byte in range(4):
        word |= np.uint64(text[place + byte]) << np.uint64(8 * byte)
    return word


@intrinsic
def _read64(_context, text, place):  # noqa: ARG001, numba wants the names of all arguments here
    """Eight bytes as they lie in memory, which is one instruction, and many of them make vectors."""

    def load(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        at = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(at, align=1)

    return types.uint64(text, types.int64), load


@njit
def _swap32(value):
    swapped = np.uint64(0)
    for byte in range(4):
        swapped |= ((value >> np.uint64(8 * byte)) & np.uint64(0xFF)) << np.uint64(24 - 8 * byte)
    return swapped


@njit
def _swap64(value):
    return (_swap32(value & _LOW) << np.uint64(32)) | _swap32(value >> np.uint64(32))


@njit
def _multiply(a, b):
    """The product of two words, as its low and its high half."""
    low_low, high_low = (a & _LOW) * (b & _LOW), (a >> np.uint64(32)) * (b & _LOW)
    low_high, high_high = (a & _LOW) * (b >> np.uint64(32)), (a >> np.uint64(32)) * (b >> np.uint64(32))
    cross = (low_low >> np.uint64(32)) + (high_low & _LOW) + low_high
    upper = (high_low >> np.uint64(32)) + (cross >> np.uint64(32)) + high_high
    return (cross << np.uint64(32)) | (low_low & _LOW), upper


@njit
def _fold(a, b):
    low, high = _multiply(a, b)
    return low ^ high


@njit
def _avalanche(value):
    return _shift(_shift(value, 37) * _MX1, 32)


@njit
def _avalanche64(value):
    return _shift(_shift(_shift(value, 33) * _P64_2, 29) * _P64_3, 32)


@njit
def _mix16(text, place, at, seed):
    low, high = _read64(text, place), _read64(text, place + 8)
    return _fold(low ^ (_read64(_SECRET, at) + seed), high ^ (_read64(_SECRET, at + 8) - seed))


@njit
def _mix32(low, high, text, first, second, at, seed):
    low += _mix16(text, first, at, seed)
    low ^= _read64(text, second) + _read64(text, second + 8)
    high += _mix16(text, second, at + 16, seed)
    high ^= _read64(text, first) + _read64(text, first + 8)
    return low, high


@njit
def _up_to_3(text, begin, size, seed):
    first, middle, last = text[begin], text[begin + (size >> 1)], text[begin + size - 1]
    low = (np.uint64(first) << np.uint64(16)) | (np.uint64(middle) << np.uint64(24))
    low |= np.uint64(last) | (np.uint64(size) << np.uint64(8))
    swapped = _swap32(low)
    high = ((swapped << np.uint64(13)) | (swapped >> np.uint64(19))) & _LOW
    flip_low = (_read32(_SECRET, 0) ^ _read32(_SECRET, 4)) + seed
    flip_high = (_read32(_SECRET, 8) ^ _read32(_SECRET, 12)) - seed
    return _avalanche64(low ^ flip_low), _avalanche64(high ^ flip_high)


@njit
def _up_to_8(text, begin, size, seed):
    seed ^= _swap32(seed & _LOW) << np.uint64(32)
    word = _read32(text, begin) + (_read32(text, begin + size - 4) << np.uint64(32))
    keyed = word ^ ((_read64(_SECRET, 16) ^ _read64(_SECRET, 24)) + seed)
    low, high = _multiply(keyed, _P64_1 + (np.uint64(size) << np.uint64(2)))
    high += low << np.uint64(1)
    low ^= high >> np.uint64(3)
    return _shift(_shift(low, 35) * _MX2, 28), _avalanche(high)


@njit
def _up_to_16(text, begin, size, seed):
    flip_low = (_read64(_SECRET, 32) ^ _read64(_SECRET, 40)) - seed
    flip_high = (_read64(_SECRET, 48) ^ _read64(_SECRET, 56)) + seed
    first, last = _read64(text, begin), _read64(text, begin + size - 8)
    low, high = _multiply(first ^ last ^ flip_low, _P64_1)
    low += np.uint64(size - 1) << np.uint64(54)
    last ^= flip_high
    high += last + (last & _LOW) * (_P32[1] - np.uint64(1))
    low ^= _swap64(high)
    made_low, made_high = _multiply(low, _P64_2)
    return _avalanche(made_low), _avalanche(made_high + high * _P64_2)


@njit
def _converged(low, high, size, seed):
    mixed = low * _P64_1 + high * _P64_4 + (np.uint64(size) - seed) * _P64_2
    return _avalanche(low + high), np.uint64(0) - _avalanche(mixed)


@njit
def _up_to_128(text, begin, size, seed):
    low, high, end = np.uint64(size) * _P64_1, np.uint64(0), begin + size
    for part in range((size - 1) // 32, -1, -1):
        low, high = _mix32(low, high, text, begin + 16 * part, end - 16 * (part + 1), 32 * part, seed)
    return _converged(low, high, size, seed)


@njit
def _up_to_240(text, begin, size, seed):
    low, high = np.uint64(size) * _P64_1, np.uint64(0)
    for at in range(0, 128, 32):
        low, high = _mix32(low, high, text, begin + at, begin + at + 16, at, seed)
    low, high = _avalanche(low), _avalanche(high)
    for at in range(160, size + 1, 32):
        low, high = _mix32(low, high, text, begin + at - 32, begin + at - 16, at - 157, seed)
    end = begin + size
    low, high = _mix32(low, high, text, end - 16, end - 32, 103, np.uint64(0) - seed)
    return _converged(low, high, size, seed)


@njit
def _accumulate(acc, text, place, secret, at):
    for lane in range(0, 8, 2):
        first, second = _read64(text, place + 8 * lane), _read64(text, place + 8 * lane + 8)
        key_first = first ^ _read64(secret, at + 8 * lane)
        key_second = second ^ _read64(secret, at + 8 * lane + 8)
        acc[lane] += second + (key_first & _LOW) * (key_first >> np.uint64(32))
        acc[lane + 1] += first + (key_second & _LOW) * (key_second >> np.uint64(32))


@njit
def _merge(acc, secret, at, start):
    for pair in range(4):
        start += _fold(
            acc[2 * pair] ^ _read64(secret, at + 16 * pair), acc[2 * pair + 1] ^ _read64(secret, at + 16 * pair + 8)
        )
    return _avalanche(start)


@njit
def _longer(text, begin, size, seed, secret, words, acc):
    for word in range(0, _SIZE // 8, 2):
        words[word] = _read64(_SECRET, 8 * word) + seed
        words[word + 1] = _read64(_SECRET, 8 * word + 8) - seed
    for lane, value in enumerate((_P32[2], _P64_1, _P64_2, _P64_3, _P64_4, _P32[1], _P64_5, _P32[0])):
        acc[lane] = value
    stripes, place = (size - 1) // _STRIPE, begin
    for stripe in range(stripes):
        _accumulate(acc, text, place, secret, 8 * (stripe % _STRIPES))
        place += _STRIPE
        if stripe % _STRIPES == _STRIPES - 1 and stripe + 1 <= (size - 1) // (_STRIPE * _STRIPES) * _STRIPES:
            for lane in range(8):
                acc[lane] = (_shift(acc[lane], 47) ^ words[_SIZE // 8 - 8 + lane]) * _P32[0]
    _accumulate(acc, text, begin + size - _STRIPE, secret, _SIZE - _STRIPE - 7)
    low = _merge(acc, secret, 11, np.uint64(size) * _P64_1)
    high = _merge(acc, secret, _SIZE - _STRIPE - 11, ~(np.uint64(size) * _P64_2))
    return low, high


@njit
def _hash(text, begin, size, seed, secret, words, acc):
    """XXH3 of some bytes, its low and its high half."""
    if size > 240:
        return _longer(text, begin, size, seed, secret, words, acc)
    if size > 128:
        return _up_to_240(text, begin, size, seed)
    if size > 16:
        return _up_to_128(text, begin, size, seed)
    if size > 8:
        return _up_to_16(text, begin, size, seed)
    if size > 3:
        return _up_to_8(text, begin, size, seed)
    if size > 0:
        return _up_to_3(text, begin, size, seed)
    low = _avalanche64(seed ^ _read64(_SECRET, 64) ^ _read64(_SECRET, 72))
    return low, _avalanche64(seed ^ _read64(_SECRET, 80) ^ _read64(_SECRET, 88))


@njit
def _word_hash(text, begin, size, seed):
    """XXH3 of 64 bits of a word of 4 to 16 bytes."""
    if size > 8:
        first = _read64(text, begin) ^ ((_read64(_SECRET, 24) ^ _read64(_SECRET, 32)) + seed)
        last = _read64(text, begin + size - 8) ^ ((_read64(_SECRET, 40) ^ _read64(_SECRET, 48)) - seed)
        return _avalanche(np.uint64(size) + _swap64(first) + last + _fold(first, last))
    seed ^= _swap32(seed & _LOW) << np.uint64(32)
    word = _read32(text, begin + size - 4) + (_read32(text, begin) << np.uint64(32))
    value = word ^ ((_read64(_SECRET, 8) ^ _read64(_SECRET, 16)) - seed)
    value = (value ^ _left(value, 49) ^ _left(value, 24)) * _MX2
    return _shift((value ^ ((value >> np.uint64(35)) + np.uint64(size))) * _MX2, 28)


@njit(types.UniTuple(_U64, 2)(_TEXT, _U64), cache=True, nogil=True)
def hash_text(text: Any, seed: Any) -> Any:
    """XXH3 of 128 bits of a text with a seed, its low and its high half."""
    words, acc = np.empty(_SIZE // 8, np.uint64), np.empty(8, np.uint64)
    return _hash(text, 0, len(text), seed, words.view(np.uint8), words, acc)


@njit(
    types.void(
        _TEXT, _OFFSETS, _TEXT, _OFFSETS, _OFFSETS, _TEXT, _OFFSETS, _TEXT, _OFFSETS, types.Array(_U64, 2, "C")
    ),
    cache=True,
    nogil=True,
)  # fmt: skip
def chain_hashes(
    texts: Any,
    offsets: Any,
    exact: Any,
    exact_offsets: Any,
    places: Any,
    roles: Any,
    firsts: Any,
    names: Any,
    name_offsets: Any,
    found: Any,
) -> None:
    """Write the hash of each list of turns, low and high half: of each turn under the one before and its speaker.

    Args:
        texts: what all turns say. [B] uint8.
        offsets: where each turn's text begins. [T + 1].
        exact: the texts of turns that are hashed in another form. [E] uint8.
        exact_offsets: where each of those begins.
        places: for each turn its place among those, or -1. [T].
        roles: for each turn the place of its role's name. [T] uint8.
        firsts: the first turn of each list. [N + 1].
        names: the names of roles, each of 4 to 16 bytes. uint8.
        name_offsets: where each name begins.
        found: written here; 0 for a list without turns. [N, 2] uint64.
    """
    words, acc = np.empty(_SIZE // 8, np.uint64), np.empty(8, np.uint64)
    secret = words.view(np.uint8)
    for row in range(len(found)):
        low, high = np.uint64(0), np.uint64(0)
        for turn in range(firsts[row], firsts[row + 1]):
            name = roles[turn]
            seed = _word_hash(names, name_offsets[name], name_offsets[name + 1] - name_offsets[name], low)
            place = places[turn]
            if place < 0:
                begin, size = offsets[turn], offsets[turn + 1] - offsets[turn]
                low, high = _hash(texts, begin, size, seed, secret, words, acc)
            else:
                begin, size = exact_offsets[place], exact_offsets[place + 1] - exact_offsets[place]
                low, high = _hash(exact, begin, size, seed, secret, words, acc)
        found[row, 0], found[row, 1] = low, high
