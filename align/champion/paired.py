"""Two models measured on the same cases: the difference, and the interval in which it lies.

    paired_mean    a number of each case: the mean difference, with a variance over groups of cases (t with G - 1)
    paired_share   yes or no of each case: the difference of shares
    paired_auc     scores of desirable and undesirable cases: the difference of the areas under the ROC curve

Cases of one group (answers to nearly the same prompt) are not independent, so variances are over groups. Letters: N
cases, G groups. All is arithmetic on numbers: nothing is drawn by chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import InputError, ShapeError

__all__ = ["Difference", "paired_auc", "paired_mean", "paired_share"]

Floats = NDArray[np.float64]

_LEVEL: Final = 0.95
_PSEUDO: Final = 0.5  # cases added to each of the four cells of a paired table


@dataclass(frozen=True, slots=True)
class Difference:
    """What was measured of both models, and how far apart they are.

    Args:
        before: the number of the first model.
        after: the number of the second.
        value: after - before.
        low: lower end of the 95% interval of `value`; minus infinity where nothing can be said.
        high: upper end; infinity where nothing can be said.
        cases: cases that both were measured on.
        groups: groups of them.
    """

    before: float
    after: float
    value: float
    low: float
    high: float
    cases: int
    groups: int

    def to_dict(self) -> dict[str, Any]:
        """JSON values; an end that is infinite is null."""
        ends = {name: end if math.isfinite(end) else None for name, end in (("low", self.low), ("high", self.high))}
        numbers = {"before": self.before, "after": self.after, "value": self.value}
        return {**numbers, **ends, "cases": self.cases, "groups": self.groups}


def paired_mean(before: Sequence[float], after: Sequence[float], groups: Sequence[object]) -> Difference:
    """The difference of the means, with an interval over groups.

    Args:
        before: number of each case under the first model. [N].
        after: the same under the second. [N].
        groups: group of each case. [N].

    Raises:
        ShapeError: the inputs differ in length, or are empty.
        InputError: a number is NaN.

    Source: Liang and Zeger 1986 (variance over clusters), with the factor G / (G - 1) and the t distribution.
    """
    first, second, codes, count = _checked(before, after, groups)
    differences = second - first
    value = float(differences.mean())
    sums = np.bincount(codes, weights=differences - value, minlength=count)
    variance = count / (count - 1) * float((sums**2).sum()) / len(differences) ** 2 if count > 1 else math.inf
    return _difference(float(first.mean()), float(second.mean()), value, variance, len(differences), count)


def paired_share(before: Sequence[bool], after: Sequence[bool]) -> Difference:
    """The difference of two shares of the same cases, each case a group of its own.

    Half a case is added to each cell of the table of both, so that no difference at all among few cases is not taken
    for certainty. `value` is the plain difference.

    Args:
        before: whether it was so under the first model. [N].
        after: whether it was so under the second. [N].

    Raises:
        ShapeError: the inputs differ in length, or are empty.

    Source: Agresti and Min 2005, Simple improved confidence intervals for comparing matched proportions.
    """
    first, second, _, cases = _checked(before, after, range(len(before)))
    won = float(((second == 1) & (first == 0)).sum()) + _PSEUDO
    lost = float(((second == 0) & (first == 1)).sum()) + _PSEUDO
    total = cases + 4 * _PSEUDO
    middle = (won - lost) / total
    half = _quantile(None) * math.sqrt(won + lost - (won - lost) ** 2 / total) / total
    value = float(second.mean() - first.mean())
    return Difference(
        before=float(first.mean()),
        after=float(second.mean()),
        value=value,
        low=max(-1.0, min(middle - half, value)),
        high=min(1.0, max(middle + half, value)),
        cases=cases,
        groups=cases,
    )


def paired_auc(
    before: Sequence[float], after: Sequence[float], labels: Sequence[bool], groups: Sequence[object]
) -> Difference:
    """The difference of the areas under the ROC curve, ties being half, with an interval over groups.

    Few groups of which none moved are no certainty: the variance is at least what it is after half a group has moved
    all the way up and half a one down, as in `paired_share`, except where all scores are the same.

    Args:
        before: score of each case under the first model. [N].
        after: the same under the second. [N].
        labels: True where desirable; both kinds are there. [N].
        groups: group of each case. [N].

    Raises:
        ShapeError: the inputs differ in length, or one kind is missing.
        InputError: a score is NaN.

    Source: Obuchowski 1997, Nonparametric analysis of clustered ROC curve data. With groups of one case each it is
    DeLong et al. 1988. Differs from it: the t distribution with G - 1 degrees of freedom instead of the normal, and
    the least variance, which is of Agresti and Min 2005.
    """
    first, second, codes, count = _checked(before, after, groups)
    is_up = np.asarray(labels, dtype=bool)
    if len(is_up) != len(first) or is_up.all() or not is_up.any():
        raise ShapeError("desirable and undesirable cases are needed", where="paired_auc", received=len(is_up))
    old, new = _placements(first, is_up), _placements(second, is_up)
    areas = float(old[is_up].mean()), float(new[is_up].mean())
    value, moved = areas[1] - areas[0], new - old
    variance = _clustered_variance(moved, value, is_up, codes, count)
    if not np.array_equal(first, second):
        variance = max(variance, _least_variance(value, [codes[is_up], codes[~is_up]]))
    found = _difference(*areas, value, variance, len(first), count)
    return replace(found, low=max(-1.0, found.low), high=min(1.0, found.high))  # areas differ by no more


def _placements(scores: Floats, is_up: NDArray[np.bool_]) -> Floats:
    """For each desirable case the share of undesirable ones below it, for each undesirable one that of desirable above.

    [N], ties half.
    """
    ups, downs = np.sort(scores[is_up]), np.sort(scores[~is_up])
    placed = np.empty(len(scores))
    mine = scores[is_up]
    below = np.searchsorted(downs, mine, "left") + np.searchsorted(downs, mine, "right")
    placed[is_up] = below / (2 * len(downs))
    mine = scores[~is_up]
    not_above = np.searchsorted(ups, mine, "left") + np.searchsorted(ups, mine, "right")
    placed[~is_up] = 1 - not_above / (2 * len(ups))
    return placed


def _clustered_variance(
    moved: Floats, value: float, is_up: NDArray[np.bool_], codes: NDArray[np.int64], count: int
) -> float:
    """Variance of the difference of areas, from how far each case's placement moved."""
    if count < 2:
        return math.inf
    ups, downs = int(is_up.sum()), int((~is_up).sum())
    of_ups, of_downs = (
        np.bincount(codes[mask], weights=moved[mask] - value, minlength=count) for mask in (is_up, ~is_up)
    )
    with_ups, with_downs = (len(np.unique(codes[mask])) for mask in (is_up, ~is_up))
    if with_ups < 2 or with_downs < 2:
        return math.inf
    s10 = with_ups / ((with_ups - 1) * ups) * float((of_ups**2).sum())
    s01 = with_downs / ((with_downs - 1) * downs) * float((of_downs**2).sum())
    s11 = count / (count - 1) * float((of_ups * of_downs).sum())
    return max(0.0, s10 / ups + s01 / downs + 2 * s11 / (ups * downs))


