"""What the audit finds in texts: broken ones, style that moves the label, personal data, consent; and shows of none."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

from cli.main import run
from feedback.audit import AuditConfig, AuditReport, Metric, render_html
from feedback.audit.sources import audit, audit_dataset
from feedback.audit.texts import FEATURES, read_features, rows_for_style
from feedback.audit.texts.integrity_flags import CONTROL_TOKENS, are_roles_out_of_order, integrity_flags
from feedback.audit.texts.logistic import fit_logistic
from feedback.audit.texts.style_flags import STYLES, style_flags
from feedback.export import TextTable
from feedback.hashing import hex_key
from feedback.pipeline import curate, default_config
from feedback.stage import CANDIDATE_TYPES
from schemas.messages import MESSAGES
from tests.feedback_log import story
from tests.feedback_tables import candidate, event, pair, turns, write_events, write_pairs
from tests.test_personal import PLANTED

LONG = "word " * 50


def write_log(folder: Path, rows: list[dict[str, object]]) -> Path:
    path = folder / "thumbs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def vote(number: int, label: bool | None = None, **changes: object) -> dict[str, object]:
    """A vote about texts of its own; every third is down."""
    is_up = number % 3 > 0 if label is None else label
    made = {"prompt": f"{story(f'q{number}', 9)}?", "completion": f"{story(f'a{number}', 30)}."}
    return made | {"label": "up" if is_up else "down", "time": f"2026-01-{1 + number % 28:02d}T10:00:00Z"} | changes


def found(report: AuditReport, name: str) -> Metric:
    metric = report.metric(name)
    assert metric is not None, name
    return metric


def audited(folder: Path, rows: list[dict[str, object]], **options: float) -> AuditReport:
    return audit([write_log(folder, rows)], source_format="thumbs", config=AuditConfig(**options))


def flags(text: str) -> set[str]:
    frame = pl.DataFrame({"answer": [text]})
    row = frame.select(*integrity_flags(pl.col("answer")), *style_flags(pl.col("answer"))).row(0, named=True)
    return {name for name, value in row.items() if value and name != "is_mid_word"}


# --- claims about one text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\ufeff", "\u00a0\u3000", "\u2800", "\u3164"])
def test_white_space_and_invisible_signs_are_empty(text: str) -> None:
    assert "is_empty" in flags(text)


@pytest.mark.parametrize("text", ["0", ".", "🙂", "はい", "-"])
def test_short_answers_are_not_empty(text: str) -> None:
    assert "is_empty" not in flags(text)


@pytest.mark.parametrize(
    "text", ["So:\n```python\nx = 1", "a\n```\nb\n```\nc\n  ```js\nlet", f"{LONG}first,", f"{LONG}f(", f"{LONG}{{ "]
)
def test_open_code_and_open_ends_are_cut_off(text: str) -> None:
    assert "is_open" in flags(text)


@pytest.mark.parametrize(
    "text",
    [
        "```python\nx = 1\n```",
        "Type ``` and a name, such as ```python, then Enter.",
        "Dear Ann,",
        "f(",
        f"{LONG}end",
        "x",
    ],
)
def test_closed_code_and_short_ends_are_whole(text: str) -> None:
    assert "is_open" not in flags(text)


@pytest.mark.parametrize(
    "text",
    [
        "[object Object]",
        "undefined",
        "Traceback (most recent call last):\n  File",
        '{"error": {"message": "x"}}',
        "Error code: 429 - {'error': 1}",
        "503 Service Unavailable",
        "Internal Server Error",
        "An error occurred while generating a response.",
        "Rate limit exceeded, try again later",
        "This model's maximum context length is 4096 tokens.",
        "openai.RateLimitError: too many",
        "JSONDecodeError: Expecting value",
        "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title>",
        "<html>\r\n<head><title>Attention Required! | Cloudflare</title>",
    ],
)
def test_messages_of_broken_services_are_errors(text: str) -> None:
    assert "is_error" in flags(text)


@pytest.mark.parametrize(
    "text",
    [
        "A 404 error means that a page is not found.",
        "The traceback says: Traceback (most recent call last): ...",
        "Use `undefined` to say that nothing is there.",
        "Null hypotheses are rejected when p is small.",
        "500 people came.",
        "Error handling in Python is done with try.",
        "<!DOCTYPE html>\n<html><head><title>My holidays</title></head><body><h1>Beach</h1>",
        "An errand occurred to me.",
    ],
)
def test_answers_about_errors_are_none(text: str) -> None:
    assert "is_error" not in flags(text)


@pytest.mark.parametrize(
    ("text", "is_there"),
    [
        ("<|im_start|>user\nhi<|im_end|>", True),
        ("a <|endoftext|> b", True),
        ("<|eot_id|>", True),
        ("[INST] hi [/INST]", True),
        ("<s>[INST] x", True),
        ("<s> begins", True),
        ("ends</s>", True),
        ("<<SYS>>", True),
        ("<start_of_turn>model", True),
        ("<｜User｜>", True),
        ("a <s>line</s> through it", False),
        ("a | b <|> c", False),
        ("[INSTALL]", False),
        ("x <b> y </b>", False),
        ("if (a <| b |> c)", False),
    ],
)
def test_control_tokens_are_known_and_mark_up_is_none(text: str, is_there: bool) -> None:
    assert pl.Series([text]).str.contains(CONTROL_TOKENS)[0] is is_there


@pytest.mark.parametrize(
    ("roles", "is_wrong"),
    [
        ("u", False),
        ("su", False),
        ("suau", False),
        ("uatu", False),
        ("uaat", True),
        ("uu", True),
        ("us", True),
        ("usu", True),
        ("au", True),
        ("sau", True),
        ("tu", True),
        ("ssu", True),
    ],
)
def test_turns_that_templates_refuse_are_out_of_order(roles: str, is_wrong: bool) -> None:
    names = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    said = [{"role": names[role], "content": "x"} for role in roles]
    prompts = pa.array([turns("user", "x"), said, turns("user", "x")], MESSAGES)
    assert are_roles_out_of_order(prompts).tolist() == [False, is_wrong, False]
    assert are_roles_out_of_order(prompts[1:]).tolist() == [is_wrong, False]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("What a great question! Let me see.", {"flattery"}),
        ("You're so smart.", {"flattery"}),
        ("You are absolutely right.", {"agreement"}),
        ("Absolutely! Here it is.", {"agreement"}),
        ("I apologize for that.", {"apology"}),
        ("I’m so sorry to hear it.", {"apology"}),
        ("I'm sorry, but I can't help with that.", {"apology", "refusal"}),
        ("As an AI language model, I have no taste.", {"refusal"}),
        ("Done 🎉", {"emoji"}),
        ("## Steps\ntext", {"headings", "markdown"}),
        ("- one\n- two", {"lists", "markdown"}),
        ("1. one\n2. two", {"lists", "markdown"}),
        ("Use `x`.", {"code", "markdown"}),
        ("It is **bold**.", {"markdown"}),
        ("| a | b |\n|---|---|\n| 1 | 2 |", {"markdown"}),
        ("The right angle is 90 degrees; the question is a good one to ask in 2026, no. 1 © 5 * 3 # x", set()),
        ("- a dash alone", set()),
        ("He is sorry. Turn right. They cannot help.", set()),
    ],
)
def test_marks_of_style_are_found_where_they_are(text: str, names: set[str]) -> None:
    assert flags(text) == names


def test_only_patterns_of_words_are_said_to_be_english() -> None:
    assert {style.name for style in STYLES if style.is_english} == {"flattery", "agreement", "apology", "refusal"}


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


# --- style --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_fit_is_that_of_scikit_learn_and_its_errors_those_of_the_information(seed: int) -> None:
    """Two columns, 400 rows; errors by hand from the inverse of X' W X at scikit-learn's coefficients."""
    chance = np.random.default_rng(seed)
    columns = np.column_stack((chance.random(400) < 0.3, chance.normal(size=400))).astype(float)
    label = chance.random(400) < 1 / (1 + np.exp(-(0.5 + columns @ [1.0, -0.7])))
    fit = fit_logistic(columns, label)
    assert fit is not None
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(columns, label)
    theirs = np.concatenate((model.intercept_, model.coef_[0]))
    np.testing.assert_allclose(fit.coefficients, theirs, atol=1e-5)
    design = np.column_stack((np.ones(400), columns))
    p = model.predict_proba(columns)[:, 1]
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ np.diag(p * (1 - p)) @ design)))
    np.testing.assert_allclose(fit.errors, errors, rtol=1e-4)
    low, high = fit.interval(0)
    assert (low + high) / 2 == pytest.approx(fit.coefficients[1])
    assert high - low == pytest.approx(2 * 1.959963984540054 * errors[1], rel=1e-4)


def test_a_column_that_parts_the_labels_has_no_fit() -> None:
    label = np.arange(40) < 20
    assert fit_logistic(label[:, None].astype(float), label) is None
    assert fit_logistic(np.ones((40, 1)), label) is None


def sycophantic(count: int, odds_with: float, seed: int = 0) -> list[dict[str, object]]:
    """Half of the answers flatter; those are up with this chance, the others with 0.5. Flattery makes none longer."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        flatters = number % 2 == 0
        up = chance.random() < (odds_with if flatters else 0.5)
        opening = "What a great question! " if flatters else "Here is what I know of it. "[:23]
        rows.append(vote(number, up, completion=opening + story(f"s{number}", 10 + number % 30) + "."))
    return rows


