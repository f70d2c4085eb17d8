"""What each code point is to the tokenizer, and what it becomes when a text is normalised.

The tables cover the first two planes, where nearly all text lies, and are built from `unicodedata` when the first text
that is not ASCII comes; they are kept on disk. Beyond them stand rare ideographs, each a token, and a few format
characters.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feedback.near.kept_tables import Tables, kept_tables

__all__ = [
    "BREAK",
    "EXPANDS",
    "MARK",
    "SEPARATOR",
    "SINGLE",
    "SPACE",
    "TABLE_SIZE",
    "WORD",
    "CodePoints",
    "ascii_kinds",
    "code_points",
    "kind_of",
    "normalized",
]

SEPARATOR: Final = 0
"""Ends a word; the key has it. Punctuation, control and format characters, and a mark outside a word."""
SPACE: Final = 1
"""Ends a word; a run of them counts as one, none at the ends of a turn."""
WORD: Final = 2
"""Letter, digit or underscore."""
MARK: Final = 3
"""Goes on with a word, begins none."""
SINGLE: Final = 4
"""A token by itself: symbols, emoji, letters of scripts without spaces, code points not assigned yet."""
BREAK: Final = 5
"""What callers put between roles and turns: ends a word; the key has it; white space beside it is ignored."""

TABLE_SIZE: Final = 0x20000
"""Code points that the tables cover."""
EXPANDS: Final = 0x80000000
"""In `folds`, from here on: 2**31 + 32 * place in `expansions` + number of code points there."""

_UNSPACED: Final = (
    (0x0E00, 0x0FFF),  # Thai, Lao, Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19FF),  # Tai Le, New Tai Lue, Khmer symbols
    (0x1A20, 0x1AAF),  # Lanna
    (0x3005, 0x3007),  # ideographic iteration mark, closing mark and zero
    (0x3021, 0x3029),
    (0x3031, 0x303C),
    (0x3040, 0x312F),  # Hiragana, Katakana, Bopomofo
    (0x31A0, 0x31BF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0xA4CF),  # Han, Yi
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAADF),  # Myanmar, Tai Viet
    (0xF900, 0xFAFF),
    (0x16FE0, 0x18CFF),  # Tangut, Khitan
    (0x1AFF0, 0x1B2FF),  # Kana, Nushu
    (0x20000, 0x3FFFF),
)
_ASK_PYTHON: Final = 255


class CodePoints(NamedTuple):
    """The tables, each with an entry for every code point below `TABLE_SIZE`.

    Args:
        kinds: `SEPARATOR` to `BREAK`. uint8.
        quick: combining class, or 255 where a text that has it is normalised by Python. uint8.
        folds: the code point it becomes, or from `EXPANDS` on where those are. uint32.
        expansions: code points of those that become several. uint32.
    """

    kinds: NDArray[np.uint8]
    quick: NDArray[np.uint8]
    folds: NDArray[np.uint32]
    expansions: NDArray[np.uint32]


def normalized(text: str) -> str:
    """Text in Unicode form NFKC, case folded: what the key and the words are made of.

    >>> normalized("ＦＵＬＬ Width Straße")
    'full width strasse'
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def kind_of(character: str) -> int:
    """What one code point of a normalised text is to the tokenizer.

    >>> kind_of("a") == WORD, kind_of("是") == SINGLE, kind_of("+") == SINGLE, kind_of("!") == SEPARATOR
    (True, True, True, True)
    """
    if character in "\x1e\x1f":
        return BREAK
    if character.isspace() and character not in "\x1c\x1d":
        return SPACE
    category = unicodedata.category(character)
    if category[0] in "LNM":
        if any(first <= ord(character) <= last for first, last in _UNSPACED):
            return SINGLE
        return MARK if category[0] == "M" else WORD
    if character == "_":
        return WORD
    return SINGLE if category[0] == "S" or category in {"Cn", "Co"} else SEPARATOR


@cache
def ascii_kinds() -> NDArray[np.uint8]:
    """Kinds of the first 128 code points."""
    return np.array([kind_of(chr(code)) for code in range(128)], np.uint8)


@cache
def code_points() -> CodePoints:
    """All tables; read or built once in a process."""
    tables = kept_tables(_build, Path(__file__), dict.fromkeys(("kinds", "quick", "folds"), TABLE_SIZE))
    return CodePoints(**tables)


def _build() -> Tables:
    characters = [chr(code) if not 0xD800 <= code < 0xE000 else " " for code in range(TABLE_SIZE)]
    # joined by a line feed, which neither composes nor folds, so that all are normalised in three calls
    folded = normalized("\n".join(characters)).split("\n")
    folded[10:12] = ["\n"]
    quick = np.fromiter(map(unicodedata.combining, characters), np.uint8, TABLE_SIZE)
    folds = np.arange(TABLE_SIZE, dtype=np.uint32)
    expansions: list[int] = []
    composing = _second_halves(characters)
    for code, (character, fold) in enumerate(zip(characters, folded, strict=True)):
        if character in composing:
            quick[code] = _ASK_PYTHON
        elif character != fold:
            if quick[code] or any(part in composing or unicodedata.combining(part) for part in fold) or not fold:
                quick[code] = _ASK_PYTHON
            elif len(fold) == 1:
                folds[code] = ord(fold)
            else:
                folds[code] = EXPANDS + 32 * len(expansions) + len(fold)
                expansions += map(ord, fold)
    return {
        "kinds": _kinds(characters),
        "quick": quick,
        "folds": folds,
        "expansions": np.array(expansions, np.uint32),
    }


def _second_halves(characters: list[str]) -> set[str]:
    """Code points that may compose with the one before: second ones of decompositions, Hangul vowels and finals."""
    pairs = (parts.split() for parts in map(unicodedata.decomposition, characters) if parts and parts[0] != "<")
    jamo = {chr(code) for code in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}
    return {chr(int(parts[1], 16)) for parts in pairs if len(parts) == 2} | jamo


def _kinds(characters: list[str]) -> NDArray[np.uint8]:
    by_category = {"L": WORD, "N": WORD, "M": MARK, "S": SINGLE}
    of_category = {
        name: SINGLE if name in {"Cn", "Co"} else by_category.get(name[0], SEPARATOR)
        for name in set(map(unicodedata.category, characters))
    }
    kinds = np.fromiter((of_category[unicodedata.category(one)] for one in characters), np.uint8, TABLE_SIZE)
    for first, last in _UNSPACED:
        part = kinds[first : last + 1]
        part[(part == WORD) | (part == MARK)] = SINGLE
    kinds[[code for code, one in enumerate(characters) if one.isspace()]] = SPACE
    kinds[:128] = ascii_kinds()
    return kinds
