"""What a kind of personal data looks like: a quick look that lets most texts pass, and the proof for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

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
    """

    kind: str
    title: str
    hint: str
    spans: Callable[[str], Iterable[Span]]

    @property
    def mark(self) -> str:
        """What stands in the place of a find. No pattern finds anything in it."""
        return f"[{self.kind.upper()}]"
