"""Gates: an audit that stops a pipeline."""

from __future__ import annotations

from typing import Literal, get_args

from feedback.audit.report import SEVERITIES, AuditReport
from schemas.errors import AuditGateError, UnknownChoiceError

__all__ = ["check_gates"]

FailOn = Literal["fail", "warn"]


def check_gates(report: AuditReport, fail_on: FailOn = "fail") -> None:
    """Do nothing where the gates hold.

    Args:
        report: the audit.
        fail_on: `fail` stops at what must never be trained on, `warn` also at what is merely unwise.

    Raises:
        UnknownChoiceError: another severity.
        AuditGateError: gates of that severity or worse do not hold; the message gives each one's sentence.
    """
    if fail_on not in get_args(FailOn):
        raise UnknownChoiceError("severity to stop at", fail_on, get_args(FailOn), where="fail_on")
    worst = SEVERITIES.index(fail_on)
    broken = [gate for gate in report.gates if SEVERITIES.index(gate.severity) <= worst]
    if not broken:
        return
    names = {gate.name for gate in broken}
    advice = next((item for item in report.advice if item.metric in names), None)
    raise AuditGateError(
        f"{len(broken)} audit gate{'s do' if len(broken) > 1 else ' does'} not hold: "
        + " | ".join(f"{gate.name}: {gate.sentence.rstrip('.')}" for gate in broken),
        where=report.name,
        expected=", ".join(f"{gate.name} {gate.threshold}" for gate in broken),
        todo=None if advice is None else advice.title + (f" with: {advice.command}" if advice.command else ""),
    )
