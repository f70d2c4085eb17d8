"""`train --dry-run` and `train --processes`: what they say, what they leave alone, and what they start."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from align.models.loading import count_parameters, load_model_config, load_tokenizer
from align.resources.dry_run import dry_run, estimate_memory, matrix_speed
from align.resources.forecast import forecast
from cli import launch
from cli.main import run
from tests.conftest import make_model
from tests.tiny_run import tiny_config, write_dataset, write_model

ROOT = Path(__file__).parents[2]


@pytest.fixture
def model(tmp_path: Path, own_cache: None) -> str:
    return str(write_model(tmp_path / "model"))


def test_memory_by_hand() -> None:
    """1,000 weights, 2 layers of 32 and 64 wide with keys and values of 16, 10 tokens.

    A layer keeps 4 x 32 + 2 x 16 + 2 x 64 = 288 numbers a token, and one layer is whole, 12 x 32 + 4 x 64 = 640:
    10 x (2 x 288 + 640) x 4 = 48,640 bytes. Recomputed, it keeps its input: 10 x (2 x 32 + 640) x 4 = 28,160.
    """
    config = make_model().config
    plain = estimate_memory(config, 1000, tiny_config(), tokens=10)
    assert (plain.weights, plain.gradients, plain.optimizer) == (4000, 4000, 8000)
    assert plain.activations == 48_640
    assert plain.head == 512 * 300 * 8
    assert plain.total == 16_000 + 48_640 + 1_228_800
    assert estimate_memory(config, 1000, tiny_config(gradient_checkpointing=True), tokens=10).activations == 28_160
    thin = estimate_memory(config, 1000, tiny_config(adapter={"enabled": True, "rank": 1}), tokens=10)
    assert (thin.weights, thin.gradients) == (4000, 4 * 2 * 7 * 96)


def test_memory_of_other_objectives_by_hand() -> None:
    """A frozen copy stands beside the model, unless an adapter is switched off instead; rewards need no logits."""
    config = make_model().config
    online = {"name": "rlhf", "reward_model": "judge"}
    for objective in (online, {"name": "offline_ppo"}):
        assert estimate_memory(config, 1000, tiny_config(objective=objective), tokens=10).weights == 8000
        thin = tiny_config(objective=objective, adapter={"enabled": True})
        assert estimate_memory(config, 1000, thin, tokens=10).weights == 4000
    assert estimate_memory(config, 1000, tiny_config(objective={"name": "reward_model"}), tokens=10).head == 512 * 8


def test_a_dry_run_counts_what_the_run_counts(model: str, tmp_path: Path) -> None:
    dataset, config = write_dataset(tmp_path / "data", train=30), tiny_config()
    found = dry_run(config, dataset=dataset, model=model).to_dict()
    same = forecast(dataset, load_tokenizer(model), config, parameters=count_parameters(model))
    assert same.inputs is not None
    assert same.passes is not None
    assert (found["rows"], found["steps"]) == (30, len(same.inputs.steps))
    assert found["passes"]["policy"]["computed_tokens"] == same.passes.policy.padded_tokens
    assert found["parameters"] == make_model().num_parameters()
    assert found["seconds"] > 0
    assert load_model_config(model).hidden_size == 32


def test_speed_of_a_product_is_a_number_of_this_machine() -> None:
    assert 1e8 < matrix_speed("cpu", "float32") < 1e14


def test_dry_run_shows_its_figures_and_writes_nothing(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = write_dataset(tmp_path / "data", train=12)
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    call = ["train", str(dataset), "--model", model, "--dry-run", "--set", "batch.batch_size=4"]
    assert run(call) == 0
    shown = capsys.readouterr().out
    assert "Rows: 12 of 12." in shown
    assert "Labels: 6 up, 6 down, R = 1.000." in shown
    assert "Steps: 3." in shown
    assert "Memory of a process: about" in shown
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert run([*call, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 3
    assert run([*call, "--sweep", "beta=0.1,0.2"]) == 2


@pytest.mark.parametrize(
    ("objective", "labels", "passes"),
    [
        ("sft", "6 up, 6 down; those down are not trained on.", "nothing is padded"),
        ("csft", "6 up, 6 down.", "nothing is padded"),
        ("offline_ppo", "6 up, 6 down, R = 1.000.", "sequences are padded to the longest of their micro batch"),
    ],
)
def test_dry_run_says_what_is_true_of_the_objective(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], objective: str, labels: str, passes: str
) -> None:
    dataset = write_dataset(tmp_path / "data", train=12)
    assert run(["train", str(dataset), "--model", model, "--dry-run", "--objective", objective]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"Labels: {labels}" in shown
    assert passes in shown


def test_dry_run_says_why_it_cannot_train(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = write_dataset(tmp_path / "data", train=6, prompt=lambda _: "the same")
    assert run(["train", str(dataset), "--model", model, "--dry-run"]) == 0
    assert "It cannot train: 6 of 6 rows share one prompt" in capsys.readouterr().out


def test_processes_are_started_by_accelerate_with_the_same_call(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(launch, "launch", lambda processes, call: seen.append((processes, call)) or 7)
    code = run(["train", "data", "--model", model, "-o", "run", "--processes", "3", "--set", "max_steps=2"])
    assert (code, seen) == (7, [(3, ["train", "data", "--model", model, "-o", "run", "--set", "max_steps=2"])])
    command = launch.launch_command(3, ["train", "data"])
    assert command[command.index("--num_processes") + 1] == "3"
    assert command[-4:] == ["-m", "cli.main", "train", "data"]


def test_two_processes_train_and_one_speaks(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    dataset, out = write_dataset(tmp_path / "data", train=8, test=0), tmp_path / "run"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    call = ["train", str(dataset), "--model", model, "-o", str(out), "--processes", "2"]
    assert run([*call, "--set", "batch.batch_size=4", "--set", "device=cpu"]) == 0
    assert capfd.readouterr().out.replace("\n", " ").count("kto: 2 steps") == 1
    assert json.loads((out / "run_card.json").read_text())["device"]["processes"] == 2
