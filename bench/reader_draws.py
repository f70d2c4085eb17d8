"""What records of every format are drawn from: texts, persons, times, ids and choices, all from one seed.

Texts are cut from long runs of tokens (`bench.words`) at random places, so that drawing them is quick and no two are
the same. All texts of a record are in one voice: 97% Latin letters, the rest Chinese, emoji and accents, a third each.
"""

from __future__ import annotations

import datetime as dt
import functools
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np

from bench.words import Vocabulary, accented_words, chinese_words, latin_words

__all__ = ["Drawn", "Draws"]

T = TypeVar("T")

_WORDS: Final = 20_000
_TOKENS: Final = (1 << 20, 1 << 17, 1 << 17, 1 << 17)  # of each voice
_LONGEST: Final = 220
_LATIN_FORMS: Final = ("{}",) * 50 + ("{},",) * 5 + ("{}.",) * 3 + ("!{}",) * 3 + ('"{}"', "{}.\n\n", "{}:\n- ")
_EMOJI_FORMS: Final = ("{}",) * 27 + ("{} 🙂", "{}, 👍🏽", "{} 🚀", "{}. 🎉", "{}…")
_CHINESE_FORMS: Final = ("{}",) * 13 + ("{}，", "{}，", "{}。")
_FOREIGN_SHARE: Final = 0.03
_RATERS: Final = 4000
_MODELS: Final = ("atlas-1", "atlas-1", "atlas-2", "atlas-2", "atlas-2", "birch-mini", "cedar-2.1", "cedar-2.1")
_START: Final = int(dt.datetime(2026, 1, 5, 8, tzinfo=dt.UTC).timestamp())
_LONGEST_GAP_S: Final = 60.0


@dataclass(frozen=True)
class Drawn:
    """What one judged thing, or one conversation, is in an export.

    Args:
        records: lines of the file, in their order.
        rows: events and pairs that they hold.
        others: lines of the file that they are joined with.
    """

    records: Sequence[dict[str, Any]]
    rows: int = 1
    others: Sequence[dict[str, Any]] = field(default=())


class Draws:
    """A seeded source of everything that records hold. `begin` starts a record."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._voices = _voices(seed)
        self._now = float(_START)
        self.begin()

    def begin(self) -> None:
        """Choose the voice of the next record, and let time pass."""
        foreign = self._random.random() < _FOREIGN_SHARE
        self._tokens, self._joiner = self._voices[self._random.randrange(1, 4) if foreign else 0]
        self._now += self._random.random() * _LONGEST_GAP_S

    def prompt(self) -> str:
        """A question of 5 to 60 words."""
        return self.words(5, 60)

    def answer(self) -> str:
        """An answer of 40 to 220 words."""
        return self.words(40, _LONGEST)

    def note(self) -> str:
        """A comment or a title, of 3 to 12 words."""
        return self.words(3, 12)

    def words(self, fewest: int, most: int) -> str:
        """A text of `fewest` to `most` words, at most 220."""
        start = self._random.randrange(len(self._tokens) - _LONGEST)
        text = self._joiner.join(self._tokens[start : start + self._random.randint(fewest, most)])
        return text.replace("\n ", "\n").strip()

    def turns(self, count: int) -> list[str]:
        """Questions and answers in turn, `count` in all."""
        return [self.answer() if place % 2 else self.prompt() for place in range(count)]

    def exchanges(self) -> int:
        """How many questions a conversation has: one mostly, at most four."""
        return self.pick((1, 1, 1, 2, 2, 3, 4))

    def chance(self, share: float) -> bool:
        """True with the probability `share`."""
        return self._random.random() < share

    def is_up(self) -> bool:
        """A vote; 85% are up."""
        return self.chance(0.85)

    def pick(self, choices: Sequence[T]) -> T:
        """One of `choices`."""
        return self._random.choice(choices)

    def integer(self, least: int, most: int) -> int:
        """A whole number from `least` to `most`."""
        return self._random.randint(least, most)

    def share(self) -> float:
        """A number in [0, 1) with four decimals."""
        return self._random.randrange(10_000) / 10_000

    def rater(self) -> str:
        """A person of 4,000, of whom a tenth give a third of the votes."""
        return f"user-{int(self._random.random() ** 2 * _RATERS) + 1:06d}"

    def model(self) -> str:
        """A model of four."""
        return self.pick(_MODELS)

    def hex(self, digits: int) -> str:
        """A random number in hexadecimal digits."""
        return f"{self._random.getrandbits(4 * digits):0{digits}x}"

    def uuid(self) -> str:
        """A random id as UUIDs are written."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def seconds(self, later: float = 0.0) -> float:
        """The time of the record, `later` seconds after it, in seconds since 1970 to the microsecond."""
        return round(self._now + later, 6)

    def time(self, later: float = 0.0, *, end: str = "Z") -> str:
        """The same in ISO 8601 to the millisecond, with `end` for the zone."""
        moment = dt.datetime.fromtimestamp(self._now + later, dt.UTC).replace(tzinfo=None)
        return f"{moment.isoformat(timespec='milliseconds')}{end}"


@functools.cache
def _voices(seed: int) -> list[tuple[list[str], str]]:
    """Tokens and joiner of each voice, the Latin one first; kept, since making them takes a second."""
    source = np.random.Generator(np.random.PCG64(seed))
    words = latin_words(source, _WORDS)
    vocabularies = (
        Vocabulary(words, _LATIN_FORMS),
        Vocabulary(chinese_words(source, _WORDS // 2), _CHINESE_FORMS, joiner=""),
        Vocabulary(words, _EMOJI_FORMS),
        Vocabulary(accented_words(words), _LATIN_FORMS),
    )
    return [
        (one.tokens()[one.drawer().draw(source, count)].tolist(), one.joiner)
        for one, count in zip(vocabularies, _TOKENS, strict=True)
    ]
