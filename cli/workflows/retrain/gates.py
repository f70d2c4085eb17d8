"""What of an audit stops a run of `thumbline retrain`: the reasons, the gravest first.

A night may bring a handful of votes, of one label, or nothing but votes that are taken back. Gates that judge a share
say nothing of so little (`as_of_a_night`); what cannot be trained on waits for more (`cli.workflows.retrain.waits`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from align.data.parts import DatasetType
from cli.workflows.retrain.config import GatesConfig
from feedback.audit import AuditReport
from feedback.audit.report import Metric

__all__ = ["as_of_a_night", "stopping_reasons"]

_BOTH_LABELS: Final = "labels"
"""The gate that wants answers of both labels."""
_REJECTED: Final = "rejected"
"""The gate that wants most records accepted."""


def as_of_a_night(report: AuditReport, *, has_older: bool) -> AuditReport:
    """The audit of new feedback, with `info` where a gate that fails has too little to judge by.

    One label alone is no fault where the older feedback has both and the share of up is, beyond chance, the same: older
    rows are trained on beside it. Of fewer than `min_rows` records no share of rejected ones is told.

    Args:
        report: the audit of the new feedback, set against the older one where there is any.
        has_older: whether there is any.
    """
    softened = {
        gate.name: _softened(gate, why) for gate, why in _unjudged(report, has_older) if gate.severity == "fail"
    }
    return replace(
        report,
        metrics=tuple(softened.get(metric.name, metric) for metric in report.metrics),
        advice=tuple(one for one in report.advice if one.metric not in softened),
    )


def stopping_reasons(report: AuditReport, gates: GatesConfig, kind: DatasetType) -> tuple[str, ...]:
    """A sentence for each reason not to train on the new feedback; none where nothing stands against it.

    Args:
        report: the audit of the new feedback, set against the older one where there is any.
        gates: what stops a run.
        kind: what the objective trains on. Pairs need no answers of both labels beside them.
    """
    return tuple(dict.fromkeys(_reasons(report, gates, kind)))


def _unjudged(report: AuditReport, has_older: bool) -> Iterator[tuple[Metric, str]]:
    """The gates that say nothing of so little, each with a sentence that says why."""
    labels, rejected = report.metric(_BOTH_LABELS), report.metric(_REJECTED)
    change = report.metric("share_up_change")
    if labels is not None and has_older and not labels.n:
        yield labels, "No vote came in that could be judged."
    if labels is not None and change is not None and not change.details["is_changed"]:
        yield labels, "Chance alone makes that of the older feedback, which is trained on beside it."
    if rejected is not None and _has_too_few(rejected, report):
        yield rejected, "Of so few records nothing follows."


def _softened(gate: Metric, why: str) -> Metric:
    return replace(gate, severity="info", sentence=f"{gate.sentence} {why}")


def _has_too_few(gate: Metric, report: AuditReport) -> bool:
    least: int = report.config["min_rows"]
    return gate.n < least


def _reasons(report: AuditReport, gates: GatesConfig, kind: DatasetType) -> Iterator[str]:
    for gate in report.gates:
        if gate.severity == "fail" and not (gate.name == _BOTH_LABELS and kind == "preference"):
            yield f"{gate.name}: {gate.sentence}"
    yield from _rejected(report, gates)
    yield from _share_up(report, gates)
    for gate in report.gates:
        if gate.severity == "warn" and gate.name in gates.stop_at:
            yield f"{gate.name}: {gate.sentence}"


def _rejected(report: AuditReport, gates: GatesConfig) -> Iterator[str]:
    rejected = report.metric(_REJECTED)
    if rejected is None or rejected.value is None or _has_too_few(rejected, report):
        return
    if rejected.value > gates.max_rejected_share:
        yield f"rejected: {rejected.sentence} At most {gates.max_rejected_share:g} is allowed."


def _share_up(report: AuditReport, gates: GatesConfig) -> Iterator[str]:
    """Labels that turn over at once are more likely a fault, or an attack, than a change of taste."""
    change = report.metric("share_up_change")
    if change is None or change.low is None or change.high is None or not change.details["is_changed"]:
        return
    surely = max(change.low, -change.high, 0.0)
    if surely > gates.max_share_up_change:
        yield f"share_up_change: {change.sentence} At most {gates.max_share_up_change:g} either way is allowed."
