"""The lambda that brings R into its range, in decimals that can be typed in and are in range themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Context
from fractions import Fraction
from typing import Final

from feedback.audit.config import AuditConfig
from feedback.rebalance.ratio import RatioPlan, exact_fraction

__all__ = ["LambdaRange", "lambda_range", "shown_lambda"]

_FEWEST_DECIMALS: Final = 2
_DIGITS: Final = 12
"""Of a lambda as it is shown: more than the six decimals that `rebalance` gives a weight."""


@dataclass(frozen=True, slots=True)
class LambdaRange:
    """Values of the raised lambda with which R is in its range.

    Args:
        symbol: `lambda_D` or `lambda_U`.
        least: the smallest one, rounded up.
        most: the largest one, rounded down; equal to `least` where R shall be one number.
        ratio: R with `least`.
        taken: what `rebalance` takes.
    """

    symbol: str
    least: Fraction
    most: Fraction
    ratio: Fraction
    taken: Fraction


def lambda_range(plan: RatioPlan, config: AuditConfig) -> LambdaRange | None:
    """The values of the lambda that `plan` raises; null where it raises none.

    Args:
        plan: made by weight alone.
        config: the range of R, and the lambdas before.
    """
    up, down = (exact_fraction(weight) for weight in (config.desirable_weight, config.undesirable_weight))
    low, high = exact_fraction(config.low), exact_fraction(config.high)
    rows = plan.desirable_mass / plan.undesirable_mass
    if plan.desirable_weight > up:
        symbol, taken, ends = "lambda_D", plan.desirable_weight, (low * down / rows, high * down / rows)
    elif plan.undesirable_weight > down:
        symbol, taken, ends = "lambda_U", plan.undesirable_weight, (up * rows / high, up * rows / low)
    else:
        return None
    least, most = (taken, taken) if low == high else _inward(*ends)
    ratio = least * rows / down if symbol == "lambda_D" else up * rows / least
    return LambdaRange(symbol, least, most, ratio, taken)


def shown_lambda(value: Fraction) -> str:
    """A lambda with all its digits.

    >>> shown_lambda(Fraction("4.25")), shown_lambda(Fraction(5)), shown_lambda(Fraction("1.00375"))
    ('4.25', '5', '1.00375')
    """
    text = f"{Context(prec=_DIGITS).divide(value.numerator, value.denominator):,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _inward(least: Fraction, most: Fraction) -> tuple[Fraction, Fraction]:
    """Both ends rounded into the range, to the fewest decimals that leave one."""
    scale = 10**_FEWEST_DECIMALS
    while (lowest := math.ceil(least * scale)) >= (highest := math.floor(most * scale)):
        scale *= 10
    return Fraction(lowest, scale), Fraction(highest, scale)
