"""How many raw records could not be accepted, and why: too many, and the format or the export is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from feedback.audit.config import AuditConfig
from feedback.audit.counted import counted_share
from feedback.audit.report import Column, Metric, Table
from feedback.audit.wording import count, percent, plural
from schemas.reasons import RejectReason
from schemas.report import StageReport

__all__ = ["measure_rejects", "tabulate_rejects"]


def measure_rejects(reports: Sequence[StageReport], config: AuditConfig) -> list[Metric]:
    """The metric `rejected`: the share of raw records in quarantine, without those that judge nothing.

    Args:
        reports: the stages' reports; without one of `ingest` there is nothing to say.
        config: the largest share that is in order.
    """
    read = next((report for report in reports if report.stage == "ingest"), None)
    if read is None or not read.rows_in:
        return []
    reasons = _reasons(reports)
    unjudged = reasons.get(RejectReason.NO_JUDGEMENT, 0)
    if unjudged < read.rows_in:
        reasons = {reason: number for reason, number in reasons.items() if reason != RejectReason.NO_JUDGEMENT}
    else:
        unjudged = 0
    records, rejected = read.rows_in - unjudged, sum(reasons.values())
    share = rejected / records
    listed = ", ".join(f"{count(number)} {reason}" for reason, number in reasons.items())
    return [
        counted_share(
            name="rejected",
            title="Rejected records",
            cases=rejected,
            n=records,
            severity="fail" if share > config.max_rejected else "ok",
            sentence=f"{percent(share, config.max_rejected)} of {plural(records, 'record')} could not be accepted: "
            f"{listed}."
            if rejected
            else f"{'The only record' if records == 1 else f'All {count(records)} records'} could be accepted.",
            threshold=f"at most {percent(config.max_rejected)} of records",
            details={"reasons": reasons},
        )
    ]


def tabulate_rejects(reports: Sequence[StageReport]) -> list[Table]:
    """The table `rejected`: records by `RejectReason`, with its meaning."""
    reasons = _reasons(reports)
    if not reasons:
        return []
    known = {reason.value: reason.meaning for reason in RejectReason}
    columns = (
        Column("reason", "Reason", "text"),
        Column("records", "Records", "count"),
        Column("meaning", "Meaning", "text"),
    )
    rows = tuple(
        (reason, number, known.get(reason, "A reason of another version.")) for reason, number in reasons.items()
    )
    return [Table("rejected", "Why records were rejected", columns, rows)]


def _reasons(reports: Sequence[StageReport]) -> Mapping[str, int]:
    """Rejected records by reason, most frequent first."""
    rejected: Mapping[str, int] = next(
        (report.figures.get("rejected", {}) for report in reports if report.stage == "ingest"), {}
    )
    return dict(sorted(rejected.items(), key=lambda item: (-item[1], item[0])))
