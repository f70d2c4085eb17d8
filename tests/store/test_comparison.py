"""Runs compared by name: figures stand beside each other only where they measure the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align.champion.model_diff import diff_models
from align.champion.registry import Decision, ModelEntry, Registry
from align.trainer import train
from cli.main import run
from cli.workflows.comparison import compare_named
from schemas.errors import UnknownChoiceError, UsageError
from tests.tiny_run import tiny_config, write_dataset, write_model

MEASURES = [{"name": "reward_accuracy", "before": 0.5, "after": 0.75}, {"name": "length", "before": 9, "after": 8}]


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs in the folder of retrain, each from the model before it, on a history that grows."""
    folder = tmp_path_factory.mktemp("nights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THUMBLINE_CACHE_DIR", str(folder / "cache"))
        start = write_model(folder / "base")
        for number, name in enumerate("abc"):
            dataset = write_dataset(folder / f"rows-{name}", test=8 + 2 * number)
            out = folder / "models" / "runs" / name / "training"
            train(tiny_config(epochs=1), dataset=dataset, model=str(start), out=out)
            start = out / "model"
            (out.parent / "contest.json").write_text(json.dumps({"measures": MEASURES}))
    return folder / "models"


def entry(name: str) -> ModelEntry:
    return ModelEntry(run=name, folder=f"runs/{name}/training/model", digest="")


def decide(folder: Path, kinds: list[tuple[str, str, str | None, str | None]]) -> None:
    """Decisions: kind, run, champion from now on, champion before it."""
    registry = Registry(folder)
    for after, (kind, name, champion, previous) in enumerate(kinds):
        ends = {"champion": champion and entry(champion), "previous": previous and entry(previous)}
        registry.commit(Decision(kind, name, watermark=1, **ends), after=after)  # type: ignore[arg-type]


@pytest.fixture
def decided(nights: Path, tmp_path: Path) -> Path:
    """The folder after a and b were promoted and c was not."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "runs").symlink_to(nights / "runs")
    return folder


def test_figures_of_different_references_and_rows_are_not_shown(nights: Path) -> None:
    sides = [nights / "runs" / name / "training" for name in "ab"]
    found = diff_models(*sides)
    assert found["evaluation"] == {}
    assert found["evaluated_on"] == (
        "Figures on held-out rows cannot be compared: the two were measured relative to different models and on "
        "different rows."
    )


def test_figures_of_the_same_rows_and_reference_are_shown(tmp_path: Path, own_cache: None) -> None:
    """Also where the training rows differ; and of cards that an earlier version wrote, by the whole dataset."""
    model = str(write_model(tmp_path / "model"))
    for name, count in (("a", 18), ("b", 12), ("c", 12)):
        rows = write_dataset(tmp_path / "rows" / name, train=count, prompt=lambda place: f"hello {place}", test=8)
        columns: dict[str, Any] = {"completion": lambda place: "yes" if place % 2 else "no"}
        write_dataset(rows, train=count, prompt=lambda place: f"hello {place}", **columns)
        train(tiny_config(epochs=1), dataset=rows, model=model, out=tmp_path / name)
    found = diff_models(tmp_path / "a", tmp_path / "b")
    assert None not in found["evaluation"]["loss"]
    assert found["evaluated_on"].startswith("Both were measured on the same held-out rows")
    for name in "abc":
        path = tmp_path / name / "run_card.json"
        card = json.loads(path.read_text())
        del card["digests"]["held_out"]
        path.write_text(json.dumps(card))
    assert "on different rows" in diff_models(tmp_path / "a", tmp_path / "b")["evaluated_on"]
    assert diff_models(tmp_path / "b", tmp_path / "c")["evaluation"]["loss"]


def test_runs_of_one_contest_are_compared_on_the_frozen_set(decided: Path) -> None:
    """Whichever is named first; runs that never met are not."""
    decide(decided, [("promote", "a", "a", None), ("promote", "b", "b", "a"), ("keep", "c", "b", "a")])
    there = compare_named("previous", "champion", decided).models
    assert there is not None
    assert there["evaluation"] == {"reward_accuracy": [0.5, 0.75], "length": [9, 8]}
    assert "frozen evaluation set" in there["evaluated_on"]
    back = compare_named("champion", "a", decided).models
    assert back is not None
    assert back["evaluation"]["reward_accuracy"] == [0.75, 0.5]
    kept = compare_named("champion", "c", decided).models
    assert kept is not None
    assert kept["evaluation"]["reward_accuracy"] == [0.5, 0.75]
    strangers = compare_named("a", "c", decided).models
    assert strangers is not None
    assert strangers["evaluation"] == {}
    assert "cannot be compared" in strangers["evaluated_on"]


def test_command_compares_runs_whose_figures_do_not(decided: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decide(decided, [("promote", "a", "a", None)])
    assert run(["diff", "a", "c", "--in", str(decided)]) == 0
    assert "The weights lie" in capsys.readouterr().out


def test_champion_that_is_not_there_yet_is_named(decided: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="there is no champion yet"):
        compare_named("champion", "a", decided)
    decide(decided, [("promote", "a", "a", None)])
    with pytest.raises(UsageError, match="there is no earlier champion yet: got 'previous'"):
        compare_named("previous", "champion", decided)
    assert run(["diff", "previous", "champion", "--in", str(decided)]) == 2
    assert "no earlier champion yet" in capsys.readouterr().err
    with pytest.raises(UnknownChoiceError, match=r"expected one of a, b, c, champion\.$"):
        compare_named("z", "champion", decided)
