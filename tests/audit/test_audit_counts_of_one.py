"""What the audit says of one row, one answer or one rater is English."""

from __future__ import annotations

import re

import pytest

from feedback.audit import AuditConfig, AuditReport, audit_candidates
from feedback.audit.drift import measure_drift
from feedback.audit.splits import measure_leakage
from feedback.audit.texts.shares import share_metric
from schemas.report import StageReport
from tests.audit_rows import audited, found, pair, row, table

PLURAL_OF_ONE = re.compile(
    r"\b(?:None of 1|All 1|[Aa]ll 1) \w+|\b1 (?:rows|answers|votes|raters|judgements|weeks|times|prompts|pairs)\b"
    r"|\b(?:of )?1 [\w-]+(?: [\w-]+)? (?:are|were|have|carry|share|hold|vote)\b|\(1\) (?:are|have|carry|share|hold)\b"
)
""" "None of 1 answer", "1 weeks", "100% of 1 row are"."""


def said(report: AuditReport) -> list[str]:
    return [metric.sentence for metric in report.metrics] + [advice.text for advice in report.advice]


@pytest.mark.parametrize(
    "report",
    [
        audited([row(0, True, model_id="m")], min_rater_votes=1, min_rows=1),
        audited([row(0, False, rater=None)]),
        audited([row(0, True, prompt="p", answer="a"), row(1, False, prompt="p", answer="a")], min_rows=1),
        audited(pair(0, "a", "b"), min_rows=1),
        audited([*pair(0, "a", "b", prompt="p"), *pair(1, "b", "a", prompt="p")], min_rows=1),
        audited([each for n, ends in enumerate(("ab", "bc", "ca")) for each in pair(n, *ends, prompt="p")], min_rows=1),
        audit_candidates(table(row(0, True)), reports=[StageReport("ingest", 1, 0, 1, {})]),
        audit_candidates(table(row(0, True, split="train", prompt="p"), row(1, True, split="test", prompt="p"))),
    ],
    ids=["up", "down", "contradicted", "pair", "opposed", "circle", "stages", "leak"],
)
def test_one_is_no_plural(report: AuditReport) -> None:
    for sentence in said(report):
        assert not PLURAL_OF_ONE.search(sentence), sentence


def test_one_row_is_the_only_one() -> None:
    report = audited([row(0, True)])
    assert found(report, "labels").sentence.startswith("The only row is up and none is down: ")
    assert found(report, "share_up").sentence.startswith("100% of 1 row is up")
    assert found(report, "contradictions").sentence == "No answer (of 1) carries both labels."
    assert found(report, "top_10_raters").sentence == "The only rater gave 100% of 1 judgement."
    assert found(report, "objective").sentence.startswith("KTO: the only judgement is of a single answer, ")


def test_one_answer_with_both_labels_carries_them() -> None:
    report = audited([row(0, True, prompt="p", answer="a"), row(1, False, prompt="p", answer="a")])
    assert found(report, "contradictions").sentence.startswith("100% of 1 answer carries both labels (1): ")
    assert (
        found(report, "rater_disputes").sentence == "100% of 1 answer (1) carries both labels because raters disagree."
    )


def test_one_week_has_other_labels() -> None:
    """Twelve weeks of 60 rows, the last one all down; a row has no time."""
    rows = [row(n, n < 660 and n % 4 > 0, day=7 * (n // 60)) for n in range(720)]
    (metric, *_), _ = measure_drift(table(*rows, row(900, True) | {"event_ts": None}), AuditConfig())
    assert "1 week (2026-W13) has other labels than all the rest together" in metric.sentence
    assert metric.sentence.endswith("1 row without a time is left out.")


def test_one_held_out_row_and_one_text_are_singular() -> None:
    rows = table(row(0, True, split="train", prompt="p"), row(1, True, split="test", prompt="p"))
    assert measure_leakage(rows)[0].sentence.startswith("100% of 1 held-out row (1) shares a prompt with")
    options = {"most": 0.0, "least_rows": 1, "claim": "hold nothing", "why": "It says nothing."}
    assert share_metric("m", "M", 1, 1, **options).sentence == "100% of 1 answer (1) holds nothing. It says nothing."  # type: ignore[arg-type]
    assert share_metric("m", "M", 0, 1, **options).sentence == "No answer (of 1) holds nothing."  # type: ignore[arg-type]
    assert share_metric("m", "M", 0, 9, **options).sentence == "None of 9 answers hold nothing."  # type: ignore[arg-type]
