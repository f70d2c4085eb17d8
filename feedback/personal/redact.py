"""Texts with a mark in the place of personal data, and how many of each kind were replaced."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from feedback.config import PHONE_REGIONS
from feedback.personal.find import find_personal
from feedback.personal.names import NameFinder

__all__ = ["Redactor", "redact_texts"]


def redact_texts(
    texts: pl.Series, *, phone_regions: Sequence[str] = PHONE_REGIONS, names: NameFinder | None = None
) -> pl.Series:
    """`texts` with `[EMAIL]`, `[PHONE]`, ... in the place of what `find_personal` finds.

    In the result `find_personal` finds nothing, so redacting twice is redacting once.

    >>> redact_texts(pl.Series(["Write to ann@site.example.", "Hello."])).to_list()
    ['Write to [EMAIL].', 'Hello.']

    Args:
        texts: texts or nulls. [N]
        phone_regions: regions whose national telephone numbers are looked for.
        names: finds names by a model of yours; null looks for none.

    Raises:
        UnknownChoiceError: a region that there is not.
    """
    return Redactor(tuple(phone_regions), names).texts(texts)


@dataclass(slots=True)
class Redactor:
    """Replaces personal data, and counts by kind what it replaced.

    Args:
        phone_regions: regions whose national telephone numbers are looked for.
        names: finds names by a model of yours; null looks for none.
        counts: finds replaced so far, by kind.
    """

    phone_regions: tuple[str, ...] = PHONE_REGIONS
    names: NameFinder | None = None
    counts: Counter[str] = field(default_factory=Counter)

    def texts(self, texts: pl.Series) -> pl.Series:
        """`texts` without personal data."""
        changed: dict[int, str] = {}
        places, left = pl.Series(range(len(texts)), dtype=pl.UInt32), texts
        # A mark may part what kept a neighbour from being seen, so texts with finds are looked at again.
        while (finds := find_personal(left, phone_regions=self.phone_regions, names=self.names)).height:
            self.counts.update(finds["kind"].to_list())
            rows, replaced = _replaced(left, finds)
            places, left = places.gather(rows), pl.Series(texts.name, replaced, dtype=pl.String)
            changed.update(zip(places.to_list(), replaced, strict=True))
        if not changed:
            return texts
        # Series.scatter writes into the series that it is called on.
        rows_changed = pl.Series(list(changed), dtype=pl.UInt32)
        return texts.clone().scatter(rows_changed, pl.Series(list(changed.values()), dtype=pl.String))

    def json_texts(self, texts: pl.Series) -> pl.Series:
        """JSON texts without personal data in their strings, keys and numbers, still JSON; others as plain texts."""
        distinct = texts.drop_nulls().value_counts(name="rows", sort=True)
        # Escapes of JSON hide what they stand for, so every text is taken apart; few differ.
        leaves = [list(dict.fromkeys(_leaves(_parsed(text)))) for text in distinct[texts.name].to_list()]
        said = pl.Series([leaf for some in leaves for leaf in some], dtype=pl.String).unique(maintain_order=True)
        finds = find_personal(said, phone_regions=self.phone_regions, names=self.names)
        dirty = set(said.gather(finds["row"].unique()).to_list())
        clean: dict[str, str] = {}
        for (text, rows), some in zip(distinct.iter_rows(), leaves, strict=True):
            if dirty.isdisjoint(some):
                continue
            one = _JsonRedactor(Redactor(self.phone_regions, self.names), dirty)
            clean[text] = one.redact(text)
            self.counts.update({kind: count * rows for kind, count in one.redactor.counts.items()})
        return texts.replace(clean) if clean else texts


@dataclass(slots=True)
class _JsonRedactor:
    """Replaces personal data in the leaves of one JSON text; only those are looked at that are known to hold some."""

    redactor: Redactor
    dirty: set[str]

    def redact(self, text: str) -> str:
        value = _parsed(text)
        try:
            cleaned = self._value(value)
        except RecursionError:
            return str(self.redactor.texts(pl.Series("text", [text], dtype=pl.String))[0])
        return cleaned if value is text else json.dumps(cleaned, ensure_ascii=False)

    def _value(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self._text(name): self._value(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self._value(item) for item in value]
        if isinstance(value, str):
            return self._text(value)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return self._text(str(value)) if is_number and str(value) in self.dirty else value

    def _text(self, text: str) -> str:
        if text not in self.dirty:
            return text
        return str(self.redactor.texts(pl.Series("text", [text], dtype=pl.String))[0])


def _parsed(text: str) -> Any:
    """The value of a JSON text, or the text itself where it is none, or nested too deep to be looked through."""
    try:
        value = json.loads(text)
        deque(_leaves(value), maxlen=0)
        return value
    except (ValueError, RecursionError):
        return text


def _leaves(value: Any) -> Iterator[str]:
    """Keys, strings and numbers, as texts."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield str(value)


def _replaced(texts: pl.Series, finds: pl.DataFrame) -> tuple[pl.Series, list[str]]:
    """The numbers of the texts with finds, and these texts with marks."""
    rows = finds["row"].unique(maintain_order=True)
    cuts: dict[int, list[tuple[str, int, int]]] = {}
    for row, kind, start, end in finds.iter_rows():
        cuts.setdefault(row, []).append((kind, start, end))
    pairs = zip(texts.gather(rows).to_list(), cuts.values(), strict=True)
    return rows, [_with_marks(text, found) for text, found in pairs]


def _with_marks(text: str, finds: Sequence[tuple[str, int, int]]) -> str:
    parts: list[str] = []
    last = 0
    for kind, start, end in finds:
        parts += [text[last:start], f"[{kind.upper()}]"]
        last = end
    return "".join((*parts, text[last:]))
