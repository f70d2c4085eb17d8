"""Compiled loops that bring UTF-8 texts to their normalised form by the tables of `feedback.near.code_points`.

A text is normalised here if the Unicode quick check allows it: every code point stays or becomes others on its own,
none may compose with the one before, and combining marks stand in order. The rest is left to Python. Imported only when
texts come that are not ASCII.

Source: Unicode Standard Annex 15, section 9 (quick check).
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

from feedback.near.code_points import EXPANDS, TABLE_SIZE

__all__ = ["decode", "encode", "measure_texts", "normalize_texts"]

_TEXT = types.Array(types.uint8, 1, "C", readonly=True)
_OFFSETS = types.Array(types.int64, 1, "C", readonly=True)
_I64, _U32, _U8 = types.int64, types.uint32, types.uint8


@njit
def decode(text, index):
    """Code point at a place of valid UTF-8 and the number of its bytes."""
    first = np.uint32(text[index])
    if first < 0x80:
        return first, 1
    second = np.uint32(text[index + 1]) & np.uint32(0x3F)
    if first < 0xE0:
        return ((first & np.uint32(0x1F)) << np.uint32(6)) | second, 2
    third = np.uint32(text[index + 2]) & np.uint32(0x3F)
    if first < 0xF0:
        return ((first & np.uint32(0x0F)) << np.uint32(12)) | (second << np.uint32(6)) | third, 3
    fourth = np.uint32(text[index + 3]) & np.uint32(0x3F)
    head = ((first & np.uint32(0x07)) << np.uint32(18)) | (second << np.uint32(12))
    return head | (third << np.uint32(6)) | fourth, 4


@njit
def encode(code, out, index):
    """Write a code point as UTF-8; the place after it."""
    if code < 0x80:
        out[index] = code
        return index + 1
    if code < 0x800:
        out[index] = 0xC0 | (code >> np.uint32(6))
        out[index + 1] = 0x80 | (code & np.uint32(0x3F))
        return index + 2
    if code < 0x10000:
        out[index] = 0xE0 | (code >> np.uint32(12))
        out[index + 1] = 0x80 | ((code >> np.uint32(6)) & np.uint32(0x3F))
        out[index + 2] = 0x80 | (code & np.uint32(0x3F))
        return index + 3
    out[index] = 0xF0 | (code >> np.uint32(18))
    out[index + 1] = 0x80 | ((code >> np.uint32(12)) & np.uint32(0x3F))
    out[index + 2] = 0x80 | ((code >> np.uint32(6)) & np.uint32(0x3F))
    out[index + 3] = 0x80 | (code & np.uint32(0x3F))
    return index + 4


@njit
def _width(code):
    return 1 + (code >= 0x80) + (code >= 0x800) + (code >= 0x10000)


@njit
def _size(text, start, end, quick, folds, expansions):
    """Bytes of a text when normalised, -1 where the tables are not enough."""
    size, last, index = 0, np.uint8(0), start
    while index < end:
        code, width = decode(text, index)
        index += width
        fold, order = code, np.uint8(0)
        if code < TABLE_SIZE:
            fold, order = folds[code], quick[code]
        elif 0x2F800 <= code < 0x2FA20 or 0xE0000 <= code < 0xE1000:
            order = np.uint8(255)
        if order == 255 or (order != 0 and order < last):
            return -1
        last = order
        if fold < EXPANDS:
            size += _width(fold)
        else:
            place = np.int64((fold & np.uint32(0x7FFFFFFF)) >> np.uint32(5))
            for offset in range(np.int64(fold & np.uint32(0x1F))):
                size += _width(expansions[place + offset])
    return size


@njit
def _normalize(text, start, end, folds, expansions, out):
    """Write the normalised text; its length in bytes."""
    size, index = 0, start
    while index < end:
        code, width = decode(text, index)
        index += width
        fold = code
        if code < TABLE_SIZE:
            fold = folds[code]
        if fold < EXPANDS:
            size = encode(fold, out, size)
            continue
        place = np.int64((fold & np.uint32(0x7FFFFFFF)) >> np.uint32(5))
        for offset in range(np.int64(fold & np.uint32(0x1F))):
            size = encode(expansions[place + offset], out, size)
    return size


@njit(
    types.void(_TEXT, _OFFSETS, _I64[::1], _U8[::1], _U32[::1], _U32[::1], _I64[::1]),
    nogil=True,
    cache=True,
)
def measure_texts(text, offsets, rows, quick, folds, expansions, sizes):
    """Write the size in bytes of each of some texts when normalised, -1 where only Python can do it.

    Args:
        text: UTF-8 of all texts. uint8.
        offsets: where each text begins, and the end. [N + 1] int64.
        rows: which texts. [M] int64.
        quick: see `CodePoints`.
        folds: see `CodePoints`.
        expansions: see `CodePoints`.
        sizes: written here. [M] int64.
    """
    for number in range(len(rows)):
        row = rows[number]
        sizes[number] = _size(text, offsets[row], offsets[row + 1], quick, folds, expansions)


@njit(
    types.void(_TEXT, _OFFSETS, _I64[::1], _U32[::1], _U32[::1], _I64[::1], _U8[::1]),
    nogil=True,
    cache=True,
)
def normalize_texts(text, offsets, rows, folds, expansions, places, out):
    """Write some texts in their normalised form.

    Args:
        text: UTF-8 of all texts. uint8.
        offsets: where each text begins, and the end. [N + 1] int64.
        rows: which texts; -1 for one that is left out. [M] int64.
        folds: see `CodePoints`.
        expansions: see `CodePoints`.
        places: where each is written. [M] int64.
        out: written here. uint8.
    """
    for number in range(len(rows)):
        row = rows[number]
        if row >= 0:
            _normalize(text, offsets[row], offsets[row + 1], folds, expansions, out[places[number] :])
