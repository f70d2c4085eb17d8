"""What of an audit stops a run of `thumbline retrain`: the reasons, the gravest first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from align.data.parts import DatasetType
from cli.workflows.retrain.config import GatesConfig
from feedback.audit import AuditReport

__all__ = ["stopping_reasons"]

_BOTH_LABELS: Final = "labels"
"""The gate that wants answers of both labels."""


def stopping_reasons(report: AuditReport, gates: GatesConfig, kind: DatasetType) -> tuple[str, ...]:
    """A sentence for each reason not to train on the new feedback; none where nothing stands against it.

    Args:
        report: the audit of the new feedback, set against the older one where there is any.
        gates: what stops a run.
        kind: what the objective trains on. Pairs need no answers of both labels beside them.
    """
    return tuple(dict.fromkeys(_reasons(report, gates, kind)))


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
    rejected = report.metric("rejected")
    if rejected is not None and rejected.value is not None and rejected.value > gates.max_rejected_share:
        yield f"rejected: {rejected.sentence} At most {gates.max_rejected_share:g} is allowed."


def _share_up(report: AuditReport, gates: GatesConfig) -> Iterator[str]:
    """Labels that turn over at once are more likely a fault, or an attack, than a change of taste."""
    change = report.metric("share_up_change")
    if change is None or change.low is None or change.high is None or not change.details["is_changed"]:
        return
    surely = max(change.low, -change.high, 0.0)
    if surely > gates.max_share_up_change:
        yield f"share_up_change: {change.sentence} At most {gates.max_share_up_change:g} either way is allowed."
