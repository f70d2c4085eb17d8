"""When a gate warns: enough cases, out of range, and where an effect has a zero, more than chance makes of it."""

from __future__ import annotations

from feedback.audit.config import AuditConfig
from feedback.audit.report import Severity

__all__ = ["warn_if", "warn_outside"]


def warn_if(is_broken: bool, cases: int, config: AuditConfig) -> Severity:
    """`warn` or `ok`, and `info` where there are too few cases to say.

    Args:
        is_broken: whether the threshold is passed.
        cases: what the number rests on; for two groups, the smaller one.
        config: `min_rows`.
    """
    if cases < config.min_rows:
        return "info"
    return "warn" if is_broken else "ok"


def warn_outside(
    value: float,
    wanted: tuple[float, float],
    interval: tuple[float, float],
    cases: int,
    config: AuditConfig,
    *,
    none: float = 0.5,
) -> Severity:
    """`warn` where `value` lies outside of the wanted range and its interval does not hold the value of no effect.

    A large value of few cases alone would warn of chance, and a tiny effect of many cases of nothing that matters.

    Args:
        value: what was measured.
        wanted: the range that is in order, ends included.
        interval: the 95% interval of `value`.
        cases: what it rests on.
        config: `min_rows`.
        none: the value where there is no effect.
    """
    is_outside = not wanted[0] <= value <= wanted[1]
    is_chance = interval[0] <= none <= interval[1]
    return warn_if(is_outside and not is_chance, cases, config)
