"""Statistics of counts, pure functions of numbers: intervals of a share, an AUC and a difference, and inequality.

scipy is loaded by the functions that need it, so that who only imports the audit does not wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

__all__ = [
    "auc_interval",
    "difference_interval",
    "gini",
    "p_of_interval",
    "p_of_shares",
    "wilson_interval",
]

Interval = tuple[float, float]

_Z: Final = 1.959963984540054
"""The 97.5% point of the normal distribution, so that intervals are of 95%."""
_NEARLY_ONE: Final = 1 - 1e-12
_LEAST_EXPECTED: Final = 5


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


def difference_interval(first: float, of_first: Interval, second: float, of_second: Interval) -> Interval:
    """The 95% interval of `first` - `second`, two independent estimates, from the 95% intervals of both.

    Of shares with their Wilson intervals it is Newcombe's.

    Args:
        first: the one estimate.
        of_first: its lower and upper bound.
        second: the other one.
        of_second: its lower and upper bound.

    Source: Newcombe 1998, Statistics in Medicine 17:873, method 10; Zou and Donner 2008, Statistics in Medicine
    27:1693, for estimates of any kind.

    >>> intervals = wilson_interval(56, 70), wilson_interval(48, 80)
    >>> [round(bound, 4) for bound in difference_interval(56 / 70, intervals[0], 48 / 80, intervals[1])]
    [0.0524, 0.3339]
    """
    difference = first - second
    below = math.hypot(first - of_first[0], of_second[1] - second)
    above = math.hypot(of_first[1] - first, second - of_second[0])
    return difference - below, difference + above


def p_of_interval(difference: float, interval: Interval) -> float:
    """The two-sided p of a difference of 0, from its 95% interval; on the side of 0, where that is not even.

    Args:
        difference: what was measured.
        interval: its lower and upper bound.

    Source: Altman and Bland 2011, BMJ 343:d2304.

    >>> round(p_of_interval(0.2, (0.0, 0.4)), 3), p_of_interval(0.0, (-0.1, 0.1))
    (0.05, 1.0)
    """
    from scipy.stats import norm

    reach = difference - interval[0] if difference > 0 else interval[1] - difference
    if difference == 0 or reach <= 0:
        return 1.0
    return float(2 * norm.sf(_Z * abs(difference) / reach))


def p_of_shares(first: int, of_first: int, second: int, of_second: int) -> float:
    """The two-sided p of two shares being one: chi-square, and Fisher's exact test where a count is small.

    Args:
        first: cases that have the property.
        of_first: all cases, at least 1.
        second: cases of the other group that have it.
        of_second: all cases of the other group, at least 1.

    Source: scipy's `chi2_contingency` without correction, which is the test of two proportions; Fisher's where a cell
    is expected to hold fewer than 5 (Cochran 1954).

    >>> round(p_of_shares(56, 70, 48, 80), 4), p_of_shares(3, 3, 5, 5), round(p_of_shares(0, 5, 4, 5), 4)
    (0.008, 1.0, 0.0476)
    """
    from scipy.stats import chi2_contingency, fisher_exact
    from scipy.stats.contingency import expected_freq

    table = [[first, of_first - first], [second, of_second - second]]
    if first + second in (0, of_first + of_second):
        return 1.0
    if expected_freq(table).min() < _LEAST_EXPECTED:
        return float(fisher_exact(table).pvalue)
    return float(chi2_contingency(table, correction=False).pvalue)


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
