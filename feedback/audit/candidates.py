"""The audit itself: every metric over one table of candidates, put together into a report. Reads, changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from feedback.audit.advice import advise
from feedback.audit.balance import measure_balance, training_rows
from feedback.audit.config import AuditConfig
from feedback.audit.contradictions import measure_contradictions
from feedback.audit.duplicates import measure_duplicates
from feedback.audit.lengths import length_histogram, measure_lengths, tabulate_lengths
from feedback.audit.raters import measure_privacy, measure_raters, rater_curve, tabulate_raters, votes
from feedback.audit.rejects import measure_rejects, tabulate_rejects
from feedback.audit.report import AuditReport, Metric, Table
from feedback.audit.slices import slice_by_label
from feedback.audit.splits import measure_leakage
from feedback.audit.waterfall import measure_waterfall, tabulate_waterfall
from feedback.audit.wording import safe_name
from feedback.stage import sort_rows
from schemas.report import StageReport
from schemas.settings import settings_to_dict

__all__ = ["audit_candidates"]


def audit_candidates(
    frame: pl.DataFrame,
    *,
    reports: Sequence[StageReport] = (),
    config: AuditConfig | None = None,
    name: str = "candidates",
    kind: str = "candidates",
    source: str = "IN",
    raw: str = "RAW --from FORMAT",
) -> AuditReport:
    """The audit of a table of candidates.

    Balance, contradictions, duplicates, raters and lengths are of the rows that would be trained on (the split `train`,
    or all where rows have no split); leakage compares the splits.

    Args:
        frame: rows of `schemas.datasets.CANDIDATE`, in any order.
        reports: reports of the stages that the rows went through, in order.
        config: the thresholds; null takes the defaults.
        name: what the report calls the input.
        kind: `feedback`, `candidates` or `dataset`.
        source: what stands for the input in the commands of the advice.
        raw: what stands there for the raw files.
    """
    config = config or AuditConfig()
    frame = sort_rows(frame)
    rows = training_rows(frame)
    judged = votes(rows)
    metrics = _measure(frame, rows, judged, reports, config)
    desirable = int(rows["label"].sum())
    return AuditReport(
        name=safe_name(name),
        kind=kind,
        rows={
            "total": frame.height,
            "desirable": desirable,
            "undesirable": rows.height - desirable,
            "test": frame.height - rows.height,
        },
        metrics=tuple(metrics),
        tables=tuple(_tabulate(rows, judged, reports, config)),
        series=(*length_histogram(rows), *rater_curve(judged)),
        waterfall=tuple(reports),
        advice=tuple(advise(metrics, config, source=source, raw=raw)),
        config=settings_to_dict(config),
    )


def _measure(
    frame: pl.DataFrame, rows: pl.DataFrame, judged: pl.DataFrame, reports: Sequence[StageReport], config: AuditConfig
) -> list[Metric]:
    return [
        *measure_balance(rows, config),
        *measure_contradictions(rows, judged, config),
        *measure_duplicates(rows),
        *measure_raters(judged, config),
        *measure_lengths(rows, config),
        *measure_leakage(frame),
        *measure_privacy(frame),
        *measure_rejects(reports, config),
        *measure_waterfall(reports, frame.height),
    ]


def _tabulate(
    rows: pl.DataFrame, judged: pl.DataFrame, reports: Sequence[StageReport], config: AuditConfig
) -> list[Table]:
    return [
        *slice_by_label(rows, config),
        *tabulate_lengths(rows),
        *tabulate_raters(judged),
        *tabulate_waterfall(reports),
        *tabulate_rejects(reports),
    ]
