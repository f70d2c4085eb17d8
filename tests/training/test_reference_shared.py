"""What a run computes of the reference: nothing that an earlier run of the same model has computed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from align.artifacts.metrics import read_metrics
from align.batches.inputs import build_inputs, read_rows
from align.models.loading import load_policy
from align.objectives import OBJECTIVES
from align.scoring.scorer import build_scorer
from align.tokens.token_ids import TokenPair
from align.trainer import train
from schemas.progress import Advance
from tests.conftest import make_tokenizer
from tests.tiny_run import tiny_config, write_dataset, write_model

pytestmark = pytest.mark.usefixtures("own_cache")


def computed(tmp_path: Path, name: str, *, model: str, dataset: Path, **changes: Any) -> int:
    """Pairs that the reference scored in a run of one step."""
    scored = 0

    @contextmanager
    def progress(description: str, total: int | None = None) -> Iterator[Advance]:
        nonlocal scored
        scored += (total or 0) if description == "reference" else 0
        yield lambda units: None

    config = tiny_config(**{"evaluation": {"at_start": False}, "checkpoint": {"every_steps": 0}, **changes})
    train(config, dataset=dataset, model=model, out=tmp_path / name, progress=progress)
    return scored


@pytest.mark.parametrize("objective", ["kto", "dpo"])
def test_a_run_of_one_step_asks_the_reference_for_one_row(tmp_path: Path, objective: str) -> None:
    """18 rows or 9 pairs, all in one step, in which the policy is the reference; nothing is held out."""
    model = str(write_model(tmp_path / "model"))
    folder = _pairs(tmp_path / "pairs.jsonl")
    if objective == "kto":
        folder = write_dataset(tmp_path / "data", test=0, completion=lambda at: f"answer {at}")
    config: dict[str, Any] = {"objective": {"name": objective}, "epochs": 1, "batch": {"batch_size": 18}}
    assert computed(tmp_path, "run", model=model, dataset=folder, **config) == 1
    [step] = [line for line in read_metrics(tmp_path / "run") if line["kind"] == "step"]
    assert step["loss"] == pytest.approx(0.5 if objective == "kto" else math.log(2), abs=1e-6)
    assert (step["reward_desirable"], step["reward_undesirable"], step["z0"]) == (0.0, 0.0, 0.0)
    # what the step found is kept: a second epoch needs its mismatched pairs alone
    again = computed(tmp_path, "again", model=model, dataset=folder, **(config | {"epochs": 2}))
    assert again == (18 if objective == "kto" else 0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_first_step_is_free_of_rounding(tmp_path: Path, dtype: str) -> None:
    """In bfloat16 two passes over one model differ by tenths of a nat, which would be learned from."""
    call: dict[str, Any] = {"model": str(write_model(tmp_path / "model")), "dataset": write_dataset(tmp_path / "data")}
    computed(tmp_path, "run", **call, dtype=dtype)
    first = next(line for line in read_metrics(tmp_path / "run") if line["kind"] == "step")
    assert (first["loss"], first["z0"], first["reward_margin"]) == (pytest.approx(0.5, abs=1e-6), 0.0, 0.0)


def test_the_second_step_is_measured_against_the_model_that_training_began_with(tmp_path: Path) -> None:
    """Rewards, z0 and the largest log-ratio of step 1, from the weights of step 0's checkpoint and those on disk."""
    model, dataset = str(write_model(tmp_path / "model")), write_dataset(tmp_path / "data")
    computed(tmp_path, "run", model=model, dataset=dataset, max_steps=2, checkpoint={"every_steps": 1, "keep": 9})
    line = [line for line in read_metrics(tmp_path / "run") if line["kind"] == "step"][1]
    before, after = load_policy(model), load_policy(model)
    after.model.load_state_dict(load_file(tmp_path / "run/checkpoints/step-000001/weights.safetensors"), strict=False)
    config = tiny_config(max_steps=2)
    inputs = build_inputs(read_rows(dataset, OBJECTIVES["kto"]), before.tokenizer, config, dataset=dataset)
    policy, reference = (
        build_scorer(one, device=torch.device("cpu"), dtype="float32", tokens=500) for one in (after, before)
    )

    def ratios(pairs: list[TokenPair]) -> list[float]:
        return [ours - theirs for ours, theirs in zip(policy.score(pairs), reference.score(pairs), strict=True)]

    step = inputs.steps[1]
    matched = ratios([inputs.sequences(planned)[0] for planned in step])
    mismatched = ratios(inputs.mismatched_pairs(1))
    liked = [r for r, planned in zip(matched, step, strict=True) if inputs.train.rows[planned.row].label]
    assert len(mismatched) == len(step)
    assert line["largest_ratio"] == pytest.approx(max(abs(r) for r in matched + mismatched), abs=1e-3)
    assert line["largest_ratio"] > 0.01
    assert line["mean_kl"] == pytest.approx(sum(mismatched) / len(mismatched), abs=1e-3)
    assert line["reward_desirable"] == pytest.approx(config.objective.beta * sum(liked) / len(liked), abs=1e-3)


