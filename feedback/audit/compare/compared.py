"""The comparison itself: what an audit says more where its input is set against another one."""

from __future__ import annotations

from dataclasses import replace

from feedback.audit.compare.change import Change, settle
from feedback.audit.compare.labels import compare_share_up, compare_slices
from feedback.audit.compare.lengths import compare_lengths
from feedback.audit.compare.measures import tabulate_measures
from feedback.audit.compare.mixes import compare_mixes
from feedback.audit.compare.overlap import measure_overlap
from feedback.audit.compare.sides import Side
from feedback.audit.config import AuditConfig
from feedback.audit.remedies import REMEDIES
from feedback.audit.report import AuditReport, Metric, Table

__all__ = ["compare", "measure_changes"]


def compare(
    report: AuditReport, now: Side, before_report: AuditReport, before: Side, config: AuditConfig
) -> AuditReport:
    """The report with what changed against another input: metrics, the tables `compared` and `compared_slices`, advice.

    Args:
        report: the audit of the input.
        now: the input.
        before_report: the audit of the other input.
        before: the other input.
        config: the thresholds.
    """
    metrics, tables = measure_changes(now, before, config)
    advice = [REMEDIES[m.name](m, "") for m in metrics if m.severity in ("warn", "fail")]
    return replace(
        report,
        metrics=(*report.metrics, *metrics),
        tables=(tabulate_measures(report, before_report, config), *tables, *report.tables),
        advice=(*report.advice, *advice),
    )


def measure_changes(now: Side, before: Side, config: AuditConfig) -> tuple[list[Metric], list[Table]]:
    """The metrics and tables that need the rows of both inputs.

    Args:
        now: the input.
        before: what it is compared with.
        config: the thresholds.
    """
    changes: list[Change] = [
        *compare_share_up(now, before),
        *compare_lengths(now, before),
        *compare_mixes(now, before, config),
    ]
    of_slices, tables = compare_slices(now, before, config)
    return [*measure_overlap(now, before), *settle(changes, (now, before), config), *of_slices], tables
