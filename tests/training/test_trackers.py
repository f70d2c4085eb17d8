"""Trackers get every line of a run when asked, and are not opened else."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from accelerate import tracking

from align.artifacts.metrics import read_metrics
from align.artifacts.trackers import Trackers
from align.trainer import train
from schemas.errors import ConfigError, MissingExtraError
from tests.tiny_run import tiny_config, write_dataset, write_model


class Noted:
    """Stands in for a tracker of accelerate."""

    opened: ClassVar[list[Noted]] = []

    def __init__(self, project: str) -> None:
        self.project, self.lines, self.is_finished = project, [], False
        self.config: dict[str, Any] = {}
        Noted.opened.append(self)

    def start(self) -> None:
        pass

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.config = values

    def log(self, values: dict[str, Any], step: int) -> None:
        self.lines.append((step, values))

    def finish(self) -> None:
        self.is_finished = True


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_cache: None) -> None:
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "trackio", Noted)
    monkeypatch.setattr(Noted, "opened", [])


def test_a_tracker_gets_every_line_and_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("align.artifacts.trackers._is_installed", lambda name: True)
    model, dataset, out = str(write_model(tmp_path / "m")), write_dataset(tmp_path / "d"), tmp_path / "run"
    train(tiny_config(epochs=1, trackers=["trackio"]), dataset=dataset, model=model, out=out)
    [tracker] = Noted.opened
    assert tracker.is_finished
    assert tracker.config["optimizer.learning_rate"] == 0.01
    lines = read_metrics(out)
    assert [step for step, _ in tracker.lines] == [line["step"] for line in lines]
    losses = [values["step/loss"] for _, values in tracker.lines if "step/loss" in values]
    assert losses == [line["loss"] for line in lines if line["kind"] == "step"]


def test_no_tracker_is_opened_unless_asked(tmp_path: Path) -> None:
    model, dataset = str(write_model(tmp_path / "m")), write_dataset(tmp_path / "d")
    train(tiny_config(epochs=1), dataset=dataset, model=model, out=tmp_path / "run")
    assert Noted.opened == []


def test_a_tracker_that_is_not_there_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("align.artifacts.trackers._is_installed", lambda name: False)
    with pytest.raises(MissingExtraError, match=r"package 'mlflow' is not installed.*thumbline\[trackers\]"):
        Trackers(["mlflow"], {})
    with pytest.raises(ConfigError, match="trackers"):
        tiny_config(trackers=["notepad"])
