"""Resume at any step, after kills at random moments, and with another number of processes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from align.artifacts.card import find_run_card
from align.artifacts.metrics import read_metrics
from align.trainer import train
from cli.launch import launch_command
from tests.tiny_run import CONFIG, tiny_config, weights_of

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("own_cache")
KILLS = 20
KEEP_ALL: dict[str, Any] = {"checkpoint": {"every_steps": 1, "keep": 99}}


def back_to_step(whole: Path, step: int, out: Path) -> Path:
    """A copy of a finished run as it was after a step."""
    shutil.copytree(whole, out)
    shutil.rmtree(out / "model")
    for left in out.glob("run_card.*"):
        left.unlink()
    for checkpoint in (out / "checkpoints").iterdir():
        if int(checkpoint.name.removeprefix("step-")) > step:
            shutil.rmtree(checkpoint)
    return out


def test_resume_at_every_step_equals_the_whole_run(dataset: Path, model: str, tmp_path: Path) -> None:
    """Bit for bit, from each of six checkpoints and from none."""
    whole = tmp_path / "whole"
    config = tiny_config(**KEEP_ALL)
    train(config, dataset=dataset, model=model, out=whole)
    for step in range(6):
        out = back_to_step(whole, step, tmp_path / str(step))
        train(config, dataset=dataset, model=model, out=out)
        assert weights_of(out) == weights_of(whole), step
        assert [line["step"] for line in read_metrics(out) if line["kind"] == "step"] == list(range(6))


@pytest.mark.slow
def test_runs_resume_with_another_number_of_processes(dataset: Path, model: str, tmp_path: Path) -> None:
    """Begun by two and ended by one, and the reverse: the weights of one process alone, to rounding."""
    config = {**CONFIG, **KEEP_ALL}
    alone, both = tmp_path / "alone", tmp_path / "both"
    train(tiny_config(**KEEP_ALL), dataset=dataset, model=model, out=alone)

    def train_with_two(out: Path) -> None:
        options = {"dataset": str(dataset), "model": model, "out": str(out), "config": config}
        command = launch_command(2, [])
        command[command.index("cli.main") :] = ["tests.tiny_run", json.dumps(options)]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]

    train_with_two(both)
    ended_by_one = back_to_step(both, 2, tmp_path / "ended-by-one")
    train(tiny_config(**KEEP_ALL), dataset=dataset, model=model, out=ended_by_one)
    ended_by_two = back_to_step(alone, 4, tmp_path / "ended-by-two")
    train_with_two(ended_by_two)
    wanted = load_file(alone / "model" / "model.safetensors")
    for out in (ended_by_one, ended_by_two):
        found = load_file(out / "model" / "model.safetensors")
        for name, weight in wanted.items():
            torch.testing.assert_close(found[name], weight, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_run_of_30_steps_killed_20_times_ends_with_the_same_bytes(dataset: Path, model: str, tmp_path: Path) -> None:
    """SIGKILL at random moments, as many steps on as chance says; a run that came to its end begins anew."""
    changes = {"epochs": 10, "checkpoint": {"every_steps": 3, "keep": 2}}
    train(tiny_config(**changes), dataset=dataset, model=model, out=tmp_path / "whole")
    chance, kills, runs = random.Random(7), 0, 0
    while kills < KILLS:
        out = tmp_path / f"killed-{runs}"
        options = {"dataset": str(dataset), "model": model, "out": str(out), "config": {**CONFIG, **changes}}
        while find_run_card(out) is None:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.tiny_run", json.dumps({**options, "step_seconds": 0.05})],
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            seen, wanted = _last_step(out), chance.randint(0, 5)
            while process.poll() is None and _last_step(out) < seen + wanted:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.5))
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
        assert weights_of(out) == weights_of(tmp_path / "whole"), kills
        assert [line["step"] for line in read_metrics(out) if line["kind"] == "step"] == list(range(30))
        runs += 1


def _last_step(out: Path) -> int:
    """The newest step in the metrics of a run; -1 before there is one."""
    return max((line["step"] for line in read_metrics(out) if line["kind"] == "step"), default=-1)
