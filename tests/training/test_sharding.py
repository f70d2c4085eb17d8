"""FSDP2: two processes that share the weights train what one trains, and go on with what one saved, and the reverse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from align.artifacts.metrics import read_metrics
from align.distributed.sharding import is_sharding_asked
from align.trainer import train
from schemas.errors import ConfigError
from tests.launched_run import launch
from tests.tiny_run import CONFIG, tiny_config, write_dataset, write_model
from tests.training.test_resume_any_step import back_to_step

CONFIGS = Path(__file__).parents[2] / "align" / "distributed" / "accelerate_configs"
KEEP_ALL: dict[str, Any] = {"checkpoint": {"every_steps": 1, "keep": 99}}
# Five rows a step in passes of 60 tokens: ranks have two or three rows, and other numbers of passes.
UNEVEN: dict[str, Any] = {"batch": {"batch_size": 5, "tokens_per_micro_batch": 60}}


def train_sharded(options: dict[str, Any], cache: Path) -> None:
    """A run of two processes on the CPU with the config for FSDP2 that we ship."""
    launch(["--config_file", str(CONFIGS / "fsdp2.yaml")], options, cache)


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    [path] = (run / "model").glob("*model.safetensors")
    found: dict[str, torch.Tensor] = load_file(path)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{}, {"tied": False, "dtype": "bfloat16"}, {"objective": "dpo"}, {"adapter": {"enabled": True}}]
)
def test_shards_train_the_model_of_one_process(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses, z0 and gradient norms of every step, moments of the first, and the weights."""
    monkeypatch.setenv("THUMBLINE_CACHE_DIR", str(tmp_path / "cache-one"))
    model = str(write_model(tmp_path / "model", tied=changes.get("tied", True)))
    pairs = {"chosen": lambda n: "yes it is " * (1 + n % 4), "rejected": lambda n: "no sorry " * (1 + n % 3)}
    columns = pairs if changes.get("objective") == "dpo" else {}
    dataset = write_dataset(tmp_path / "data", train=15, test=5, **columns)
    dtype = changes.get("dtype", "float32")
    settings = {
        **CONFIG,
        **UNEVEN,
        **KEEP_ALL,
        "epochs": 1,
        "dtype": dtype,
        "objective": {"name": changes.get("objective", "kto")},
        "adapter": changes.get("adapter", {}),
    }
    options = {"dataset": str(dataset), "model": model, "config": settings}
    train_sharded({**options, "out": str(tmp_path / "two")}, tmp_path / "cache-two")
    train(tiny_config(**settings), dataset=dataset, model=model, out=tmp_path / "one")
    device = json.loads((tmp_path / "two" / "run_card.json").read_text())["device"]
    assert (device["processes"], device["gradient_checkpointing"]) == (2, True)

    close = 1e-4 if dtype == "float32" else 3e-2
    ours, theirs = read_metrics(tmp_path / "one"), read_metrics(tmp_path / "two")
    assert len(ours) == len(theirs) >= 5
    for mine, other in zip(ours, theirs, strict=True):
        for key in ("loss", "z0", "reward_margin", "grad_norm"):
            assert mine.get(key, 0.0) == pytest.approx(other.get(key, 0.0), rel=close, abs=close), (mine["step"], key)
        assert mine.get("tokens") == other.get("tokens")
    if dtype == "float32":
        first = "checkpoints/step-000001/optimizer.safetensors"
        torch.testing.assert_close(
            load_file(tmp_path / "two" / first), load_file(tmp_path / "one" / first), rtol=1e-4, atol=1e-7
        )
        torch.testing.assert_close(weights_of(tmp_path / "two"), weights_of(tmp_path / "one"), rtol=1e-3, atol=1e-4)
    assert weights_of(tmp_path / "two").keys() == weights_of(tmp_path / "one").keys()


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_runs_resume_with_and_without_shards(tmp_path: Path) -> None:
    """Begun by two that share the weights and ended by one, and the reverse: the weights of one alone, to rounding."""
    model, dataset = str(write_model(tmp_path / "model")), write_dataset(tmp_path / "data", test=0)
    settings = {**CONFIG, **UNEVEN, **KEEP_ALL, "epochs": 1}
    options = {"dataset": str(dataset), "model": model, "config": settings}
    alone, both = tmp_path / "alone", tmp_path / "both"
    train(tiny_config(**settings), dataset=dataset, model=model, out=alone)
    train_sharded({**options, "out": str(both)}, tmp_path / "cache-two")
    ended_by_one = back_to_step(both, 2, tmp_path / "ended-by-one")
    train(tiny_config(**settings), dataset=dataset, model=model, out=ended_by_one)
    ended_by_two = back_to_step(alone, 2, tmp_path / "ended-by-two")
    train_sharded({**options, "out": str(ended_by_two)}, tmp_path / "cache-two")
    for out in (ended_by_one, ended_by_two):
        torch.testing.assert_close(weights_of(out), weights_of(alone), rtol=1e-3, atol=1e-4)


def test_accelerate_reads_every_config_that_is_shipped() -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    found = {path.stem: load_config_from_file(str(path)) for path in CONFIGS.glob("*.yaml")}
    assert all(config.num_processes >= 2 for config in found.values())
    versions = {name: (config.fsdp_config or {}).get("fsdp_version") for name, config in found.items()}
    assert versions == {"fsdp2": 2, "one_machine": None, "two_machines": None}


def test_sharding_is_refused_where_it_would_not_be_right(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_sharding_asked(tiny_config())
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    assert is_sharding_asked(tiny_config())
    with pytest.raises(ConfigError, match=r"objective\.name.*'offline_ppo'"):
        is_sharding_asked(tiny_config(objective={"name": "offline_ppo"}))
    with pytest.raises(ConfigError, match=r"optimizer\.moments.*'int8'"):
        is_sharding_asked(tiny_config(optimizer={"moments": "int8"}))
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(ConfigError, match=r"this version of FSDP is not known here.*'1'.*expected 2"):
        is_sharding_asked(tiny_config())
