"""What an audit says of two inputs: differences by hand, no alarm at chance, and every planted drift."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cli.main import run
from feedback.audit import AuditConfig, AuditReport, Metric, audit_candidates, render_html
from feedback.audit.compare import Side, compare, side_of
from feedback.audit.compare.change import adjusted
from feedback.audit.compare.compared import measure_changes
from feedback.audit.sources import audit_against
from feedback.pipeline import curate, default_config
from schemas.errors import FormatMismatchError, InputNotFoundError, UsageError
from tests.audit_rows import many, row, table

Rows = list[dict[str, object]]
CONFIG = AuditConfig()


def side(rows: Rows, name: str = "before", kind: str = "feedback") -> Side:
    return side_of(table(*rows), name=name, kind=kind)


def changes(now: Rows, before: Rows, **options: Any) -> dict[str, Metric]:
    metrics, _ = measure_changes(side(now, "now"), side(before), AuditConfig(**options) if options else CONFIG)
    return {metric.name: metric for metric in metrics}


def compared(now: Rows, before: Rows) -> AuditReport:
    reports = [audit_candidates(table(*rows), name=name) for rows, name in ((now, "now"), (before, "before"))]
    return compare(reports[0], side(now, "now", "candidates"), reports[1], side(before, "before", "candidates"), CONFIG)


def alarms(metrics: dict[str, Metric]) -> set[str]:
    """Names of what is called more than chance."""
    found = {name for name, metric in metrics.items() if metric.details.get("is_changed")}
    slices = metrics.get("changed_slices")
    return found | ({"changed_slices"} if slices is not None and slices.value else set())


# --- by hand ------------------------------------------------------------------------------------------------------


def test_share_of_up_by_hand() -> None:
    """56 of 70 against 48 of 80, from Newcombe 1998, table II (a): 0.2, of 0.0524 to 0.3339."""
    metric = changes(many(56, 14), many(48, 32))["share_up_change"]
    assert metric.value == pytest.approx(0.2)
    assert (metric.low, metric.high) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))
    assert metric.details["p"] == pytest.approx(0.0080, abs=5e-5)
    assert metric.sentence.startswith(
        "80% of 70 rows are up and 60% of 80 in before: 20 points more (95% interval +5.2 to +33.4)"
    )


def test_adjusted_p_by_hand() -> None:
    """Of four: 0.01 x 4 / 1, 0.02 x 4 / 2, 0.03 x 4 / 3, 0.5 x 4 / 4, each at most the next."""
    assert adjusted([0.02, 0.5, 0.01, 0.03]) == pytest.approx([0.04, 0.5, 0.04, 0.04])
    assert adjusted([]) == []


def test_psi_of_labels_by_hand() -> None:
    """(60.5 / 101 - 40.5 / 101) ln(60.5 / 40.5), twice: half a case is added to each count."""
    metric = changes(many(60, 40), many(40, 60))["label_shift"]
    assert metric.value == pytest.approx(2 * 20 / 101 * np.log(60.5 / 40.5))
    assert metric.details["p"] == pytest.approx(0.00468, abs=1e-5)


def test_chance_that_a_length_exceeds_another_by_hand() -> None:
    """Half of the answers here are of 100 characters, half of 200; all before of 100: 1/2 of pairs won, 1/2 tied."""
    now = [row(n, n % 2 == 0, completion_chars=100 if n < 15 else 200) for n in range(30)]
    metric = changes(now, many(15, 15))["answer_length_change"]
    assert (metric.value, metric.details["ks"]) == (0.75, 0.5)
    assert metric.details["is_changed"]
    assert metric.sentence.endswith("answers are longer.")


def test_a_spread_that_leaves_the_middle_is_a_change_too() -> None:
    """Half are of 50, half of 150 characters, before all of 100: the chance is 1/2, the distributions are not one."""
    now = [row(n, n % 2 == 0, completion_chars=50 if n % 4 < 2 else 150) for n in range(80)]
    metric = changes(now, many(40, 40))["answer_length_change"]
    assert metric.value == 0.5
    assert metric.details["is_changed"]
    assert metric.sentence.endswith("lengths of answers are spread otherwise.")


def test_common_rows_and_flips_by_hand() -> None:
    """Answers 0 to 5 are in both, 0 twice here; 1 and 2 flipped, 3 has both labels before; 8 and 9 are here only."""
    now = [*(row(n, n < 4) for n in (0, 1, 2, 3, 4, 5, 8, 9)), row(10, True, prompt="0", answer="0")]
    before = [row(0, True), row(1, False), row(2, False), row(3, True), row(13, False, prompt="3", answer="3")]
    before += [row(4, False), row(5, False)]
    metrics = changes(now, before)
    common, flipped = metrics["common_rows"], metrics["flipped_labels"]
    assert (common.value, common.n) == (pytest.approx(7 / 9), 9)
    assert (common.details["answers"], common.details["rows_before"]) == (6, 7)
    assert (flipped.value, flipped.n) == (pytest.approx(2 / 5), 5)
    assert (flipped.details["to_up"], flipped.details["to_down"], flipped.details["torn"]) == (2, 0, 1)


def test_inputs_without_a_common_answer_have_no_flips() -> None:
    now = [row(n + 1000, n % 2 == 0) for n in range(30)]
    metrics = changes(now, many(15, 15))
    assert metrics["common_rows"].value == 0
    assert "flipped_labels" not in metrics


def test_an_input_against_itself_has_changed_in_nothing() -> None:
    rows = [row(n, n % 3 > 0, model_id=f"m{n % 3}", completion_chars=n) for n in range(90)]
    report = compared(rows, rows)
    metrics = {metric.name: metric for metric in report.metrics if "against" in metric.details}
    assert alarms(metrics) == set()
    assert (metrics["common_rows"].value, metrics["flipped_labels"].value) == (1, 0)
    assert "over 3 values; no share moved, as between" in metrics["model_shift"].sentence
    lines = report.table("compared")
    assert lines is not None
    assert {line[3] for line in lines.rows} <= {0, None}


def test_of_few_rows_nothing_follows() -> None:
    metric = changes(many(10, 0), many(0, 10))["share_up_change"]
    assert (metric.value, metric.details["p_adjusted"], metric.details["is_changed"]) == (1, None, False)
    assert metric.sentence.endswith("; of so few rows nothing follows.")


def test_nothing_is_compared_with_nothing() -> None:
    assert changes([], many(30, 30)) == {}
    assert changes(many(30, 30), []) == {}


def test_unknown_models_are_no_change_of_models() -> None:
    """A dataset without its stage folder knows no models."""
    assert "model_shift" not in changes(many(30, 30, model_id="m"), many(30, 30))


def test_two_models_that_share_no_answer_are_a_shift() -> None:
    metric = changes(many(30, 30, model_id="new"), many(30, 30, model_id="old"))["model_shift"]
    assert metric.details["is_changed"]
    assert metric.value is not None
    assert metric.value > 2


def test_only_the_training_split_is_compared() -> None:
    held_out = [row(n + 500, False, split="test") for n in range(100)]
    train = [one | {"split": "train"} for one in many(30, 30)]
    assert changes([*train, *held_out], many(30, 30))["share_up_change"].value == 0


# --- the table and the gates --------------------------------------------------------------------------------------


def test_table_holds_every_measure_with_difference_and_p() -> None:
    report = compared(many(80, 20), many(50, 50))
    lines = report.table("compared")
    assert lines is not None
    assert lines.title == "Compared with before"
    by_name = {line[-1]: line for line in lines.rows}
    title, before, now, difference, low, high, p, verdict, _ = by_name["share_up"]
    assert (title, before, now) == ("Share of up", 0.5, 0.8)
    assert difference == pytest.approx(0.3)
    assert 0 < low < difference < high
    assert p < 0.01
    assert verdict == "yes"
    assert by_name["effective_rows"][4:8] == (None, None, None, None)


def test_measures_of_few_cases_get_no_p() -> None:
    lines = compared(many(8, 2), many(50, 50)).table("compared")
    assert lines is not None
    assert next(line for line in lines.rows if line[-1] == "share_up")[6:8] == (None, None)


def test_measure_that_one_audit_lacks_has_one_value() -> None:
    lines = compared([*many(30, 30, split="train"), row(99, True, split="test")], many(30, 30)).table("compared")
    assert lines is not None
    assert next(line for line in lines.rows if line[-1] == "leakage")[1:4] == (None, 0, None)


def test_shift_of_labels_warns_between_inputs_of_one_kind_with_advice() -> None:
    report = compared(many(180, 20), many(100, 100))
    gate = report.metric("label_shift")
    assert gate is not None
    assert (gate.severity, gate.threshold) == ("warn", "PSI at most 0.2, beyond chance")
    assert any(item.metric == "label_shift" for item in report.advice)
    assert gate in report.gates


def test_shift_of_labels_is_no_gate_between_a_dataset_and_raw_files() -> None:
    """Curation brings the labels into balance on purpose."""
    metrics, _ = measure_changes(side(many(100, 100), "now", "dataset"), side(many(180, 20)), CONFIG)
    (metric,) = (metric for metric in metrics if metric.name == "label_shift")
    assert (metric.severity, metric.threshold, metric.details["is_changed"]) == ("info", "", True)


def test_shift_that_is_small_holds_however_sure_it_is() -> None:
    metric = changes(many(2000, 1600), many(1600, 2000))["label_shift"]
    assert metric.details["is_changed"]
    assert metric.severity == "ok"
    assert metric.sentence.endswith("more than chance makes (p < 0.001): a shift that is sure, and small.")


# --- chance and planted drift -------------------------------------------------------------------------------------


def drawn(seed: int, start: int, n: int = 300, **planted: Any) -> Rows:
    """Rows drawn from one source: four models, thirty raters, five prompts that are frequent, three languages."""
    chance = np.random.default_rng((seed, start))
    up = planted.get("up", 0.7)
    rows = []
    for number in range(start, start + n):
        model = f"m{chance.choice(4, p=planted.get('models', (0.4, 0.3, 0.2, 0.1)))}"
        prompt = f"frequent {chance.integers(5)}" if chance.random() < planted.get("frequent", 0.4) else str(number)
        share = planted.get("up_of_m1", up) if model == "m1" else up
        rows.append(
            row(
                number,
                bool(chance.random() < share),
                prompt=prompt,
                model_id=model,
                rater=f"rater {int(chance.beta(*planted.get('raters', (1, 3))) * 30)}",
                completion_chars=int(chance.lognormal(5, planted.get("spread", 1)) * planted.get("longer", 1)),
                source=f"s{chance.choice(2, p=planted.get('sources', (0.8, 0.2)))}",
            )
        )
    return rows


def with_languages(one: Side, seed: int, shares: tuple[float, float] = (0.7, 0.3)) -> Side:
    codes = np.random.default_rng(seed).choice(["en", "de"], one.rows.height, p=shares)
    return Side(one.name, one.kind, one.rows.with_columns(lang=pl.Series(codes)), one.judged)


def seen(seed: int, **planted: Any) -> set[str]:
    now, before = side(drawn(seed, 0, **planted), "now"), side(drawn(seed, 5000))
    languages = planted.get("languages", (0.7, 0.3))
    metrics, _ = measure_changes(with_languages(now, seed, languages), with_languages(before, seed + 10_000), CONFIG)
    return alarms({metric.name: metric for metric in metrics})


def test_two_draws_of_one_source_hardly_ever_alarm() -> None:
    """Two families at a false discovery rate of 1%: at most 2% of draws, of 100 seldom more than 6."""
    assert sum(bool(seen(seed)) for seed in range(100)) <= 6


def test_measures_of_two_draws_of_one_source_hardly_ever_differ() -> None:
    wrong = 0
    for seed in range(10):
        lines = compared(drawn(seed, 0), drawn(seed, 5000)).table("compared")
        assert lines is not None
        wrong += any(line[-2] == "yes" for line in lines.rows)
    assert wrong <= 1


@pytest.mark.parametrize(
    ("planted", "name"),
    [
        ({"up": 0.45}, "share_up_change"),
        ({"up": 0.45}, "label_shift"),
        ({"up_of_m1": 0.2}, "changed_slices"),
        ({"longer": 1.6}, "answer_length_change"),
        ({"spread": 3}, "answer_length_change"),
        ({"models": (0.1, 0.3, 0.2, 0.4)}, "model_shift"),
        ({"sources": (0.5, 0.5)}, "source_shift"),
        ({"frequent": 0.9}, "prompt_shift"),
        ({"raters": (3, 1)}, "rater_shift"),
        ({"languages": (0.3, 0.7)}, "language_shift"),
    ],
)
def test_planted_drift_is_found(planted: dict[str, Any], name: str) -> None:
    assert all(name in seen(seed, **planted) for seed in range(5))


# --- files and the command line -----------------------------------------------------------------------------------


def votes(folder: Path, name: str, up: int, down: int, start: int = 0) -> Path:
    path = folder / name
    path.write_text(
        "".join(
            json.dumps(
                {
                    "prompt": f"question {number}",
                    "completion": "word " * (3 + number % 9) + str(number),
                    "label": "up" if number < start + up else "down",
                    "user": f"user-{number % 15}",
                }
            )
            + "\n"
            for number in range(start, start + up + down)
        )
    )
    return path


def test_raw_files_and_datasets_can_be_compared_either_way(tmp_path: Path) -> None:
    raw = votes(tmp_path, "raw.jsonl", 80, 20)
    folder = curate(default_config([raw], "thumbs"), tmp_path / "dataset").folder
    report, before = audit_against([folder], raw, source_format="thumbs")
    assert (report.kind, before.kind, before.name) == ("dataset", "feedback", "raw.jsonl")
    common = report.metric("common_rows")
    assert common is not None
    assert common.value == 1
    back, _ = audit_against([raw], folder, source_format="thumbs")
    flipped = back.metric("flipped_labels")
    assert flipped is not None
    assert flipped.value == 0


def test_two_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    report, before = audit_against(
        [votes(tmp_path, "a.jsonl", 40, 40)], votes(tmp_path / "old", "a.jsonl", 40, 40), source_format="thumbs"
    )
    assert (report.name, before.name) == ("a.jsonl", "a.jsonl (--against)")


def test_raw_file_to_compare_with_needs_a_format(tmp_path: Path) -> None:
    raw = votes(tmp_path, "raw.jsonl", 40, 40)
    folder = curate(default_config([raw], "thumbs"), tmp_path / "dataset").folder
    with pytest.raises(UsageError, match=r"raw\.jsonl: .*no format is given.*What --against names is read with --from"):
        audit_against([folder], raw)


def test_raw_file_of_another_format_says_what_to_do(tmp_path: Path) -> None:
    other = tmp_path / "pairs.jsonl"
    other.write_text('{"prompt": "q", "chosen": "a", "rejected": "b"}\n' * 30)
    with pytest.raises(FormatMismatchError, match=r"for another format, curate it first and name the folder"):
        audit_against([votes(tmp_path, "raw.jsonl", 40, 40)], other, source_format="thumbs")


def test_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="gone"):
        audit_against([votes(tmp_path, "a.jsonl", 40, 40)], tmp_path / "gone.jsonl", source_format="thumbs")


@pytest.fixture
def compared_files(tmp_path: Path) -> tuple[str, str]:
    now = votes(tmp_path, "now.jsonl", 45, 5, start=500)
    return str(now), str(votes(tmp_path, "before.jsonl", 20, 30))


def test_command_shows_what_changed(compared_files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    now, before = compared_files
    assert run(["audit", now, "--from", "thumbs", "--against", before]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Compared with before.jsonl: 1 of " in out
    assert "Share of up 40.0% 90.0% 50.0% < 0.001" in out
    assert "0% of 50 rows (0) have a prompt and answer that before.jsonl has too" in out
    assert "warn: The PSI of labels against before.jsonl is" in out


def test_page_and_json_hold_the_comparison(
    compared_files: tuple[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    now, before = compared_files
    page = tmp_path / "page.html"
    command = ["audit", now, "--from", "thumbs", "--against", before, "--html", str(page), "--json"]
    assert run(command) == 0
    report = AuditReport.from_json(capsys.readouterr().out)
    assert report.tables[0].name == "compared"
    text = page.read_text("utf-8")
    assert "Compared with before.jsonl" in text
    changes = text.partition('id="changes"')[2].partition("</section>")[0]
    assert "Share of up" in changes
    assert "Shift of labels" not in changes, "it has no value before"
    assert "Before: before.jsonl, 50 rows. After: now.jsonl, 50 rows." in text


def test_what_is_compared_with_is_never_overwritten(
    compared_files: tuple[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    now, _ = compared_files
    page = tmp_path / "before.html"
    page.write_text("mine")
    assert run(["audit", now, "--from", "thumbs", "--against", str(page), "--html", str(page)]) == 2
    assert page.read_text() == "mine"
    assert "would overwrite the input" in capsys.readouterr().err


def test_names_are_made_safe_and_no_rater_is_shown() -> None:
    rows = [row(n, n % 2 == 0, model_id="a\x1b[31m" if n < 60 else "b") for n in range(80)]
    other = [row(n + 500, n % 2 == 0, model_id="a\x1b[31m" if n < 20 else "b") for n in range(80)]
    report = compared(rows, other)
    assert "\x1b" not in report.to_json() + render_html(report)
