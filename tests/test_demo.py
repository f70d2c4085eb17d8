"""The demo's flow with a random model of a few thousand weights; what a real model learns is in the slow test."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cli.main import run
from cli.workflows.demo import QUESTIONS, SAMPLE_FILES, run_demo
from cli.workflows.results import Section, results_sections, to_markdown
from schemas.errors import InputNotFoundError, OutputExistsError, UnknownChoiceError
from schemas.manifest import Manifest
from schemas.report import StageReport

SAMPLE = Path(__file__).parents[1] / "sample_data"


@pytest.fixture(scope="module", autouse=True)
def quiet_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Reference log-probabilities go into a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THUMBLINE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("THUMBLINE_RATER_KEY", "0" * 64)
        yield


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, model_factory: Any, tokenizer_factory: Any) -> Path:
    """A tiny model in a folder, as users have them."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    model_factory(max_position_embeddings=2048).save_pretrained(folder)
    tokenizer_factory().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> tuple[Path, dict[str, Any], list[str]]:
    """One finished demo: its folder, its results and what it told."""
    out = tmp_path_factory.mktemp("demo") / "run"
    told: list[str] = []
    return out, run_demo(out, model=str(tiny_folder), steps=2, tell=told.append), told


def test_demo_leaves_everything_where_its_page_says(demo: tuple[Path, dict[str, Any], list[str]]) -> None:
    out, results, _ = demo
    files = results_sections(results, out)[-1]
    assert all(Path(where).exists() for _, where in files.rows)
    assert all(where in (out / "results.md").read_text("utf-8").replace("\\_", "_") for _, where in files.rows)


def test_demo_tells_its_five_parts(demo: tuple[Path, dict[str, Any], list[str]]) -> None:
    assert [sentence[:6] for sentence in demo[2]] == [f"{part} of 5" for part in range(1, 6)]


def test_every_row_of_the_three_files_is_accounted_for(demo: tuple[Path, dict[str, Any], list[str]]) -> None:
    out, results, _ = demo
    stages = [StageReport.from_dict(stage) for stage in results["waterfall"]]
    lines = sum(len((SAMPLE / name).read_text("utf-8").splitlines()) for name in ("thumbs.jsonl", "pairs.jsonl"))
    assert stages[0].rows_in == lines + len(json.loads((SAMPLE / "open_webui.json").read_text("utf-8")))
    for before, after in itertools.pairwise(stages):
        assert before.rows_kept == after.rows_in
    assert Manifest.read(out / "dataset").stages[-1].rows_kept == stages[-1].rows_kept


def test_sample_data_triggers_the_faults_it_was_made_with(demo: tuple[Path, dict[str, Any], list[str]]) -> None:
    dropped = {reason for stage in demo[1]["waterfall"] for reason in stage["dropped"]}
    assert {
        "quarantined",
        "neutral",
        "duplicate_record",
        "exact_duplicate",
        "normalized_duplicate",
        "superseded_vote",
        "outvoted",
        "contested",
        "downsampled",
    } <= dropped


def test_ratio_is_far_off_before_and_in_range_after(demo: tuple[Path, dict[str, Any], list[str]]) -> None:
    ratio = demo[1]["ratio"]
    low, high = ratio["wanted"]
    assert ratio["before"]["value"] > 3
    assert low <= ratio["after"]["value"] <= high


def test_rewards_start_at_a_coin_and_answers_stand_side_by_side(demo: tuple[Path, dict[str, Any], list[str]]) -> None:
    results = demo[1]
    assert results["evaluation"]["before"]["reward_accuracy"] == pytest.approx(0.5)
    assert results["evaluation"]["after"]["reward_accuracy"] is not None
    assert [answer["prompt"] for answer in results["answers"]] == list(QUESTIONS)


def test_finished_demo_shows_the_same_page_at_once(
    demo: tuple[Path, dict[str, Any], list[str]], tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is audited, curated, trained or asked again."""
    out, results, _ = demo
    monkeypatch.setattr("cli.workflows.demo._audit_raw", None)
    assert run_demo(out, model=str(tiny_folder), steps=2) == results


def test_stopped_demo_goes_on_where_it_was(
    demo: tuple[Path, dict[str, Any], list[str]], tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With everything but the last page there, the models are not trained again and the figures are the same."""
    out = tmp_path / "again"
    shutil.copytree(demo[0], out)
    (out / "results.json").unlink()
    monkeypatch.setattr("align.trainer.loop._take_steps", None)
    monkeypatch.setattr("feedback.audit.sources.audit_files", None)
    results = run_demo(out, model=str(tiny_folder), steps=2)
    assert {**results, "seconds": None} == {**demo[1], "seconds": None}


def test_folder_of_another_demo_is_refused(demo: tuple[Path, dict[str, Any], list[str]], tiny_folder: Path) -> None:
    with pytest.raises(OutputExistsError, match="demo of other data, another model or other settings"):
        run_demo(demo[0], model=str(tiny_folder), steps=3)


def test_folder_with_other_files_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.md").write_text("words", encoding="utf-8")
    with pytest.raises(OutputExistsError, match="not empty and not a demo's"):
        run_demo(tmp_path, model=str(tiny_folder))


def test_missing_sample_data_says_where_it_is(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match=r"the sample data is not there. It is part of the repository"):
        run_demo(tmp_path / "out", data=tmp_path)


def test_unknown_model_lists_the_builtin_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownChoiceError, match="unknown model: got 'builtin:nope'; expected one of builtin:smollm2"):
        run_demo(tmp_path / "out", model="builtin:nope")


def test_questions_are_not_in_the_sample_data() -> None:
    text = "".join((SAMPLE / name).read_text("utf-8") for name in SAMPLE_FILES)
    assert not [question for question in QUESTIONS if question in text]


def test_command_prints_the_page(
    demo: tuple[Path, dict[str, Any], list[str]], tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["demo", "-o", str(demo[0]), "--model", str(tiny_folder), "--steps", "2"]) == 0
    captured = capsys.readouterr()
    for title in ("From raw logs to a dataset", "Up against down", "Rewards on held-out rows", "Three answers"):
        assert title in captured.out
    assert "Next, " in captured.out
    assert "finished before" in captured.err
    assert run(["demo", "-o", str(demo[0]), "--model", str(tiny_folder), "--steps", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == demo[1]


def test_markdown_shows_strange_text_as_it_is() -> None:
    section = Section("T", ("*a* <b>",), ("q", "n>"), (("x|y\nz", "1"),))
    page = to_markdown("Page", [section])
    assert "\\*a\\* &lt;b>" in page
    assert "| x\\|y z | 1 |" in page
    assert "| --- | ---: |" in page
