"""Statistics of counts, pure functions of numbers: the interval of a share, that of an AUC, and inequality.

scipy is loaded by the functions that need it, so that who only imports the audit does not wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

__all__ = ["auc_interval", "gini", "wilson_interval"]

_Z: Final = 1.959963984540054
"""The 97.5% point of the normal distribution, so that intervals are of 95%."""
_NEARLY_ONE: Final = 1 - 1e-12


def wilson_interval(count: int, n: int) -> tuple[float, float]:
    """The Wilson 95% interval of the share count / n.

    Args:
        count: cases that have the property, from 0 to n.
        n: all cases, at least 1.

    Returns:
        Lower and upper bound, both in [0, 1].

    Source: Wilson 1927; the score interval without continuity correction, by scipy.

    >>> [round(bound, 4) for bound in wilson_interval(8, 10)]
    [0.4902, 0.9433]
    """
    from scipy.stats import binomtest

    interval = binomtest(count, n).proportion_ci(method="wilson")
    # At 0 and n the bound is exactly 0 or 1; rounding of floats would leave it a hair beside.
    return (0.0 if count == 0 else float(interval.low)), (1.0 if count == n else float(interval.high))


def auc_interval(auc: float, positive: int, negative: int) -> tuple[float, float]:
    """The 95% interval of an area under the ROC curve, that holds up at 0 and at 1 too.

    The bounds are the areas A at which the observed one lies 1.96 standard errors away, with the variance
    A (1 - A) (1 + N ((1 - A) / (2 - A) + A / (1 + A))) / (m n), N = (m + n) / 2 - 1. At A = 1/2 it is that of the test
    of Mann and Whitney without ties; ties only make it smaller.

    Args:
        auc: the area, in [0, 1].
        positive: cases of the positive kind, m, at least 1.
        negative: cases of the negative kind, n, at least 1.

    Returns:
        Lower and upper bound, both in [0, 1].

    Source: Newcombe 2006, Statistics in Medicine 25:559, method 5, after Hanley and McNeil 1982.

    >>> [round(bound, 3) for bound in auc_interval(0.5, 50, 50)], auc_interval(1.0, 20, 20)[1]
    ([0.39, 0.61], 1.0)
    """
    return _lower_bound(auc, positive, negative), 1 - _lower_bound(1 - auc, positive, negative)


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


def _lower_bound(auc: float, positive: int, negative: int) -> float:
    """The area below `auc` at which `auc` lies at the edge; the upper bound mirrors it, as the variance does."""
    from scipy.optimize import brentq

    if auc <= 0:
        return 0.0

    def beyond(area: float) -> float:
        return (auc - area) ** 2 - _Z**2 * _variance(area, positive, negative)

    return float(brentq(beyond, 0.0, min(auc, _NEARLY_ONE), xtol=1e-12))


def _variance(area: float, positive: int, negative: int) -> float:
    pairs = (positive + negative) / 2 - 1
    shared = 1 + pairs * ((1 - area) / (2 - area) + area / (1 + area))
    return math.prod((area, 1 - area, shared)) / (positive * negative)
