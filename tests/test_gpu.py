"""What can only be seen on a GPU; `make test-gpu` runs these, and elsewhere each is skipped with its reason."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from align.artifacts.metrics import read_metrics
from align.trainer import train
from cli.launch import launch_command
from tests.tiny_run import tiny_config, write_dataset, write_model

GPUS = torch.cuda.device_count()
pytestmark = pytest.mark.skipif(GPUS == 0, reason="no GPU that PyTorch can use")
ROOT = Path(__file__).parents[1]
FSDP2 = str(ROOT / "align" / "distributed" / "accelerate_configs" / "fsdp2.yaml")


@pytest.fixture
def model(tmp_path: Path, own_cache: None) -> str:
    return str(write_model(tmp_path / "model"))


@pytest.mark.parametrize("objective", ["kto", "dpo", "orpo"])
def test_a_gpu_trains_what_a_cpu_trains(objective: str, model: str, tmp_path: Path) -> None:
    """Losses and z0 of every step, and the trained weights, to the rounding of the devices."""
    pairs = {"chosen": lambda n: f"yes it is {n}", "rejected": lambda n: f"no sorry {n}"}
    dataset = write_dataset(tmp_path / "data", **({} if objective == "kto" else pairs))
    for device in ("cpu", "cuda"):
        config = tiny_config(device=device, objective={"name": objective})
        train(config, dataset=dataset, model=model, out=tmp_path / device)
    ours, theirs = (read_metrics(tmp_path / device) for device in ("cuda", "cpu"))
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-3, abs=1e-4)
        assert mine["z0"] == pytest.approx(other["z0"], rel=1e-2, abs=1e-3)
    weights = [load_file(tmp_path / device / "model" / "model.safetensors") for device in ("cuda", "cpu")]
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    "changes", [{"gradient_checkpointing": True}, {"dtype": "bfloat16"}, {"optimizer": {"moments": "int8"}}]
)
def test_memory_savers_train_on_a_gpu(changes: dict[str, object], model: str, tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data")
    card = train(tiny_config(device="cuda", **changes), dataset=dataset, model=model, out=tmp_path / "run")
    assert card.device["device"] == "cuda"
    assert card.steps["steps"] == 6


def test_a_resumed_run_on_a_gpu_ends_as_the_whole_one(model: str, tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data")
    config = tiny_config(device="cuda", checkpoint={"every_steps": 2})
    train(config, dataset=dataset, model=model, out=tmp_path / "whole")
    train(config, dataset=dataset, model=model, out=tmp_path / "stopped")
    for left in ("run_card.json", "run_card.md"):
        (tmp_path / "stopped" / left).unlink()
    shutil.rmtree(tmp_path / "stopped" / "checkpoints" / "step-000006")
    train(config, dataset=dataset, model=model, out=tmp_path / "stopped")
    weights = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "stopped")]
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(GPUS < 2, reason="fewer than two GPUs")
def test_two_gpus_train_what_one_trains(model: str, tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data")
    for processes in (1, 2):
        out = tmp_path / str(processes)
        call = ["train", str(dataset), "--model", model, "-o", str(out), "--set", "epochs=2"]
        command = [sys.executable, "-m", "cli.main", *call] if processes == 1 else launch_command(processes, call)
        env = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "0,1"[: 2 * processes - 1]}
        subprocess.run(command, check=True, cwd=ROOT, env=env)
        assert json.loads((out / "run_card.json").read_text())["device"]["processes"] == processes
    ours, theirs = read_metrics(tmp_path / "2"), read_metrics(tmp_path / "1")
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-3, abs=1e-4)


@pytest.mark.skipif(GPUS < 2, reason="fewer than two GPUs")
@pytest.mark.parametrize("offload", ["false", "true"])
def test_two_gpus_that_share_the_weights_train_what_one_trains(offload: str, model: str, tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data")
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", FSDP2]
    launcher += ["--fsdp_offload_params", offload]
    for name, start in (("one", [sys.executable]), ("two", launcher)):
        call = ["train", str(dataset), "--model", model, "-o", str(tmp_path / name), "--set", "epochs=2"]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "0" if name == "one" else "0,1"}
        subprocess.run([*start, "-m", "cli.main", *call], check=True, cwd=ROOT, env=env)
    ours, theirs = read_metrics(tmp_path / "two"), read_metrics(tmp_path / "one")
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-3, abs=1e-4)
    weights = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two")]
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-2, atol=1e-2)