@pytest.mark.parametrize("together", [True, False])
def test_a_config_says_whether_answers_share_a_step(tmp_path: Path, *, together: bool) -> None:
    """16 prompts with two answers each, in 8 steps of 4 rows: all meet, or hardly one."""
    dataset = write_dataset(tmp_path / "data", train=32, prompt=lambda at: f"hello {at // 2}")
    config = tiny_config(epochs=1, batch={"batch_size": 4, "answers_together": together})
    rows = read_rows(dataset, OBJECTIVES["kto"])
    inputs = build_inputs(rows, make_tokenizer(), config, dataset=dataset)
    prompts = [[inputs.train.rows[planned.row].prompt_ids for planned in step] for step in inputs.steps]
    met = sum(len(step) - len(set(step)) for step in prompts)
    assert met == 16 if together else met < 8


def _pairs(path: Path) -> Path:
    rows = [{"prompt": f"question {n}", "chosen": f"yes {n}", "rejected": f"no, {n}"} for n in range(9)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_runs_share_what_is_the_same_and_nothing_else(tmp_path: Path) -> None:
    """18 rows with 18 mismatched pairs in both epochs, 8 held out with 8: a second run computes none of them.

    Of the first step's 6 rows only one is computed; their mismatched pairs are for the second epoch. Two rows of
    training are held out as well.
    """
    model = str(write_model(tmp_path / "model"))
    dataset = write_dataset(tmp_path / "data", completion=lambda at: f"answer {at}")
    call: dict[str, Any] = {"model": model, "dataset": dataset}
    first = computed(tmp_path, "first", **call)
    assert first == 13 + 18 + 16 - 2
    assert computed(tmp_path, "again", **call) == 0
    assert computed(tmp_path, "beta", **call, objective={"beta": 0.7}) == 0
    assert computed(tmp_path, "value", **call, objective={"value": "concave"}) == 0
    assert computed(tmp_path, "no-z0", **call, objective={"z0_scope": "none"}) == 0
    assert computed(tmp_path, "sft", **call, objective={"name": "sft"}) == 0
    assert computed(tmp_path, "budget", **call, batch={"tokens_per_micro_batch": 50}) == 0
    assert computed(tmp_path, "reshuffled", **call, seed=5) == 0
    assert computed(tmp_path, "reshuffled-without", **call, seed=9, objective={"z0_scope": "none"}) == 0

    assert computed(tmp_path, "bfloat16", **call, dtype="bfloat16") == first
    other = str(write_model(tmp_path / "other", seed=1))
    assert computed(tmp_path, "weights", model=other, dataset=dataset) == first
    template = make_tokenizer().chat_template.replace("assistant", "helper")
    tokenizer = make_tokenizer(chat_template=template)
    tokenizer.save_pretrained(tmp_path / "model")
    assert computed(tmp_path, "template", **call) == first
