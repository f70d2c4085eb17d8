"""A measured difference between two inputs, and the verdict on all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from feedback.audit.compare.sides import Side
from feedback.audit.config import AuditConfig
from feedback.audit.report import Metric, Severity
from feedback.audit.severity import warn_if
from feedback.audit.wording import number

__all__ = ["Change", "adjusted", "settle", "shown_p"]

_LEAST_P: Final = 0.001


@dataclass(frozen=True, slots=True)
class Change:
    """A difference before it is judged.

    Args:
        metric: the measure; its sentence says what was measured, without a full stop.
        cases: rows of the smaller side.
        p: how often chance alone makes as much or more, in [0, 1].
        meaning: what follows where it is more than chance.
        most: the largest value of a gate; null where there is none.
    """

    metric: Metric
    cases: int
    p: float
    meaning: str
    most: float | None = None


def adjusted(p: Sequence[float]) -> list[float]:
    """Each p as the false discovery rate at which it would be called a change, in the same order.

    Args:
        p: p of every test of a family.

    Source: Benjamini and Hochberg 1995, by scipy.
    """
    from scipy.stats import false_discovery_control

    return [float(each) for each in false_discovery_control(p)] if p else []


def settle(changes: Sequence[Change], sides: tuple[Side, Side], config: AuditConfig) -> list[Metric]:
    """The metrics of the changes, each with its verdict.

    A change is more than chance where its p, adjusted for all tests, is at most `compare_fdr`; of fewer than
    `min_rows` rows nothing is said. A gate warns where a change is more than chance and too large, and only between
    inputs of one kind: curation changes labels on purpose.

    Args:
        changes: all that were measured.
        sides: the input, and what it is compared with.
        config: the thresholds.
    """
    large = [change for change in changes if change.cases >= config.min_rows]
    known = dict(zip((c.metric.name for c in large), adjusted([c.p for c in large]), strict=True))
    return [_settled(change, known.get(change.metric.name), sides, config) for change in changes]


def shown_p(p: float) -> str:
    """A p as it stands in a sentence.

    >>> shown_p(0.0312), shown_p(1e-9)
    ('p = 0.031', 'p < 0.001')
    """
    return f"p < {_LEAST_P}" if p < _LEAST_P else f"p = {number(p)}"


def _settled(change: Change, p: float | None, sides: tuple[Side, Side], config: AuditConfig) -> Metric:
    is_changed = p is not None and p <= config.compare_fdr
    if p is None:
        verdict = "; of so few rows nothing follows."
    elif is_changed:
        verdict = f", more than chance makes ({shown_p(p)}): {change.meaning}."
    else:
        verdict = f", as between two samples of one source ({shown_p(p)})."
    severity: Severity = "info"
    threshold = ""
    if change.most is not None and sides[0].kind == sides[1].kind:
        value = change.metric.value or 0.0
        severity = warn_if(is_changed and value > change.most, change.cases, config)
        threshold = f"PSI at most {number(change.most)}, beyond chance"
    details = {"against": sides[1].name, **change.metric.details, "p": change.p, "p_adjusted": p}
    return replace(
        change.metric,
        severity=severity,
        sentence=change.metric.sentence + verdict,
        threshold=threshold,
        details={**details, "is_changed": is_changed},
    )
