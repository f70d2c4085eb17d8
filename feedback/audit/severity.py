"""When a gate warns: enough cases, out of range, and where an effect has a zero, more than chance makes of it."""

from __future__ import annotations

from typing import Final

from feedback.audit.config import AuditConfig
from feedback.audit.report import Severity
from feedback.audit.statistics import p_of_interval

__all__ = ["MAX_P", "judged", "warn_if", "warn_outside"]

MAX_P: Final = 0.01
"""Least sure p at which a gate still warns of an effect."""


def warn_if(is_broken: bool, cases: int, config: AuditConfig) -> Severity:
    """`warn` or `ok`, and `info` where there are too few cases to say.

    Args:
        is_broken: whether the threshold is passed.
        cases: what the number rests on; for two groups, the smaller one.
        config: `min_rows`.
    """
    return judged(is_broken, cases, config.min_rows)


def judged(is_broken: bool, cases: int, least: int) -> Severity:
    """As `warn_if`, where another number of cases is enough.

    Args:
        is_broken: whether the threshold is passed.
        cases: what the number rests on.
        least: cases below which nothing is said.
    """
    if cases < least:
        return "info"
    return "warn" if is_broken else "ok"


def warn_outside(
    value: float,
    wanted: tuple[float, float],
    interval: tuple[float, float],
    cases: int,
    config: AuditConfig,
) -> Severity:
    """`warn` where `value` lies outside of the wanted range and is no chance: the p of no effect is below 0.01.

    A large value of few cases alone would warn of chance, and a tiny effect of many cases of nothing that matters. An
    interval of 95% that does not hold the value of no effect is not enough: of twenty sound inputs one has that.

    Args:
        value: what was measured, one half where there is no effect.
        wanted: the range that is in order, ends included.
        interval: the 95% interval of `value`.
        cases: what it rests on.
        config: `min_rows`.
    """
    is_outside = not wanted[0] <= value <= wanted[1]
    is_chance = p_of_interval(value - 0.5, (interval[0] - 0.5, interval[1] - 0.5)) >= MAX_P
    return warn_if(is_outside and not is_chance, cases, config)
