"""What the audit finds in the texts of a log: broken ones, personal data, consent; and shows of none."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from cli.main import run
from feedback.audit import AuditConfig, AuditReport, render_html
from feedback.audit.sources import audit, audit_dataset
from feedback.audit.texts import FEATURES, read_features, rows_for_style
from feedback.audit.texts.style_flags import STYLES
from feedback.export import TextTable
from feedback.hashing import hex_key
from feedback.pipeline import curate, default_config
from feedback.stage import CANDIDATE_TYPES
from tests.audit.test_personal import PLANTED
from tests.audited_log import audited, found, sycophantic, vote, write_log
from tests.feedback_log import story
from tests.feedback_tables import candidate, event, pair, turns, write_events, write_pairs

# --- the narrow table ---------------------------------------------------------------------------------------------


def test_features_are_of_each_answer_whatever_files_and_turns_it_lies_in(tmp_path: Path) -> None:
    asked = [*turns("system", "Mail ann@site.example."), *turns("user", "q")]
    events = [
        event("plain", consent=True),
        event("long")
        | {"prompt": asked, "completion": [*turns("assistant", "I'm sorry"), *turns("assistant", "Well.")]},
        event("tooled", tools='[{"owner": "203.0.113.9"}]', consent=False, minutes=3),
    ]
    pairs = [pair("duel", "Great question!", "call +49 30 901820")]
    tables = [
        TextTable(tuple(write_events(tmp_path, events)), "event_id", {"completion": "completion"}),
        TextTable(tuple(write_pairs(tmp_path, pairs)), "pair_id", {"a": "response_a", "b": "response_b"}),
    ]
    features = read_features(tables)
    assert features.schema == FEATURES
    assert features["text_side"].to_list() == ["completion"] * 3 + ["a", "b"]
    assert features["text_key"].to_list() == [
        *(hex_key(one["event_id"]) for one in events),
        *[hex_key(pairs[0]["pair_id"])] * 2,
    ]
    assert features["has_email"].to_list() == [False, True, False, False, False]
    assert features["has_ip"].to_list() == [False, False, True, False, False]
    assert features["has_phone"].to_list() == [False, False, False, False, True]
    assert features["flattery"].to_list() == [False, False, False, True, False]
    assert features["apology"].to_list() == [False] * 5  # of the answer that was rated, the last turn
    assert features["answer_chars"].to_list() == [5, 5, 5, 15, 18]
    assert features["consent"].to_list() == [True, None, False, None, None]
    assert features["ts_quality"].to_list() == ["missing", "missing", "exact", "missing", "missing"]
    again = [TextTable(tables[0].paths * 2, "event_id", {"completion": "completion"}), tables[1]]
    assert read_features(again).equals(features)
    assert read_features([]).schema == FEATURES


def test_style_is_looked_for_in_the_wanted_answers_only(tmp_path: Path) -> None:
    """Everything else is looked for in all, and the answers whose style is wanted are those that the lift takes."""
    events = [event(f"e{number}", completion="Great question! a@b.example", minutes=number) for number in range(9)]
    tables = [TextTable(tuple(write_events(tmp_path, events)), "event_id", {"completion": "completion"})]
    whole = read_features(tables)
    rows = [
        candidate(label=number % 2 == 0, text_id=one["event_id"], row_id=one["event_id"])
        for number, one in enumerate(events)
    ]
    wanted = rows_for_style(pl.DataFrame(rows, schema=CANDIDATE_TYPES), AuditConfig(style_rows=4))
    assert wanted.height == 4
    some = read_features(tables, styled=wanted)
    is_wanted = some["text_key"].is_in(wanted["text_key"].implode())
    assert some["flattery"].to_list() == [True if one else None for one in is_wanted]
    assert some.drop(style.name for style in STYLES).equals(whole.drop(style.name for style in STYLES))


# --- integrity ----------------------------------------------------------------------------------------------------


def test_clean_texts_break_no_gate_on_texts(tmp_path: Path) -> None:
    report = audited(tmp_path, [vote(number) for number in range(90)])
    names = ["empty_answers", "truncated_answers", "error_texts", "role_order", "special_tokens", "naive_times"]
    for name in (*names, "missing_times", "style_lift", "personal_data"):
        metric = report.metric(name)
        assert metric is None or metric.severity == "ok", name
    assert found(report, "empty_answers").sentence == (
        "None of 90 answers hold nothing but white space and invisible signs."
    )
    assert report.table("personal_data") is None


def test_broken_texts_are_counted_with_interval_sentence_and_advice(tmp_path: Path) -> None:
    """Of 90 rows 3 answers are empty to the eye, 2 errors, 4 cut off; 5 hold control tokens, 6 times are naive."""
    rows = [vote(number) for number in range(90)]
    for number in range(3):
        rows[number]["completion"] = "\u200b" * (number + 1)
    for number in range(3, 5):
        rows[number]["completion"] = f"Error code: 50{number}"
    for number in range(5, 9):
        rows[number]["completion"] = f"See:\n```\nx = {number}"
    for number in range(9, 14):
        rows[number]["prompt"] = f"<|im_start|>user {number}"
    for number in range(14, 20):
        rows[number]["time"] = "2026-01-05T10:00:00"
    del rows[20]["time"]
    report = audited(tmp_path, rows)
    counts = {"empty_answers": 3, "error_texts": 2, "truncated_answers": 4, "special_tokens": 5, "naive_times": 6}
    for name, count in counts.items():
        metric = found(report, name)
        assert (metric.value, metric.n, metric.severity) == (pytest.approx(count / 90), 90, "warn"), name
        assert metric.low is not None
        assert metric.low < count / 90
        assert metric.details["rows"] == count
        assert name in {advice.metric for advice in report.advice}
    assert found(report, "truncated_answers").details["open"] == 4
    assert found(report, "missing_times").details["rows"] == 1
    assert found(report, "missing_times").severity == "ok"


def test_thresholds_are_settings_and_few_rows_warn_of_nothing(tmp_path: Path) -> None:
    rows = [vote(number) for number in range(40)]
    rows[0]["completion"] = "\u200b"
    assert found(audited(tmp_path, rows), "empty_answers").severity == "warn"
    assert found(audited(tmp_path, rows, max_empty=0.05), "empty_answers").severity == "ok"
    assert found(audited(tmp_path, rows, min_rows=50), "empty_answers").severity == "info"


def test_answers_that_end_in_a_word_at_one_length_are_cut_off(tmp_path: Path) -> None:
    """Twelve different answers cut at 300 characters among ninety that end in words at lengths of their own."""
    rows = [vote(number, completion=f"{story(f'a{number}', 60)}{'x' * (number % 60)}") for number in range(90)]
    whole = audited(tmp_path, rows)
    assert found(whole, "truncated_answers").details["cut_at_one_length"] == 0
    for number in range(12):
        rows[number]["completion"] = story(f"b{number}", 99)[:299].strip().ljust(299, "y") + "z"
    cut = found(audited(tmp_path, rows), "truncated_answers")
    assert (cut.details["cut_at_one_length"], cut.severity) == (12, "warn")


def test_one_answer_that_is_there_often_is_not_cut_off(tmp_path: Path) -> None:
    rows = [vote(number, prompt="the same?", completion="y" * 300) for number in range(30)]
    assert found(audited(tmp_path, rows), "truncated_answers").details["cut_at_one_length"] == 0


def test_where_nothing_has_a_time_nobody_is_warned_of_it(tmp_path: Path) -> None:
    rows = [{name: value for name, value in vote(number).items() if name != "time"} for number in range(40)]
    report = audited(tmp_path, rows)
    assert report.metric("missing_times") is None
    assert report.metric("naive_times") is None


# --- privacy ------------------------------------------------------------------------------------------------------


def with_canaries() -> list[dict[str, object]]:
    """Ninety votes; every planted value of every kind in a prompt, and again in an answer."""
    rows = [vote(number, consent=number % 10 > 0) for number in range(110)]
    for number, (_, value) in enumerate(PLANTED):
        rows[number]["prompt"] = f"Canary {number}:\n{value}\nplease"
        rows[number + len(PLANTED)]["completion"] = f"Canary answer {number}:\n{value}\nDone."
    return rows


def test_personal_data_is_counted_by_kind_with_intervals(tmp_path: Path) -> None:
    report = audited(tmp_path, with_canaries())
    metric = found(report, "personal_data")
    kinds = [kind for kind, _ in PLANTED]
    assert metric.details["kinds"] == {
        kind: 2 * kinds.count(kind) for kind in ("key", "email", "iban", "card", "ip", "phone")
    }
    assert (metric.details["rows"], metric.n, metric.severity) == (2 * len(PLANTED), 110, "warn")
    table = report.table("personal_data")
    assert table is not None
    assert {row[0]: row[1] for row in table.rows}["telephone numbers"] == 2 * kinds.count("phone")
    assert all(row[3] < row[2] < row[4] for row in table.rows)
    advice = next(item for item in report.advice if item.metric == "personal_data")
    assert advice.command.endswith("-o OUT --redact")
    assert found(audited(tmp_path, with_canaries(), max_personal_data=1.0), "personal_data").severity == "ok"


def test_nothing_that_was_found_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither in the JSON, nor on the page, nor in the terminal, of raw files and of a dataset."""
    path = write_log(tmp_path, with_canaries())
    folder = curate(default_config([path], "thumbs"), tmp_path / "dataset").folder
    for number, named in enumerate(([path, "--from", "thumbs"], [folder])):
        page = tmp_path / f"{number}.html"
        data = tmp_path / f"{number}.json"
        arguments = ["audit", *map(str, named), "--html", str(page), "--json", str(data)]
        assert run(arguments) in (0, 3)
        shown = page.read_text("utf-8") + data.read_text("utf-8") + "".join(capsys.readouterr())
        assert "Personal data in texts" in shown
        for _, value in PLANTED:
            assert value not in shown
        assert "Canary" not in shown


