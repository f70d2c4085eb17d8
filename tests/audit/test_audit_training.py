"""What an audit says of training on its input: figures by hand, the trainer's own plan, and errors before long work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align.batches.inputs import build_inputs, read_rows
from align.config import ObjectiveConfig, TrainConfig
from align.models.loading import load_policy
from align.objectives import OBJECTIVES
from align.resources.forecast import Forecast, Pass, Passes
from align.tokens.tokenize import TokenizedRow, TokenizedSplit
from cli.main import run
from cli.workflows.training_audit import ask_training, audit_training, split_overrides
from cli.workflows.training_metrics import TRAINING_METRICS, advise_on_training, measure_training, tabulate_training
from feedback.audit import AuditReport, Metric, render_html
from feedback.audit.sources import audit
from feedback.audit.subjects import RawReading
from feedback.pipeline import curate, default_config
from schemas.errors import ConfigError, ModelError, UnknownChoiceError, UsageError
from schemas.manifest import Ratio
from tests.tiny_run import write_model

ROOT = Path(__file__).parents[2]
THUMBS = RawReading("thumbs")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_model(tmp_path_factory.mktemp("model") / "tiny"))


def votes(folder: Path, up: int = 40, down: int = 30, **changes: Any) -> Path:
    path = folder / "votes.jsonl"
    rows = [
        {"prompt": f"question {n}", "completion": f"answer {n}", "label": "up" if n < up else "down"}
        | {key: make(n) for key, make in changes.items()}
        for n in range(up + down)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def found(report: AuditReport, name: str) -> Metric:
    metric = report.metric(name)
    assert metric is not None, name
    return metric


def on_raw(path: Path, model: str, *overrides: str) -> AuditReport:
    report = audit([path], source_format="thumbs")
    return audit_training(report, [path], ask_training(model, overrides), THUMBS)


# --- by hand ------------------------------------------------------------------------------------------------------


def forecast_of_three(**changes: Any) -> Forecast:
    """Two up rows of 3 + 2 and 3 + 4 tokens, one down row of 3 + 6; one row was lost."""
    rows = tuple(TokenizedRow(f"r{n}", (1, 2, 3), (4,) * size, n < 2, 1.0, f"g{n}") for n, size in enumerate((2, 4, 6)))
    figures = {"prompt_tokens": 9, "completion_tokens": 12, "truncated_prompts": 1, "dropped_turns": 4}
    split = TokenizedSplit(rows, {"too_long": 1}, figures | {"truncated_completions": 0})
    made: dict[str, Any] = {
        "rows_read": 4,
        "train": split,
        "ratio": Ratio(2, 1, 1.0, 1.0, 1.0, 4 / 3),
        "inputs": None,
        "obstacle": "no step",
        "todo": "Do it",
        "passes": None,
        "parameters": 1000,
    }
    return Forecast(**made | changes)


def by_name(metrics: list[Metric]) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


def test_figures_of_rows_by_hand() -> None:
    """1 of 4 rows lost; R = 2 / 1; 1 of 3 prompts cut; 21 tokens; up has 6 of 12 completion tokens."""
    what = forecast_of_three()
    metrics = by_name(measure_training(what, tokens_per_second=None))
    assert (metrics["rows_lost"].value, metrics["rows_lost"].details["reasons"]) == (0.25, {"too_long": 1})
    assert (metrics["tokenized_ratio"].value, metrics["tokenized_ratio"].severity) == (2, "warn")
    assert metrics["truncated_prompts"].value == pytest.approx(1 / 3)
    assert "4 in all" in metrics["truncated_prompts"].sentence
    assert metrics["truncated_completions"].value == 0
    assert metrics["row_tokens"].value == 21
    (table,) = tabulate_training(what)
    assert table.rows == (("up", 2, 6, 6, 3, 0.5), ("down", 1, 3, 6, 6, 0.5))


def test_step_that_cannot_be_built_fails_with_advice() -> None:
    what = forecast_of_three()
    metrics = measure_training(what, tokens_per_second=None)
    steps = by_name(metrics)["training_steps"]
    assert (steps.value, steps.severity, steps.sentence) == (0, "fail", "No step can be built: no step.")
    advice = advise_on_training(what, metrics)
    assert [(item.metric, item.text) for item in advice] == [
        ("training_steps", "Do it."),
        (
            "tokenized_ratio",
            "Rows of one label are longer. Raise the limits, or rebalance after leaving long rows out.",
        ),
    ]


def test_cost_and_hours_by_hand(tmp_path: Path, model: str) -> None:
    """1,000 weights: 6 x 125 + 2 x 100 + 2 x 150 + 2 x 50 = 1,350 thousand operations, 950 of them in steps.

    200 tokens of steps at 2 a second are 100 s; all is 1,350 / 950 of that, 142.1 s.
    """
    real = _forecast_of(votes(tmp_path), model, tmp_path)
    passes = Passes(Pass(9, 100, 125, 6), Pass(9, 100, 100, 2), Pass(18, 150, 150, 2), Pass(5, 50, 50, 2), 200)
    read = len(real.train.rows)
    what = forecast_of_three(rows_read=read, inputs=real.inputs, train=real.train, obstacle="", todo="", passes=passes)
    metrics = by_name(measure_training(what, tokens_per_second=2.0))
    assert metrics["training_petaflop"].value == pytest.approx(1.35e6 / 1e15)
    assert metrics["training_hours"].value == pytest.approx(100 * 1350 / 950 / 3600)
    assert metrics["padding_share"].value == pytest.approx(0.2)
    assert metrics["padding_share"].details["whole_steps"] == pytest.approx(0.5)
    assert "training_hours" not in by_name(measure_training(what, tokens_per_second=None))
    cost = tabulate_training(what)[1]
    assert [row[2] for row in cost.rows] == [100, 100, 150, 50]


def _forecast_of(path: Path, model: str, folder: Path) -> Forecast:
    from align.resources.forecast import forecast

    asked = ask_training(model)
    dataset = curate(default_config([path], "thumbs"), folder / "curated").folder
    return forecast(dataset, asked.tokenizer, TrainConfig(), parameters=asked.parameters)


# --- datasets and raw files ---------------------------------------------------------------------------------------


def test_figures_of_a_dataset_are_those_of_the_trainer(tmp_path: Path, model: str) -> None:
    folder = curate(default_config([votes(tmp_path)], "thumbs"), tmp_path / "dataset").folder
    config = TrainConfig(epochs=2)
    theirs = build_inputs(read_rows(folder, OBJECTIVES["kto"]), load_policy(model).tokenizer, config, dataset=folder)
    asked = ask_training(model, ["train.epochs=2"])
    report = audit_training(audit([folder]), [folder], asked, RawReading())
    assert found(report, "training_steps").value == len(theirs.steps)
    assert found(report, "training_steps").n == len(theirs.train.rows)
    tokens = theirs.train.figures["prompt_tokens"] + theirs.train.figures["completion_tokens"]
    assert found(report, "row_tokens").value == tokens
    cost = report.table("training_cost")
    assert cost is not None
    assert cost.rows[0][1:3] == (2 * len(theirs.train.rows), 2 * tokens)
    assert cost.rows[2][1] == len(theirs.reference_pairs())
    assert found(report, "tokenized_ratio").value == pytest.approx(found(report, "label_ratio").value)


def test_raw_files_are_taken_as_they_are(tmp_path: Path, model: str) -> None:
    """40 up and 30 down, of which no stage leaves any out: three steps of 23 or 24 rows."""
    report = on_raw(votes(tmp_path), model)
    steps = found(report, "training_steps")
    assert (steps.value, steps.n, steps.severity) == (3, 70, "ok")
    assert found(report, "tokenized_ratio").value == pytest.approx(4 / 3)
    assert found(report, "rows_lost").value == 0
    assert found(report, "one_label_steps").value == 0


def test_limits_can_be_set_and_what_they_take_is_counted_by_label(tmp_path: Path, model: str) -> None:
    """Up answers have 5 letters and the end, down ones 50: a limit of 20 takes all of the down ones."""
    path = votes(tmp_path, completion=lambda n: f"up {n:02}" if n < 40 else "d" * 48 + f"{n:02}")
    report = on_raw(path, model, "train.tokens.max_completion_tokens=20")
    steps = found(report, "training_steps")
    assert (steps.severity, steps.n) == ("fail", 40)
    assert "all rows to train on have the same label" in steps.sentence
    assert found(report, "rows_lost").value == pytest.approx(30 / 70)
    cut = on_raw(path, model, "train.tokens.max_completion_tokens=20", "train.tokens.long_completions=truncate")
    assert found(cut, "truncated_completions").value == pytest.approx(30 / 70)
    assert found(cut, "training_steps").severity == "ok"


def test_one_prompt_everywhere_cannot_make_a_step(tmp_path: Path, model: str) -> None:
    report = on_raw(votes(tmp_path, prompt=lambda n: "always" if n else "once"), model)
    steps = found(report, "training_steps")
    assert steps.severity == "fail"
    assert "69 of 70 rows share one prompt" in steps.sentence
    assert any(item.metric == "training_steps" and "other prompts" in item.text for item in report.advice)


def test_raw_files_of_one_label_fail_and_do_not_break(tmp_path: Path, model: str) -> None:
    report = on_raw(votes(tmp_path, up=30, down=0), model)
    assert found(report, "training_steps").severity == "fail"


def test_raw_files_without_a_vote_fail_and_do_not_break(tmp_path: Path, model: str) -> None:
    report = on_raw(votes(tmp_path, up=30, down=0, label=lambda _: "neutral"), model)
    assert found(report, "training_steps").severity == "fail"


def test_lambdas_of_the_audit_are_those_of_the_training(tmp_path: Path, model: str) -> None:
    path = votes(tmp_path)
    report = audit([path], source_format="thumbs")
    weighted = AuditReport(
        **{name: getattr(report, name) for name in report.__slots__}
        | {"config": {**report.config, "desirable_weight": 3}}
    )
    both = audit_training(weighted, [path], ask_training(model), THUMBS)
    assert found(both, "tokenized_ratio").value == pytest.approx(4)
    own = audit_training(weighted, [path], ask_training(model, ["train.objective.desirable_weight=0.75"]), THUMBS)
    assert found(own, "tokenized_ratio").value == pytest.approx(1)


def pairs(folder: Path, count: int = 30) -> Path:
    """Pairs of prompts of their own; the chosen answers have two letters more than the rejected ones."""
    path = folder / "pairs.jsonl"
    rows = [{"prompt": f"question {n}", "chosen": f"good {n:02}", "rejected": f"no {n:02}"} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_raw_pairs_are_planned_as_pairs_where_the_objective_wants_them(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many steps as of the same pairs converted and trained on; of labels, which they have not, nothing is said."""
    path, folder = pairs(tmp_path), tmp_path / "converted"
    folder.mkdir()
    command = ["audit", str(path), "--from", "trl", "--model", model, "--json", "--set"]
    assert run([*command, "train.objective.name=dpo"]) == 0
    report = AuditReport.from_json(capsys.readouterr().out)
    assert run(["convert", str(path), "--from", "trl", "--to", "trl", "-o", str(folder / "train.jsonl")]) == 0
    config = TrainConfig(objective=ObjectiveConfig(name="dpo"))
    theirs = build_inputs(read_rows(folder, OBJECTIVES["dpo"]), load_policy(model).tokenizer, config, dataset=folder)
    steps = found(report, "training_steps")
    assert (steps.value, steps.n, steps.severity) == (len(theirs.steps), 30, "ok")
    assert report.metric("tokenized_ratio") is None
    assert report.metric("one_label_steps") is None
    table = report.table("training_tokens")
    assert table is not None
    assert [(row[0], row[1]) for row in table.rows] == [("chosen", 30), ("rejected", 30)]
    assert table.rows[0][3] - table.rows[1][3] == 2 * 30


