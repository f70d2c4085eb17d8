"""What a kind of personal data looks like: a quick look that lets most texts pass, and the proof for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feedback.personal.signs import SignCounts

__all__ = ["Pattern", "Span"]

Span = tuple[int, int]
"""Where a find begins and ends in its text, in characters; the end is not part of it."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of personal data.

    Args:
        kind: its name, in lower case; `[KIND]` stands where it was cut out.
        title: its name in words, in the plural.
        hint: regular expression in the syntax of Rust that every text with a find matches, and few others do.
        spans: the finds in one text, in order; what only looks alike is left out here.
        may_match: which texts can match the hint at all, by the signs that they have; null where any may. Expressions
            that look for digits read every byte of every text, and most texts have too few digits for any of them.
    """

    kind: str
    title: str
    hint: str
    spans: Callable[[str], Iterable[Span]]
    may_match: Callable[[SignCounts], NDArray[np.bool_]] | None = None

    @property
    def mark(self) -> str:
        """What stands in the place of a find. No pattern finds anything in it."""
        return f"[{self.kind.upper()}]"