def test_a_redacted_dataset_holds_no_personal_data(tmp_path: Path) -> None:
    path = write_log(tmp_path, with_canaries())
    plain = curate(default_config([path], "thumbs"), tmp_path / "plain").folder
    config = default_config([path], "thumbs", overrides=["export.redact=true"])
    redacted = curate(config, tmp_path / "redacted").folder
    assert found(audit_dataset(plain), "personal_data").severity == "warn"
    clean = found(audit_dataset(redacted), "personal_data")
    assert (clean.value, clean.severity) == (0, "ok")


def test_refused_consent_warns_and_unknown_consent_is_said(tmp_path: Path) -> None:
    rows = [vote(number) | ({"consent": number > 3} if number < 40 else {}) for number in range(60)]
    consent = found(audited(tmp_path, rows), "consent")
    assert (consent.value, consent.n, consent.severity) == (0.1, 40, "warn")
    assert consent.details == {"rows": 4, "unknown": 20}
    assert consent.sentence == (
        "10% of 40 rows (4) come from a user who did not consent to training. They must not be trained on. "
        "Of 33% of all rows (20) it is not known."
    )
    unknown = found(audited(tmp_path, [vote(number) for number in range(30)]), "consent")
    assert (unknown.value, unknown.severity, unknown.is_gate) == (None, "info", False)


