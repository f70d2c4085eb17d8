"""The arithmetic of R = lambda_D n_D / (lambda_U n_U): how many rows to keep and which weights to give. No tables.

Everything is computed in fractions, so an edge like 4/3 is met exactly and no rounding decides about a row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from feedback.config import RebalanceConfig
from schemas.errors import ConfigError, OneLabelError, RatioUnreachableError

__all__ = ["RatioPlan", "parse_ratio_range", "plan_ratio"]

_LARGEST_DENOMINATOR: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class RatioPlan:
    """How many rows of each label stay, their weights, and the range that was wanted.

    Args:
        desirable: desirable rows that stay, n_D.
        undesirable: undesirable rows that stay, n_U.
        desirable_weight: lambda_D.
        undesirable_weight: lambda_U.
        low: least R wanted.
        high: largest R wanted.
    """

    desirable: int
    undesirable: int
    desirable_weight: Fraction
    undesirable_weight: Fraction
    low: Fraction
    high: Fraction

    @property
    def value(self) -> Fraction | None:
        """R, or None where there is no undesirable row."""
        if not self.undesirable:
            return None
        return self.desirable_weight * self.desirable / (self.undesirable_weight * self.undesirable)


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


def plan_ratio(desirable: int, undesirable: int, config: RebalanceConfig) -> RatioPlan:
    """The plan that loses the fewest rows: R goes to the nearest edge of its range.

    Args:
        desirable: desirable rows of the train split.
        undesirable: undesirable rows of the train split.
        config: the range, the weights and the mode.

    Raises:
        OneLabelError: one of the labels has no row.
        RatioUnreachableError: no whole number of rows gives an R in the range.
    """
    plan = RatioPlan(
        desirable,
        undesirable,
        _fraction(config.desirable_weight),
        _fraction(config.undesirable_weight),
        _fraction(config.low),
        _fraction(config.high),
    )
    if config.mode == "off":
        return plan
    if not desirable or not undesirable:
        raise OneLabelError(
            f"{desirable:,} desirable and {undesirable:,} undesirable rows in the train split",
            expected="rows of both labels",
            todo="Add a source that has the missing label, or hold out less",
        )
    if config.mode == "reweight":
        return _reweight(plan)
    if config.mode == "both":
        plan = _downsample(plan, keep_share=_fraction(config.min_keep_share))
        return _with_reached_target(plan if _is_reached(plan) else _reweight(plan))
    plan = _downsample(plan, keep_share=Fraction(0))
    _refuse_unreached(plan, desirable, undesirable)
    return _with_reached_target(plan)


def _sides(plan: RatioPlan) -> tuple[Fraction, Fraction]:
    """lambda_D n_D and lambda_U n_U: products are compared, so that nothing is divided by 0."""
    return plan.desirable_weight * plan.desirable, plan.undesirable_weight * plan.undesirable


def _downsample(plan: RatioPlan, *, keep_share: Fraction) -> RatioPlan:
    """`plan` with fewer rows of the label that is too many, but at least `keep_share` of them."""
    up, down = _sides(plan)
    if up > plan.high * down:
        wanted = plan.high * down / plan.desirable_weight
        fewest = math.floor(wanted)
        count = fewest if plan.desirable_weight * fewest >= plan.low * down else math.ceil(wanted)
        return replace(plan, desirable=max(count, math.ceil(keep_share * plan.desirable)))
    if up < plan.low * down:
        count = math.floor(up / (plan.low * plan.undesirable_weight))
        return replace(plan, undesirable=max(count, math.ceil(keep_share * plan.undesirable)))
    return plan


def _reweight(plan: RatioPlan) -> RatioPlan:
    """`plan` with the weight of the label that is too few raised; no weight is ever lowered."""
    up, down = _sides(plan)
    if up > plan.high * down:
        return replace(plan, undesirable_weight=plan.undesirable_weight * up / (plan.high * down))
    if up < plan.low * down:
        return replace(plan, desirable_weight=plan.desirable_weight * plan.low * down / up)
    return plan


def _is_reached(plan: RatioPlan) -> bool:
    """Whether R lies in the range, or at its one point and less than a row above."""
    up, down = _sides(plan)
    if not up or not down or up < plan.low * down:
        return False
    if plan.low < plan.high:
        return up <= plan.high * down
    return up - plan.desirable_weight < plan.low * down or up < plan.low * (down + plan.undesirable_weight)


def _refuse_unreached(plan: RatioPlan, desirable: int, undesirable: int) -> None:
    """Whether whole rows can do it.

    Raises:
        RatioUnreachableError: they cannot.
    """
    if _is_reached(plan):
        return
    weights = f"weights {float(plan.desirable_weight):.6g} and {float(plan.undesirable_weight):.6g}"
    raise RatioUnreachableError(
        f"no number of rows to leave out brings R into [{float(plan.low):.6g}, {float(plan.high):.6g}]",
        where=f"train split with {desirable:,} desirable and {undesirable:,} undesirable rows, {weights}",
        expected=f"an R that whole rows can make; the nearest are {_neighbours(plan, desirable)}",
        todo="Widen the range (--ratio LOW:HIGH) to take in one of them, use --mode reweight, or add rows",
    )


def _neighbours(plan: RatioPlan, desirable: int) -> str:
    """The ratios on both sides of the range, each with the rows that make it."""
    if plan.desirable < desirable:
        around = [replace(plan, desirable=plan.desirable - less) for less in (1, 0)]
    else:
        around = [replace(plan, undesirable=plan.undesirable + more) for more in (1, 0)]
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


def _fraction(value: float) -> Fraction:
    """The simple fraction that a float was meant as: 4/3, not 6004799503160661/4503599627370496."""
    exact = Fraction(value)
    simple = exact.limit_denominator(_LARGEST_DENOMINATOR)
    return simple if abs(simple - exact) <= exact * Fraction(1, 10**14) else Fraction(repr(value))