def test_cut_answers_of_pairs_are_counted_among_answers(tmp_path: Path, model: str) -> None:
    """Completions of 8 and 6 letters are cut to 5 tokens, both of all 30 pairs: 60 of 60 answers."""
    set_to = (
        "train.objective.name=dpo",
        "train.tokens.max_completion_tokens=5",
        "train.tokens.long_completions=truncate",
    )
    path = pairs(tmp_path)
    report = audit_training(audit([path], source_format="trl"), [path], ask_training(model, set_to), RawReading("trl"))
    cut = found(report, "truncated_completions")
    assert (cut.value, cut.n) == (1, 60)


def test_votes_are_paired_or_fail_where_the_objective_wants_pairs(tmp_path: Path, model: str) -> None:
    """An answer voted up and one voted down to one prompt make a pair; without such a prompt there is no step."""
    apart = on_raw(votes(tmp_path), model, "train.objective.name=dpo")
    assert found(apart, "training_steps").severity == "fail"
    assert "no prompt has an answer voted up and another one voted down" in found(apart, "training_steps").sentence
    both = on_raw(votes(tmp_path, prompt=lambda n: f"question {n % 35}"), model, "train.objective.name=dpo")
    assert found(both, "training_steps").n == 30


# --- the command line ---------------------------------------------------------------------------------------------


