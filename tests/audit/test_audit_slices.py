"""Slices by language, and the share of answers of the model that was trained before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from feedback.audit import AuditConfig, AuditReport
from feedback.audit.sources import audit, audit_dataset
from feedback.pipeline import curate, default_config
from tests.audit_rows import audited, found, many, row


def spoken(folder: Path, *languages: tuple[str | None, int, int]) -> Path:
    """Up and down votes in each language; null does not say."""
    rows: list[dict[str, object]] = []
    for lang, up, down in languages:
        for number in range(up + down):
            text = {"prompt": f"question {lang} {number}", "completion": f"answer {lang} {number}"}
            rows.append({**text, "label": "up" if number < up else "down", **({"lang": lang} if lang else {})})
    path = folder / "thumbs.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


def by_language(report: AuditReport) -> list[tuple[object, ...]]:
    table = report.table("by_language")
    assert table is not None
    return [line[:4] for line in table.rows]


def test_labels_are_shown_by_language(tmp_path: Path) -> None:
    report = audit([spoken(tmp_path, ("en", 30, 10), ("de", 5, 20), (None, 2, 1))], source_format="thumbs")
    assert by_language(report) == [("en", 40, 30, 10), ("de", 25, 5, 20), ("(not known)", 3, 2, 1)]


def test_languages_of_a_dataset_come_from_its_stage_folder(tmp_path: Path) -> None:
    path = spoken(tmp_path, ("en", 20, 20), ("de", 20, 20))
    folder = curate(default_config([path], "thumbs", overrides=["split.test_fraction=0.0"]), tmp_path / "d").folder
    assert sorted(by_language(audit_dataset(folder))) == [("de", 40, 20, 20), ("en", 40, 20, 20)]


def test_without_languages_there_is_no_table(tmp_path: Path) -> None:
    report = audit([spoken(tmp_path, (None, 20, 20))], source_format="thumbs")
    assert report.table("by_language") is None


def test_label_that_the_language_tells_is_seen(tmp_path: Path) -> None:
    report = audit([spoken(tmp_path, ("en", 60, 2), ("de", 2, 60))], source_format="thumbs")
    metric = found(report, "shortcut_auc")
    assert metric.severity == "warn"
    assert metric.details["alone"]["lang"] > 0.9
    assert "the language" in metric.sentence


def test_name_of_a_language_is_made_safe(tmp_path: Path) -> None:
    report = audit([spoken(tmp_path, ("e\x1b[31mn", 20, 20))], source_format="thumbs")
    assert "\x1b" not in str(by_language(report)[0][0])


def test_share_of_the_previous_model_over_all_and_in_the_newest_week() -> None:
    """Of 40 answers 10 are of `mine`; in the second week 10 of 20 are."""
    rows = [row(n, n % 2 == 0, model_id="mine" if n >= 30 else "other", day=7 * (n // 20)) for n in range(40)]
    metric = found(audited(rows, previous_model="mine"), "previous_model_share")  # type: ignore[arg-type]
    assert (metric.value, metric.n, metric.severity) == (0.25, 40, "info")
    assert metric.details["newest_share"] == 0.5
    assert metric.sentence == (
        "25% of 40 answers whose model is known (10) are of mine, in 2026-W03 50%: "
        "the more of them, the more training repeats what that model does already."
    )


@pytest.mark.parametrize("options", [{}, {"previous_model": "mine"}])
def test_feedback_loop_needs_a_name_and_known_models(options: dict[str, str]) -> None:
    rows = many(10, 10) if options else [row(n, n % 2 == 0, model_id="mine") for n in range(20)]
    assert audited(rows, **options).metric("previous_model_share") is None  # type: ignore[arg-type]


def test_default_names_no_previous_model() -> None:
    assert AuditConfig().previous_model is None
