"""Texts with a mark in the place of personal data, and how many of each kind were replaced."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
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
        # Escapes of JSON hide what they stand for, so every text is taken apart; few differ.
        clean: dict[str, str] = {}
        for text, rows in texts.drop_nulls().value_counts(name="rows", sort=True).iter_rows():
            one = Redactor(self.phone_regions, self.names)
            clean[text] = one._json(text)
            self.counts.update({kind: finds * rows for kind, finds in one.counts.items()})
        return texts.replace_strict(clean, default=None, return_dtype=pl.String) if clean else texts

    def _json(self, text: str) -> str:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return self._text(text)
        cleaned = self._value(value)
        return text if cleaned == value else json.dumps(cleaned, ensure_ascii=False)

    def _value(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self._text(name): self._value(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self._value(item) for item in value]
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            plain = str(value)
            cleaned = self._text(plain)
            return value if cleaned == plain else cleaned
        return value

    def _text(self, text: str) -> str:
        return str(self.texts(pl.Series("text", [text], dtype=pl.String))[0])


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
