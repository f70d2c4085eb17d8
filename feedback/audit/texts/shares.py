"""A share of rows as a metric with its interval and its threshold: what the claims about texts have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from feedback.audit.counted import counted_share
from feedback.audit.report import Metric
from feedback.audit.severity import judged
from feedback.audit.wording import agree, none_of, percent, plural

__all__ = ["share_metric"]


def share_metric(
    name: str,
    title: str,
    count: int,
    n: int,
    *,
    most: float,
    least_rows: int,
    claim: str,
    why: str,
    noun: str = "answer",
    details: Mapping[str, Any] | None = None,
) -> Metric:
    """The metric that says what share of rows have something, and warns above a threshold.

    Args:
        name: the metric's name.
        title: its name in words.
        count: rows that have it.
        n: rows that were looked at, at least 1.
        most: largest share that is in order, in [0, 1].
        least_rows: rows below which it warns of nothing.
        claim: what they have, as it follows "3 of 90 answers".
        why: what it does to training or to people, a sentence; shown where there are any.
        noun: what a row is called.
        details: further numbers.
    """
    share = count / n
    return counted_share(
        name=name,
        title=title,
        cases=count,
        n=n,
        severity=judged(share > most, n, least_rows),
        sentence=f"{percent(share, most)} of {plural(n, noun)} ({count:,}) {agree(n, claim)}. {why}"
        if count
        else f"{none_of(n, noun)} {agree(n, claim)}.",
        threshold=f"at most {percent(most)} of {noun}s" if most else "none",
        details={"rows": count, **(details or {})},
    )