def test_planted_sycophancy_is_caught(tmp_path: Path) -> None:
    """Up in 0.85 against 0.5 of cases: log-odds 1.73."""
    report = audited(tmp_path, sycophantic(600, 0.85))
    lift = found(report, "style_lift")
    assert lift.severity == "warn"
    assert lift.low is not None
    assert lift.high is not None
    assert 0.5 < lift.low < 1.73 < lift.high
    assert "flattery (odds times" in lift.sentence
    assert "pleasing the user pays, so the model learns to flatter" in lift.sentence
    table = report.table("style")
    assert table is not None
    line = next(row for row in table.rows if row[0] == "flattery (English)")
    assert line[1] == 300
    assert line[2] == pytest.approx(0.85, abs=0.05)
    assert "Wald intervals from the information matrix" in table.note


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_flattery_that_moves_nothing_is_not_caught(tmp_path: Path, seed: int) -> None:
    lift = found(audited(tmp_path, sycophantic(600, 0.5, seed)), "style_lift")
    assert lift.severity == "ok"
    assert "no mark of style moves the label far" in lift.sentence


def test_what_length_explains_is_no_lift(tmp_path: Path) -> None:
    """Long answers are up and have lists more often; at equal length lists change nothing."""
    chance = random.Random(5)
    rows = []
    for number in range(1500):
        words = int(10 * 30 ** chance.random())
        has_list = chance.random() < (0.8 if words > 55 else 0.2)
        up = chance.random() < 1 / (1 + 55 / words)
        text = story(f"l{number}", words)
        rows.append(vote(number, up, completion=f"- {text[:5]}\n- {text}" if has_list else f"xx{text[:5]}\nxx{text}"))
    report = audited(tmp_path, rows)
    table = report.table("style")
    assert table is not None
    line = next(row for row in table.rows if row[0] == "lists")
    assert line[2] - line[3] > 0.1
    assert line[5] < 0 < line[6]
    assert found(report, "style_lift").severity == "ok"


def test_the_regression_takes_no_more_rows_than_asked_and_the_same_ones_each_time(tmp_path: Path) -> None:
    path = write_log(tmp_path, sycophantic(300, 0.9))
    reports = [audit([path], source_format="thumbs", config=AuditConfig(style_rows=200)) for _ in range(2)]
    assert found(reports[0], "style_lift").n == 200
    assert reports[0].to_json() == reports[1].to_json()


def test_marks_that_few_answers_have_have_no_lift(tmp_path: Path) -> None:
    rows = [vote(number) for number in range(60)]
    for number in range(4):
        rows[number]["completion"] = f"Great question! {story(str(number), 9)}."
    report = audited(tmp_path, rows)
    table = report.table("style")
    assert table is not None
    assert next(row for row in table.rows if row[0].startswith("flattery"))[4] is None
    assert report.metric("style_lift") is None


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
