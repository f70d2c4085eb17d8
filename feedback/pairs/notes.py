"""What the stage `pairs` says of itself, from the figures of all its parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from feedback.stage import counted

__all__ = ["pair_notes"]


def pair_notes(figures: Mapping[str, Any]) -> Iterator[str]:
    """A sentence on each kind of pair that there is, and on the comparisons that became none.

    Args:
        figures: those of the report, summed where there are several parts.
    """
    if figures["compared"]:
        yield f"{counted(figures['compared'], 'pair')} of answers that were compared side by side."
    if figures["siblings"]:
        yield (
            f"{counted(figures['siblings'], 'pair')} of answers to one prompt, one up and one down, in the order of "
            "their ids: the raters did not compare them side by side."
        )
    if figures["copies"]:
        yield f"{counted(figures['copies'], 'comparison')} left out as the same record read again."
    if figures["repeated"]:
        yield (
            f"{counted(figures['repeated'], 'comparison')} left out as of the same answers as another one, or nearly "
            "so: the pair is there once."
        )
    if figures["broken"]:
        yield (
            f"{counted(figures['broken'], 'comparison')} left out since an answer was left out by an earlier stage, or "
            "carries the other label."
        )