def _least_variance(value: float, codes: Sequence[NDArray[np.int64]]) -> float:
    """What half a group of each kind leaves that moved up by 1, half a one that moved down, and one that did not.

    With G groups of one size whose placements all moved by `value`, and these two more, the squares sum to
    1 + 2 value^2, and the variance of their mean is that over (G + 1) (G + 2).
    """
    groups = [len(np.unique(each)) for each in codes]
    return sum((2 * _PSEUDO + 2 * value**2) / ((count + 1) * (count + 2)) for count in groups)


def _checked(
    before: Sequence[float], after: Sequence[float], groups: Sequence[object]
) -> tuple[Floats, Floats, NDArray[np.int64], int]:
    """Both columns, the number of each case's group, and how many groups there are."""
    if not len(before) == len(after) == len(groups) or not len(before):
        raise ShapeError(
            "both models need a number of every case",
            received=(len(before), len(after), len(groups)),
            expected="three columns of one length, at least 1",
        )
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    codes = np.array([numbers[group] for group in groups], dtype=np.int64)
    columns = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    for name, column in zip(("before", "after"), columns, strict=True):
        if np.isnan(column).any():
            raise InputError(
                "a case has no number", where=f"{name}, case {int(np.isnan(column).argmax())}", received=math.nan
            )
    return *columns, codes, len(numbers)


def _difference(before: float, after: float, value: float, variance: float, cases: int, groups: int) -> Difference:
    half = _quantile(groups - 1) * math.sqrt(variance) if math.isfinite(variance) else math.inf
    return Difference(before, after, value, value - half, value + half, cases, groups)


def _quantile(freedom: int | None) -> float:
    """How many standard errors the interval reaches to each side; without `freedom`, of the normal distribution."""
    from scipy.stats import norm, t

    upper = 0.5 + _LEVEL / 2
    return float(norm.ppf(upper) if freedom is None else t.ppf(upper, freedom))
