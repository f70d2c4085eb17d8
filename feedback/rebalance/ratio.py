"""The arithmetic of R = lambda_D n_D / (lambda_U n_U): how many rows to keep and which weights to give. No tables.

n_D and n_U count each row with its own weight, 1 for most. Everything is computed in fractions, so an edge like 4/3 is
met exactly and no rounding decides about a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from feedback.config import RebalanceConfig
from schemas.errors import ConfigError, OneLabelError, RatioUnreachableError

__all__ = ["Masses", "RatioPlan", "count_ratio", "exact_fraction", "parse_ratio_range", "plan_ratio"]

Masses = Callable[[int], Fraction]
"""The sum of the weights of the first so many rows of a label, in the order in which rows are kept."""

_LARGEST_DENOMINATOR: Final = 1_000_000
_DECIMALS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class RatioPlan:
    """How many rows of each label stay, their weights, and the range that was wanted.

    Args:
        desirable: desirable rows that stay.
        undesirable: undesirable rows that stay.
        desirable_mass: the sum of their weights before lambda_D, n_D; the same number where all are 1.
        undesirable_mass: the sum of their weights before lambda_U, n_U.
        desirable_weight: lambda_D.
        undesirable_weight: lambda_U.
        low: least R wanted.
        high: largest R wanted.
    """

    desirable: int
    undesirable: int
    desirable_mass: Fraction
    undesirable_mass: Fraction
    desirable_weight: Fraction
    undesirable_weight: Fraction
    low: Fraction
    high: Fraction

    @property
    def value(self) -> Fraction | None:
        """R, or None where there is no undesirable row."""
        if not self.undesirable:
            return None
        up, down = _sides(self)
        return up / down


def parse_ratio_range(text: str) -> tuple[float, float]:
    """The range that `LOW:HIGH` stands for; a single number is a target, a range of one point.

    >>> parse_ratio_range("1:1.33"), parse_ratio_range("1.2"), parse_ratio_range("1:4/3") == (1.0, 4 / 3)
    ((1.0, 1.33), (1.2, 1.2), True)

    Raises:
        ConfigError: the text is not one or two positive numbers in ascending order.
    """
    parts = text.split(":")
    try:
        numbers = [float(Fraction(part.strip())) for part in parts]
    except (ValueError, ZeroDivisionError, OverflowError):
        numbers = []
    if len(numbers) not in (1, 2) or numbers[0] <= 0 or numbers[0] > numbers[-1]:
        raise ConfigError(
            "a ratio is not LOW:HIGH",
            received=text,
            expected="two positive numbers in ascending order such as 1:1.33, or one such as 1.2",
        )
    return numbers[0], numbers[-1]


def count_ratio(
    desirable: int, undesirable: int, config: RebalanceConfig, masses: tuple[Masses, Masses] = (Fraction, Fraction)
) -> RatioPlan:
    """The plan that leaves everything as it is.

    Args:
        desirable: desirable rows of the train split.
        undesirable: undesirable rows of the train split.
        config: the range and the weights.
        masses: of desirable and of undesirable rows; the rows' number where every weight is 1.
    """
    return RatioPlan(
        desirable,
        undesirable,
        masses[0](desirable),
        masses[1](undesirable),
        exact_fraction(config.desirable_weight),
        exact_fraction(config.undesirable_weight),
        exact_fraction(config.low),
        exact_fraction(config.high),
    )


def plan_ratio(
    desirable: int, undesirable: int, config: RebalanceConfig, masses: tuple[Masses, Masses] = (Fraction, Fraction)
) -> RatioPlan:
    """The plan that loses the fewest rows: R goes to the nearest edge of its range.

    Args:
        desirable: desirable rows of the train split.
        undesirable: undesirable rows of the train split.
        config: the range, the weights and the mode.
        masses: of desirable and of undesirable rows; the rows' number where every weight is 1.

    Raises:
        OneLabelError: one of the labels has no row.
        RatioUnreachableError: no whole number of rows gives an R in the range.
    """
    plan = count_ratio(desirable, undesirable, config, masses)
    if config.mode == "off":
        return plan
    if not desirable or not undesirable:
        raise OneLabelError(
            f"{desirable:,} desirable and {undesirable:,} undesirable rows in the train split",
            expected="rows of both labels",
            todo="Add a source that has the missing label, or hold out less",
        )
    if config.mode == "reweight":
        return _with_reached_target(_reweight(plan))
    keep_share = exact_fraction(config.min_keep_share) if config.mode == "both" else Fraction(0)
    smaller, is_reached = _downsample(plan, masses, keep_share)
    if not is_reached and config.mode == "downsample":
        raise _unreachable(plan, smaller, masses)
    return _with_reached_target(smaller if is_reached else _reweight(smaller))


def exact_fraction(value: float) -> Fraction:
    """The simple fraction that a float was meant as.

    >>> exact_fraction(4 / 3), Fraction(4 / 3)
    (Fraction(4, 3), Fraction(6004799503160661, 4503599627370496))
    """
    exact = Fraction(value)
    simple = exact.limit_denominator(_LARGEST_DENOMINATOR)
    return simple if abs(simple - exact) <= exact * Fraction(1, 10**14) else Fraction(repr(value))


def _sides(plan: RatioPlan) -> tuple[Fraction, Fraction]:
    """lambda_D n_D and lambda_U n_U: products are compared, so that nothing is divided by 0."""
    return plan.desirable_weight * plan.desirable_mass, plan.undesirable_weight * plan.undesirable_mass


def _downsample(plan: RatioPlan, masses: tuple[Masses, Masses], keep_share: Fraction) -> tuple[RatioPlan, bool]:
    """`plan` with fewer rows of the label that is too many, and whether that is enough; at least `keep_share` stay."""
    up, down = _sides(plan)
    if up > plan.high * down:
        wanted = _most(masses[0], plan.desirable, plan.high * down / plan.desirable_weight)
        if plan.desirable_weight * masses[0](wanted) < plan.low * down:
            wanted += 1  # A target is met from above; a range too narrow for whole rows is jumped over.
        count = max(wanted, math.ceil(keep_share * plan.desirable))
        smaller = _with_desirable(plan, count, masses)
    elif up < plan.low * down:
        wanted = _most(masses[1], plan.undesirable, up / (plan.low * plan.undesirable_weight))
        count = max(wanted, math.ceil(keep_share * plan.undesirable))
        smaller = _with_undesirable(plan, count, masses)
    else:
        return plan, True
    is_target = plan.low == plan.high
    return smaller, count == wanted and count > 0 and (is_target or _is_in_range(smaller))


def _most(mass: Masses, count: int, limit: Fraction) -> int:
    """The largest number of rows, of `count`, whose mass is at most `limit`."""
    if mass is Fraction:
        return min(count, math.floor(limit))
    low, high = 0, count
    below, above = Fraction(0), mass(count)
    if above <= limit:
        return count
    turn = 0
    while high - low > 1:
        turn += 1
        # Mass is nearly proportional to rows, so the straight line finds the place; halving bounds the worst case.
        guess = (
            (low + high) // 2 if turn % 4 == 0 else low + math.floor((limit - below) / (above - below) * (high - low))
        )
        guess = min(max(guess, low + 1), high - 1)
        found = mass(guess)
        if found <= limit:
            low, below = guess, found
        else:
            high, above = guess, found
    return low


def _with_desirable(plan: RatioPlan, count: int, masses: tuple[Masses, Masses]) -> RatioPlan:
    return replace(plan, desirable=count, desirable_mass=masses[0](count))


def _with_undesirable(plan: RatioPlan, count: int, masses: tuple[Masses, Masses]) -> RatioPlan:
    return replace(plan, undesirable=count, undesirable_mass=masses[1](count))


def _reweight(plan: RatioPlan) -> RatioPlan:
    """`plan` with the weight of the label that is too few raised; no weight is ever lowered.

    The weight has six decimals where that keeps R in the range, so that rows written with it have exactly this R.
    """
    up, down = _sides(plan)
    if up > plan.high * down:
        exact = plan.undesirable_weight * up / (plan.high * down)
        # A target is met from above.
        digits = math.floor(exact * _DECIMALS) if plan.low == plan.high else math.ceil(exact * _DECIMALS)
        rounded = replace(plan, undesirable_weight=Fraction(digits, _DECIMALS)) if digits else plan
        return rounded if _is_near(rounded) else replace(plan, undesirable_weight=exact)
    if up < plan.low * down:
        exact = plan.desirable_weight * plan.low * down / up
        rounded = replace(plan, desirable_weight=Fraction(math.ceil(exact * _DECIMALS), _DECIMALS))
        return rounded if _is_near(rounded) else replace(plan, desirable_weight=exact)
    return plan


def _is_near(plan: RatioPlan) -> bool:
    """Whether R lies in the range, or above a target by no more than six decimals of a weight may make it."""
    up, down = _sides(plan)
    high = plan.high * (1 + Fraction(1, _DECIMALS)) if plan.low == plan.high else plan.high
    return plan.low * down <= up <= high * down


def _is_in_range(plan: RatioPlan) -> bool:
    up, down = _sides(plan)
    return plan.low * down <= up <= plan.high * down


def _unreachable(plan: RatioPlan, smaller: RatioPlan, masses: tuple[Masses, Masses]) -> RatioUnreachableError:
    """The refusal of a range that whole rows step over."""
    weights = f"weights {float(plan.desirable_weight):.6g} and {float(plan.undesirable_weight):.6g}"
    return RatioUnreachableError(
        f"no number of rows to leave out brings R into [{float(plan.low):.6g}, {float(plan.high):.6g}]",
        where=f"train split with {plan.desirable:,} desirable and {plan.undesirable:,} undesirable rows, {weights}",
        expected=f"an R that whole rows can make; the nearest are {_neighbours(plan, smaller, masses)}",
        todo="Widen the range (--ratio LOW:HIGH) to take in one of them, use --mode reweight, or add rows",
    )


def _neighbours(plan: RatioPlan, smaller: RatioPlan, masses: tuple[Masses, Masses]) -> str:
    """The ratios on both sides of the range, each with the rows that make it."""
    if smaller.desirable < plan.desirable:
        around = [_with_desirable(smaller, smaller.desirable - less, masses) for less in (1, 0)]
    else:
        around = [_with_undesirable(smaller, smaller.undesirable + more, masses) for more in (1, 0)]
    texts = [
        f"{float(near.value):.6g} ({near.desirable:,} desirable, {near.undesirable:,} undesirable)"
        for near in around
        if near.value
    ]
    return " and ".join(texts)


def _with_reached_target(plan: RatioPlan) -> RatioPlan:
    """`plan`, its range widened to the R reached where a single number was wanted."""
    ratio = plan.value
    return replace(plan, high=ratio) if plan.low == plan.high and ratio and ratio > plan.high else plan
