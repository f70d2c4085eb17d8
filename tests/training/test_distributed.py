"""Two processes give what one gives: loss, z0, gradient and weights, by `accelerate launch` over gloo."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from align.artifacts.metrics import read_metrics
from align.trainer import train
from tests.launched_run import launch
from tests.tiny_run import CONFIG, tiny_config, write_dataset, write_model

# Five rows a step: ranks hold two or three, in other numbers of micro batches, and now and then one label only.
CHANGES: dict[str, Any] = {"epochs": 1, "batch": {"batch_size": 5, "tokens_per_micro_batch": 100}}


def _launch(processes: int, options: dict[str, Any], cache: Path) -> None:
    # accelerate starts CPU processes through MPI only; its launcher for GPUs starts them anywhere, and ours use the CPU
    kind = ["--multi_gpu", "--num_processes", str(processes), "--num_machines", "1"]
    launch([*kind, "--mixed_precision", "no", "--dynamo_backend", "no"], options, cache)


@pytest.mark.parametrize(
    "scope", ["step", pytest.param("micro", marks=pytest.mark.slow), pytest.param("none", marks=pytest.mark.slow)]
)
def test_two_processes_train_the_model_of_one(scope: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients are compared through an optimizer that hides nothing: its first moment is (1 - beta1) * gradient."""
    monkeypatch.setenv("THUMBLINE_CACHE_DIR", str(tmp_path / "cache-one"))
    model = str(write_model(tmp_path / "model"))
    dataset = write_dataset(tmp_path / "dataset", train=15, test=5)
    one_row_each = {"tokens_per_micro_batch": 1} if scope == "micro" else {}
    config = {
        **CONFIG,
        **CHANGES,
        "batch": {**CHANGES["batch"], **one_row_each},
        "objective": {"z0_scope": scope},
        "checkpoint": {"every_steps": 1, "keep": 9},
    }
    options = {"dataset": str(dataset), "model": model, "config": config}
    _launch(2, {**options, "out": str(tmp_path / "two")}, tmp_path / "cache-two")
    card = train(tiny_config(**config), dataset=dataset, model=model, out=tmp_path / "one")
    two = json.loads((tmp_path / "two" / "run_card.json").read_text())
    assert (two["device"]["processes"], card.device["processes"]) == (2, 1)

    keys = ["n_desirable", "n_undesirable", "examples", "tokens"]
    floats = ["loss", "z0", "reward_margin", "grad_norm", "largest_ratio"]
    if scope == "micro":  # there z0 is a mean of what each rank's micro batch found, so only the first step is equal
        floats = ["grad_norm"]
    ours, theirs = read_metrics(tmp_path / "one"), read_metrics(tmp_path / "two")
    assert len(ours) == len(theirs) == 5
    for mine, other in zip(ours, theirs, strict=True):
        assert [mine.get(key) for key in keys] == [other.get(key) for key in keys]
        if scope != "micro" or mine["step"] == 0:
            for key in floats:
                assert mine.get(key, 0.0) == pytest.approx(other.get(key, 0.0), rel=1e-4, abs=1e-4), (mine["step"], key)

    first = "checkpoints/step-000001/optimizer.safetensors"
    one_state, two_state = load_file(tmp_path / "one" / first), load_file(tmp_path / "two" / first)
    assert one_state.keys() == two_state.keys()
    for name in one_state:
        torch.testing.assert_close(two_state[name], one_state[name], rtol=1e-4, atol=1e-7)
    if scope != "micro":
        weights = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two")]
        for name in weights[0]:
            torch.testing.assert_close(weights[1][name], weights[0][name], rtol=1e-3, atol=1e-4)
