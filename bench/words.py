"""Words that nobody speaks, drawn as often as words are: a vocabulary of syllables with Zipf's frequencies.

A token is a word in one of the forms that running text has (plain, with a comma, at the end of a sentence, capital,
quoted, before a new paragraph). Tokens are written as they stand inside a JSON string, so nobody needs to escape them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

__all__ = ["Vocabulary", "accented_words", "chinese_words", "latin_words"]

_ONSETS: Final = (
    "",
    "b",
    "br",
    "c",
    "ch",
    "d",
    "f",
    "g",
    "h",
    "l",
    "m",
    "n",
    "p",
    "pl",
    "r",
    "s",
    "st",
    "t",
    "tr",
    "v",
)
_VOWELS: Final = ("a", "e", "i", "o", "u", "ea", "io")
_CODAS: Final = ("", "", "n", "r", "s", "t", "l")
_SYLLABLE_ENDS: Final = (150, 4000, 12_000)  # words after which there is a syllable more
_ACCENTS: Final = str.maketrans("aeiou", "áéíöü")
_ZIPF_EXPONENT: Final = 1.07  # English running text lies near 1
_ZIPF_SHIFT: Final = 2.7  # Mandelbrot's: the first words are not that much more frequent than the next
_DRAWS: Final = 1 << 20  # places of the table that turns an even draw into a word


@dataclass(frozen=True)
class Vocabulary:
    """Words by falling frequency, and how they follow each other.

    Args:
        words: the words, most frequent first.
        forms: what running text makes of a word: patterns with `{}`, each as often as it is listed.
        joiner: what stands between two tokens.
        shift: words that are about as frequent as the first; larger makes common words less common.
    """

    words: tuple[str, ...]
    forms: tuple[str, ...]
    joiner: str = " "
    shift: float = _ZIPF_SHIFT

    def tokens(self) -> np.ndarray:
        """Every word in every distinct form, as objects; see `draw` for the order."""
        forms = tuple(dict.fromkeys(self.forms))
        table = [form.format(word.capitalize() if "!" in form else word) for word in self.words for form in forms]
        return np.array([token.replace("!", "") for token in table], dtype=object)

    def drawer(self) -> _Drawer:
        """What draws places in `tokens()`."""
        weights = 1.0 / (np.arange(len(self.words)) + self.shift) ** _ZIPF_EXPONENT
        ends = np.cumsum(weights / weights.sum())
        places = (np.arange(_DRAWS) + 0.5) / _DRAWS
        distinct = tuple(dict.fromkeys(self.forms))
        forms = np.array([distinct.index(form) for form in self.forms], dtype=np.uint32)
        return _Drawer(np.searchsorted(ends, places).astype(np.uint32) * np.uint32(len(distinct)), forms)


@dataclass(frozen=True)
class _Drawer:
    """Random places in a token table: a word by frequency, then a form."""

    words: np.ndarray
    forms: np.ndarray

    def draw(self, source: np.random.Generator, count: int) -> np.ndarray:
        """`count` places, independent of each other."""
        words = self.words[source.integers(0, len(self.words), count, dtype=np.uint32)]
        drawn: np.ndarray = words + self.forms[source.integers(0, len(self.forms), count, dtype=np.uint32)]
        return drawn


def latin_words(source: np.random.Generator, count: int) -> tuple[str, ...]:
    """`count` different words of one to four syllables, short ones first: frequent words are short."""
    words: dict[str, None] = {}
    while len(words) < count:
        syllables = 1 + sum(len(words) >= end for end in _SYLLABLE_ENDS)
        picks = [source.integers(0, len(parts), (1024, syllables)) for parts in (_ONSETS, _VOWELS, _CODAS)]
        for onsets, vowels, codas in zip(*(pick.tolist() for pick in picks), strict=True):
            parts = zip(onsets, vowels, codas, strict=True)
            words["".join(_ONSETS[a] + _VOWELS[b] + _CODAS[c] for a, b, c in parts)] = None
    return tuple(words)[:count]


def accented_words(words: tuple[str, ...]) -> tuple[str, ...]:
    """The same words with accents, so that a character takes two bytes here and there."""
    return tuple(word.translate(_ACCENTS) if place % 3 == 0 else word for place, word in enumerate(words))


def chinese_words(source: np.random.Generator, count: int) -> tuple[str, ...]:
    """`count` different words of one or two Han characters, without meaning."""
    words: dict[str, None] = {}
    while len(words) < count:
        for first, second, length in source.integers(0, 2000, (1024, 3)).tolist():
            characters = chr(0x4E00 + first) + chr(0x4E00 + second)
            words[characters[: 1 + min(1, length % 4)]] = None
    return tuple(words)[:count]