def test_command_says_what_training_would_do(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    path, page = votes(tmp_path), tmp_path / "page.html"
    command = ["audit", str(path), "--from", "thumbs", "--model", model, "--set", "tokens_per_second=100"]
    assert run([*command, "--html", str(page)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Training on it: 3 steps of 23 to 24 rows over 1 epoch can be built" in out
    assert "At 100 tokens of a step a second" in out
    assert "What goes through the model" in page.read_text("utf-8")
    assert run([*command, "--json"]) == 0
    report = AuditReport.from_json(capsys.readouterr().out)
    assert {name for name in TRAINING_METRICS if report.metric(name) is None} == set()
    assert "question 1" not in report.to_json() + render_html(report)


def test_step_that_cannot_be_built_makes_exit_code_3(tmp_path: Path, model: str) -> None:
    path = votes(tmp_path, prompt=lambda n: "always" if n else "once")
    assert run(["audit", str(path), "--from", "thumbs", "--model", model]) == 3


def test_settings_of_training_need_a_model() -> None:
    with pytest.raises(UsageError, match=r"got 'train\.epochs=2'\. Name the model with --model"):
        split_overrides(["low=0.5", "train.epochs=2"], has_model=False)
    assert split_overrides(["low=0.5", "tokens_per_second=3"], has_model=True) == (["low=0.5"], ["tokens_per_second=3"])


def test_wrong_settings_and_models_are_found_before_anything_is_read(model: str) -> None:
    with pytest.raises(UnknownChoiceError, match=r"unknown config key: got 'train\.epoch'"):
        ask_training(model, ["train.epoch=2"])
    with pytest.raises(ConfigError, match="tokens_per_second"):
        ask_training(model, ["tokens_per_second=0"])
    with pytest.raises(ModelError, match="no such model: got 'nope'"):
        ask_training("nope")
    assert run(["audit", "gone.jsonl", "--from", "thumbs", "--model", "nope"]) == 1


def test_every_metric_of_training_is_documented() -> None:
    text = (ROOT / "docs" / "audit.md").read_text("utf-8")
    assert [name for name in TRAINING_METRICS if f"`{name}`" not in text] == []
