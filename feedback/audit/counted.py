"""A share that was counted, as a metric with its interval: so that value, n and interval are always of one count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from feedback.audit.report import Metric, Severity
from feedback.audit.statistics import wilson_interval

__all__ = ["counted_share"]


def counted_share(
    *,
    name: str,
    title: str,
    cases: int,
    n: int,
    sentence: str,
    severity: Severity = "info",
    threshold: str = "",
    details: Mapping[str, Any] | None = None,
) -> Metric:
    """The metric of the share `cases` / `n` with its Wilson 95% interval.

    Args:
        name: the metric's name.
        title: its name in words.
        cases: cases that have the property, from 0 to n.
        n: all cases, at least 1.
        sentence: what it means, in plain words.
        severity: `info` where nothing is judged.
        threshold: what it is compared with, in words; empty where it is no gate.
        details: further numbers.

    >>> counted_share(name="m", title="M", cases=8, n=10, sentence="Eight of ten.").value
    0.8
    """
    low, high = wilson_interval(cases, n)
    return Metric(name, title, cases / n, "share", n, severity, sentence, low, high, threshold, details or {})
