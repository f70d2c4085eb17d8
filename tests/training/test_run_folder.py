"""A run's folder: one run at a time in it, and found again from any working directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import align.trainer.loop as trainer
from align.artifacts.card import find_run_card
from align.evaluate import evaluate
from align.trainer import train
from align.trainer.run_lock import RUN_LOCK_NAME
from cli.launch import launch_command
from schemas.errors import CheckpointMismatchError, LockedError, ModelError, OutputExistsError
from schemas.lock import folder_lock
from tests.tiny_run import CONFIG, tiny_config, write_dataset, write_model

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("own_cache")


def stop_at_the_first_step(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def unfinished(dataset: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run that was stopped before its first step."""
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_take_steps", stop_at_the_first_step)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_config(epochs=1), dataset=dataset, model=model, out=tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.slow
def test_folder_that_another_process_trains_into_is_refused_and_left_alone(
    dataset: Path, model: str, tmp_path: Path
) -> None:
    """The second says who is at work, with the exit code of such cases, and the first ends as if it had been alone."""
    out = tmp_path / "out"
    values = {"dataset": str(dataset), "model": model, "out": str(out), "config": CONFIG, "step_seconds": 0.3}
    first = subprocess.Popen([sys.executable, "-m", "tests.tiny_run", json.dumps(values)], cwd=ROOT)
    try:
        while not (out / RUN_LOCK_NAME).is_file() or not (out / RUN_LOCK_NAME).read_text():
            assert first.poll() is None
            time.sleep(0.01)
        with pytest.raises(
            LockedError, match=rf"thumbline train \(process {first.pid} on .*\) is at work here"
        ) as told:
            train(tiny_config(), dataset=dataset, model=model, out=out)
        assert told.value.exit_code == 75
        assert first.wait(timeout=120) == 0
    finally:
        first.kill()
    assert not (out / RUN_LOCK_NAME).exists()
    assert find_run_card(out) == train(tiny_config(), dataset=dataset, model=model, out=out)


def test_lock_of_a_stopped_run_hinders_nobody(unfinished: Path, dataset: Path, model: str) -> None:
    assert (unfinished / RUN_LOCK_NAME).is_file()
    with folder_lock(unfinished / RUN_LOCK_NAME, purpose="a test"), pytest.raises(LockedError, match="a test"):
        train(tiny_config(epochs=1), dataset=dataset, model=model, out=unfinished)
    train(tiny_config(epochs=1), dataset=dataset, model=model, out=unfinished)
    assert not (unfinished / RUN_LOCK_NAME).exists()


def test_lock_alone_is_an_empty_folder_and_a_run_that_never_began_leaves_none(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / RUN_LOCK_NAME).touch()
    for _ in range(2):
        with pytest.raises(ModelError, match="no such model"):
            train(tiny_config(), dataset=dataset, model="./none", out=out)
        assert not out.exists()


def test_other_ranks_of_a_run_hold_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from align.trainer.run_lock import locked_run

    with locked_run(tmp_path), monkeypatch.context() as patch:
        patch.setenv("RANK", "1")
        with locked_run(tmp_path):
            pass


def test_run_that_was_finished_while_this_one_waited_is_returned(
    dataset: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    card = train(tiny_config(epochs=1), dataset=dataset, model=model, out=out)
    find, calls = trainer.find_finished, []
    monkeypatch.setattr(trainer, "find_finished", lambda *a, **k: find(*a, **k) if calls else calls.append(1))
    monkeypatch.setattr(trainer, "_train", lambda *_: pytest.fail("the run was begun again"))
    assert train(tiny_config(epochs=1), dataset=dataset, model=model, out=out) == card


def test_run_is_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained by relative paths, then measured, returned and told apart from elsewhere."""
    write_model(tmp_path / "here" / "model")
    dataset = write_dataset(tmp_path / "here" / "dataset")
    monkeypatch.chdir(tmp_path / "here")
    config, out = tiny_config(epochs=1), tmp_path / "here" / "run"
    card = train(config, dataset=Path("dataset"), model="model", out=Path("run"))
    assert card.model["name"] == str(tmp_path / "here" / "model")
    monkeypatch.chdir(tmp_path)
    assert evaluate(out, dataset=dataset)["loss"] == pytest.approx(card.evaluation["last"]["loss"], abs=1e-5)
    for name in ("here/model", str(tmp_path / "here" / "model")):
        assert train(config, dataset=dataset, model=name, out=out) == card
    with pytest.raises(OutputExistsError, match="another config, model or dataset"):
        train(config, dataset=dataset, model=str(write_model(tmp_path / "other", seed=3)), out=out)


def test_run_of_an_earlier_version_is_the_same_by_its_digest(dataset: Path, model: str, tmp_path: Path) -> None:
    """Its card names the model as it was named then."""
    out = tmp_path / "out"
    train(tiny_config(epochs=1), dataset=dataset, model=model, out=out)
    values = json.loads((out / "run_card.json").read_text())
    values["model"]["name"] = "./once/here"
    (out / "run_card.json").write_text(json.dumps(values))
    assert train(tiny_config(epochs=1), dataset=dataset, model=model, out=out).model["name"] == "./once/here"
    with pytest.raises(OutputExistsError, match="another config, model or dataset"):
        train(tiny_config(epochs=1), dataset=dataset, model="./once/there", out=out)


def test_unfinished_run_goes_on_wherever_its_reward_model_is_named_from(tmp_path: Path) -> None:
    """Of two identities that name one judge by two paths, the digest counts; of two judges it tells them apart."""
    from align.artifacts.checkpoint import check_identity

    def identity(digest: str, path: str) -> dict[str, Any]:
        return {"reward_model": digest, "config": {"objective": {"reward_model": path, "beta": 0.1}}}

    check_identity(identity("a", "judge"), identity("a", "/elsewhere/judge"), where=tmp_path)
    with pytest.raises(CheckpointMismatchError, match="with another reward_model"):
        check_identity(identity("a", "judge"), identity("b", "judge"), where=tmp_path)


@pytest.mark.slow
def test_second_launch_of_several_processes_into_a_folder_ends(dataset: Path, model: str, tmp_path: Path) -> None:
    """Its first process finds the folder locked, and the launcher ends the others."""
    out = tmp_path / "out"
    out.mkdir()
    with folder_lock(out / RUN_LOCK_NAME, purpose="a test"):
        call = ["train", str(dataset), "--model", model, "-o", str(out), "--set", "device=cpu"]
        done = subprocess.run(
            launch_command(2, call), capture_output=True, text=True, timeout=300, cwd=ROOT, env={**os.environ}
        )
    assert done.returncode != 0
    assert "a test (process" in done.stderr
    assert done.returncode != -signal.SIGKILL