def test_one_vote_without_consent_makes_a_merged_row_refused(tmp_path: Path) -> None:
    """Of 30 answers 10 have a second vote of somebody who refused, 5 one of somebody who never said."""
    rows = [vote(number, user=f"a{number}", consent=True) for number in range(30)]
    rows += [vote(number, user=f"b{number}", consent=False, time="2026-03-01T10:00:00Z") for number in range(10)]
    rows += [vote(number, user=f"c{number}") for number in range(10, 15)]
    made = default_config(
        [write_log(tmp_path, rows)], "thumbs", overrides=("split.test_fraction=0.0", "rebalance.mode=off")
    )
    consent = found(audit_dataset(curate(made, tmp_path / "dataset").folder), "consent")
    assert (consent.details, consent.n) == ({"rows": 10, "unknown": 5}, 25)


def test_consent_and_times_of_a_dataset_come_from_its_stage_folder(tmp_path: Path) -> None:
    rows = [vote(number, consent=number % 4 > 0, time="2026-01-05T10:00:00") for number in range(100)]
    folder = curate(default_config([write_log(tmp_path, rows)], "thumbs"), tmp_path / "dataset").folder
    report = audit_dataset(folder)
    assert found(report, "consent").severity == "warn"
    assert found(report, "naive_times").value == 1
    (folder / "stages" / "ingest").rename(tmp_path / "away")
    alone = audit_dataset(folder)
    assert found(alone, "consent").value is None
    assert alone.metric("naive_times") is None
    assert found(alone, "personal_data").value == found(report, "personal_data").value


def test_pairs_are_looked_at_on_both_sides(tmp_path: Path) -> None:
    rows = [
        {
            "prompt": story(f"q{number}", 9),
            "chosen": f"{story(f'c{number}', 20)}.",
            "rejected": f"{story(f'r{number}', 20)} ann@site.example",
        }
        for number in range(60)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    personal = found(audit([path], source_format="trl"), "personal_data")
    assert (personal.value, personal.n) == (0.5, 120)
    folder = curate(default_config([path], "trl"), tmp_path / "dataset").folder
    assert found(audit_dataset(folder), "personal_data").value == pytest.approx(0.5)


def test_the_page_shows_every_metric_and_table_of_texts(tmp_path: Path) -> None:
    report = audited(tmp_path, [*with_canaries(), *sycophantic(200, 0.9)])
    page = render_html(report)
    for title in ("Empty answers", "Style lift", "Personal data in texts", "Consent refused"):
        assert title in page
    assert AuditReport.from_json(report.to_json()).to_json() == report.to_json()
