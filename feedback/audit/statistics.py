"""Three statistics of counts, pure functions of numbers: an interval of a share, inequality, and a rank comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import polars as pl

__all__ = ["gini", "rank_auc", "wilson_interval"]

_Z: Final = 1.959963984540054
"""The 97.5% point of the normal distribution, so that intervals are of 95%."""


def wilson_interval(count: int, n: int) -> tuple[float, float]:
    """The Wilson 95% interval of the share count / n.

    Args:
        count: cases that have the property, from 0 to n.
        n: all cases, at least 1.

    Returns:
        Lower and upper bound, both in [0, 1].

    Source: Wilson 1927; the score interval without continuity correction.

    >>> [round(bound, 4) for bound in wilson_interval(8, 10)]
    [0.4902, 0.9433]
    """
    share = count / n
    scale = 1 + _Z**2 / n
    centre = (share + _Z**2 / (2 * n)) / scale
    half = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)) / scale
    # At 0 and n the bound is exactly 0 or 1; rounding of floats would leave it a hair beside.
    return (0.0 if count == 0 else max(0.0, centre - half)), (1.0 if count == n else min(1.0, centre + half))


def gini(counts: Sequence[int]) -> float:
    """Gini coefficient of the counts: 0 where all are equal, towards 1 where one has everything.

    Args:
        counts: how much each has, at least 0 and not all 0.

    Source: Gini 1912, as half the relative mean absolute difference.

    >>> gini([5, 5, 5]), gini([0, 0, 0, 8])
    (0.0, 0.75)
    """
    ordered = sorted(counts)
    n, total = len(ordered), sum(ordered)
    weighted = sum(rank * count for rank, count in enumerate(ordered, start=1))
    return (2 * weighted - (n + 1) * total) / (n * total)


def rank_auc(values: pl.Series, positive: pl.Series) -> float:
    """P(a positive case has the larger value), ties counted half: the area under the ROC curve.

    Args:
        values: a number for each case.
        positive: whether each case is positive; both kinds occur.

    Source: Mann and Whitney 1947, by mean ranks.

    >>> rank_auc(pl.Series([1, 2, 2, 3]), pl.Series([False, True, False, True]))
    0.875
    """
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    ranks = values.rank("average").filter(positive)
    return (float(ranks.sum()) - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)
