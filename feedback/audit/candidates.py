"""The audit itself: every metric over one table of candidates, put together into a report. Reads, changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from feedback.audit.advice import advise
from feedback.audit.agreement import measure_agreement
from feedback.audit.balance import measure_balance, training_rows
from feedback.audit.config import AuditConfig
from feedback.audit.confounds import measure_model_confound, measure_one_model_prompts
from feedback.audit.contradictions import measure_contradictions
from feedback.audit.drift import measure_drift
from feedback.audit.duplicates import measure_duplicates
from feedback.audit.extreme_raters import measure_extreme_raters
from feedback.audit.feedback_loop import measure_feedback_loop
from feedback.audit.lengths import length_histogram, measure_lengths, tabulate_lengths
from feedback.audit.objective import measure_discardable, measure_objective
from feedback.audit.pairs import measure_cycles, measure_pair_lengths, pairs_behind
from feedback.audit.presented import measure_positions, measure_scores
from feedback.audit.raters import measure_privacy, measure_raters, rater_curve, tabulate_raters, votes
from feedback.audit.rejects import measure_rejects, tabulate_rejects
from feedback.audit.report import AuditReport, Metric, Table
from feedback.audit.shortcut import measure_shortcut
from feedback.audit.slice_rates import tabulate_rates
from feedback.audit.slices import slice_by_label
from feedback.audit.splits import measure_leakage
from feedback.audit.texts import measure_texts, with_language
from feedback.audit.unbalanced import Unbalanced, unbalanced_rows
from feedback.audit.waterfall import measure_waterfall, tabulate_waterfall
from feedback.audit.wording import safe_name
from feedback.stage import sort_rows
from schemas.report import StageReport
from schemas.settings import settings_to_dict

__all__ = ["audit_candidates"]


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What is measured: all rows, those to be trained on, the judgements and the pairs behind these, and pairs asked.

    `asked` has the columns of `feedback.audit.presented.PAIR_COLUMNS`, or no row. The advice on R counts
    the rows `unbalanced`.
    """

    frame: pl.DataFrame
    rows: pl.DataFrame
    judged: pl.DataFrame
    pairs: pl.DataFrame
    asked: pl.DataFrame
    reports: Sequence[StageReport]
    unbalanced: Unbalanced


def audit_candidates(
    frame: pl.DataFrame,
    *,
    asked: pl.DataFrame | None = None,
    reports: Sequence[StageReport] = (),
    texts: pl.DataFrame | None = None,
    config: AuditConfig | None = None,
    name: str = "candidates",
    kind: str = "candidates",
    source: str | None = "IN",
    raw: str = "RAW --from FORMAT",
) -> AuditReport:
    """The audit of a table of candidates.

    Balance, contradictions, duplicates, raters, lengths, models, time and pairs are of the rows that would be trained
    on (the split `train`, or all where rows have no split); leakage compares the splits.

    Args:
        frame: rows of `schemas.datasets.CANDIDATE`, in any order.
        asked: what rows do not hold of the pairs behind them (`feedback.audit.presented.PAIR_COLUMNS`); null where it
            is not known.
        reports: reports of the stages that the rows went through, in order.
        texts: what is known of the texts, rows of `feedback.audit.texts.FEATURES`; null says nothing of them.
        config: the thresholds; null takes the defaults.
        name: what the report calls the input.
        kind: `feedback`, `candidates` or `dataset`.
        source: what stands for the input where the advice is to `rebalance`; null where `rebalance` does not read it.
        raw: what stands for the raw files in other commands of the advice.
    """
    config = config or AuditConfig()
    frame = with_language(sort_rows(frame), texts)
    rows = training_rows(frame)
    none = pl.DataFrame()
    unbalanced = unbalanced_rows(rows, reports)
    evidence = _Evidence(
        frame, rows, votes(rows), pairs_behind(rows), none if asked is None else asked, reports, unbalanced
    )
    measured, tables = _measure(evidence, config)
    of_texts = measure_texts(frame, texts, config)
    metrics = [*measured, *of_texts.metrics]
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
        tables=(*_tabulate(evidence, config), *tables, *of_texts.tables),
        series=(*length_histogram(rows), *rater_curve(evidence.judged)),
        waterfall=tuple(reports),
        advice=tuple(advise(metrics, config, unbalanced, source=source, raw=raw)),
        config=settings_to_dict(config),
    )


def _measure(of: _Evidence, config: AuditConfig) -> tuple[list[Metric], list[Table]]:
    """The metrics, in their order, and the tables that come with them."""
    extreme, rater_tables = measure_extreme_raters(of.judged, config, of.rows)
    drift, drift_tables = measure_drift(of.rows, config)
    metrics = [
        *measure_balance(of.rows, config),
        *measure_contradictions(of.rows, of.judged, config),
        *measure_agreement(of.judged),
        *measure_duplicates(of.rows),
        *measure_raters(of.judged, config),
        *extreme,
        *measure_lengths(of.rows, config),
        *_measure_pairs(of, config),
        *measure_model_confound(of.rows, config),
        *measure_one_model_prompts(of.rows),
        *measure_shortcut(of.rows, config),
        *drift,
        *measure_feedback_loop(of.rows, config),
        *measure_leakage(of.frame),
        *measure_privacy(of.frame),
        *measure_rejects(of.reports, config),
        *measure_waterfall(of.reports, of.frame.height),
        *measure_discardable(of.unbalanced, config),
    ]
    return [*metrics, *measure_objective(metrics, of.judged, of.pairs, config)], [*rater_tables, *drift_tables]


def _measure_pairs(of: _Evidence, config: AuditConfig) -> list[Metric]:
    metrics = [*measure_pair_lengths(of.pairs, config), *measure_cycles(of.pairs, config)]
    if of.asked.height:
        metrics += [*measure_positions(of.asked, config), *measure_scores(of.asked, config)]
    return metrics


def _tabulate(of: _Evidence, config: AuditConfig) -> list[Table]:
    return [
        *slice_by_label(of.rows, config),
        *tabulate_rates(of.rows, of.pairs, config),
        *tabulate_lengths(of.rows),
        *tabulate_raters(of.judged),
        *tabulate_waterfall(of.reports),
        *tabulate_rejects(of.reports),
    ]
