"""Scored and ranked answers to one prompt: which of them is preferred, and which stand against each other.

levels, best first ─┬─ extremes     the best against the worst: no answer wins and loses
                    └─ neighbours   each against the next: all but the first and the last win once and lose once
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise, product
from types import MappingProxyType
from typing import Final, TypeVar

__all__ = ["RANKED_PAIRS", "levels_of", "pairs_of_levels", "preferred"]

Answer = TypeVar("Answer")
_Chooser = Callable[[Sequence[object]], Iterable[tuple[int, int]]]


def preferred(score_a: float, score_b: float) -> str:
    """The outcome of two scores of which the higher one is better; equal scores are a tie.

    >>> preferred(2, 1), preferred(1, 2), preferred(1, 1)
    ('a', 'b', 'tie')
    """
    if score_a == score_b:
        return "tie"
    return "a" if score_a > score_b else "b"


def levels_of(ranked: Iterable[tuple[float, Answer]]) -> list[list[Answer]]:
    """Answers by their rank, the lowest number first; those of one rank keep their order.

    >>> levels_of([(1, "x"), (0, "y"), (1, "z")])
    [['y'], ['x', 'z']]
    """
    levels: dict[float, list[Answer]] = {}
    for rank, answer in ranked:
        levels.setdefault(rank, []).append(answer)
    return [levels[rank] for rank in sorted(levels)]


def pairs_of_levels(levels: Sequence[Sequence[Answer]], ranking: str) -> Iterator[tuple[Answer, Answer]]:
    """Better and worse answers that stand against each other; those of one level never do.

    >>> list(pairs_of_levels([["a"], ["b"], ["c"]], "neighbours"))
    [('a', 'b'), ('b', 'c')]

    Args:
        levels: answers, the best level first.
        ranking: `extremes` or `neighbours`.
    """
    for better, worse in RANKED_PAIRS[ranking](levels):
        yield from product(levels[better], levels[worse])


def _extremes(levels: Sequence[object]) -> Iterable[tuple[int, int]]:
    return [(0, len(levels) - 1)] if len(levels) > 1 else []


def _neighbours(levels: Sequence[object]) -> Iterable[tuple[int, int]]:
    return pairwise(range(len(levels)))


RANKED_PAIRS: Final[Mapping[str, _Chooser]] = MappingProxyType({"extremes": _extremes, "neighbours": _neighbours})
"""Which levels stand against each other, by the value of the setting `ranking`."""
