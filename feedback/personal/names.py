"""Names of people: found only by a model that the user brings, since no pattern tells a name from a word."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from feedback.personal.pattern import Pattern, Span

__all__ = ["NAME", "NameFinder", "presidio_names"]

NameFinder = Callable[[Sequence[str]], Iterator[Sequence[Span]]]
"""Takes texts and gives, for each in order, the spans of its names."""


def _no_spans(text: str) -> tuple[Span, ...]:
    del text
    return ()


NAME: Final = Pattern("name", "names", "", _no_spans)


def presidio_names(analyzer: Any, *, language: str = "en", min_score: float = 0.5) -> NameFinder:
    """Names as an analyzer of Presidio finds them (extra `pii`; its model for the language is yours to install).

    Args:
        analyzer: a `presidio_analyzer.AnalyzerEngine`.
        language: language of the texts, a code that the analyzer knows.
        min_score: least score of a find, in [0, 1].
    """

    def find(texts: Sequence[str]) -> Iterator[Sequence[Span]]:
        """Where names stand in each text."""
        for text in texts:
            found = analyzer.analyze(text=text, language=language, entities=["PERSON"], score_threshold=min_score)
            yield sorted((one.start, one.end) for one in found)

    return find
