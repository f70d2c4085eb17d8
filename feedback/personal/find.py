"""Personal data in a column of texts: a quick look by compiled expressions, then the proof for the few that match.

    texts ──signs, hints: whole column at once──► texts that may hold some ──spans, one by one──► finds ──► one a place

Texts are looked at one by one: what is split over two turns of a conversation is not found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
import polars as pl

from feedback.config import PHONE_REGIONS
from feedback.personal.accounts import CARD, IBAN
from feedback.personal.addresses import IP
from feedback.personal.keys import KEY
from feedback.personal.mail import EMAIL
from feedback.personal.names import NAME, NameFinder
from feedback.personal.pattern import Pattern, Span
from feedback.personal.phones import phone_pattern
from feedback.personal.signs import count_signs

__all__ = ["FINDS", "KINDS", "find_personal", "patterns_of"]

KINDS: Final = {
    pattern.kind: pattern.title for pattern in (KEY, EMAIL, IBAN, CARD, IP, phone_pattern(PHONE_REGIONS), NAME)
}
"""Every kind and its name in words. Where two finds overlap, the kind that comes first here wins."""

FINDS: Final = pl.Schema({"row": pl.UInt32(), "kind": pl.String(), "start": pl.Int64(), "end": pl.Int64()})
"""What a find is: the number of its text, its kind, and where it begins and ends, in characters."""


_FEW: Final = 1000


def patterns_of(phone_regions: Sequence[str] = PHONE_REGIONS) -> tuple[Pattern, ...]:
    """All patterns, in the order in which they win over each other.

    Args:
        phone_regions: regions whose national telephone numbers are looked for.

    Raises:
        UnknownChoiceError: a region that there is not.
    """
    return (KEY, EMAIL, IBAN, CARD, IP, phone_pattern(phone_regions))


def find_personal(
    texts: pl.Series, *, phone_regions: Sequence[str] = PHONE_REGIONS, names: NameFinder | None = None
) -> pl.DataFrame:
    """Where personal data stands in `texts`; never what it is.

    Args:
        texts: texts or nulls. [N]
        phone_regions: regions whose national telephone numbers are looked for.
        names: finds names by a model of yours; null looks for none.

    Returns:
        Rows of `FINDS`, ordered by row and start; no two of a row overlap.

    Raises:
        UnknownChoiceError: a region that there is not.
    """
    patterns = patterns_of(phone_regions)
    found: dict[int, list[tuple[str, Span]]] = {}
    for pattern, rows in zip(patterns, _rows_that_may(patterns, texts), strict=True):
        for row, value in zip(rows.to_list(), texts.gather(rows).to_list(), strict=True):
            found.setdefault(row, []).extend((pattern.kind, span) for span in pattern.spans(value))
    if names is not None:
        _add_names(found, texts, names)
    rows_of_finds = [(row, *find) for row in sorted(found) for find in _without_overlaps(found[row])]
    return pl.DataFrame(rows_of_finds, schema=FINDS, orient="row")


def _rows_that_may(patterns: Sequence[Pattern], texts: pl.Series) -> Iterator[pl.Series]:
    """For each pattern, the numbers of the texts that match its hint."""
    # A few texts are looked through sooner than the compiled loop is loaded.
    signs = count_signs(texts) if len(texts) > _FEW else None
    for pattern in patterns:
        if signs is None or pattern.may_match is None:
            yield texts.str.contains(pattern.hint).arg_true()
        else:
            rows = pl.Series(np.flatnonzero(pattern.may_match(signs)), dtype=pl.UInt32)
            yield rows.filter(texts.gather(rows).str.contains(pattern.hint))


def _add_names(found: dict[int, list[tuple[str, Span]]], texts: pl.Series, names: NameFinder) -> None:
    known = texts.is_not_null().arg_true()
    for row, spans in zip(known.to_list(), names(texts.gather(known).to_list()), strict=True):
        found.setdefault(row, []).extend((NAME.kind, span) for span in spans)


def _without_overlaps(finds: Iterable[tuple[str, Span]]) -> Iterator[tuple[str, int, int]]:
    """The finds in the order of the text; of several that overlap, the first is kept, since it is the surest."""
    kept: list[tuple[int, int, str]] = []
    for kind, (start, end) in finds:
        if start < end and all(end <= other_start or other_end <= start for other_start, other_end, _ in kept):
            kept.append((start, end, kind))
    for start, end, kind in sorted(kept):
        yield kind, start, end
