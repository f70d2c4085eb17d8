"""Steps of one row, what SFT leaves out, and a held-out loss whose z0 is that of the steps."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from align.artifacts.metrics import read_metrics
from align.batches.held_out import held_out_pairs
from align.batches.inputs import read_split_for, tokenize_split
from align.evaluate import evaluate
from align.models.loading import load_policy
from align.objectives import OBJECTIVES
from align.scoring.scorer import build_scorer
from align.trainer import train
from schemas.errors import ConfigError
from tests.tiny_run import tiny_config, write_dataset, write_model

pytestmark = pytest.mark.usefixtures("own_cache")

ONE = {"batch_size": 1}


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    folder = tmp_path / "pairs"
    folder.mkdir()
    rows = [{"prompt": f"hello {n}", "chosen": "yes it is", "rejected": "no sorry " * (1 + n % 3)} for n in range(4)]
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


OTHERS = ("sft", "csft", "offline_ppo", "cdpo", "orpo", "slic", "reward_model")


@pytest.mark.parametrize("name", ["dpo", "kto", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_step_of_one_row_trains_where_it_needs_no_partner(
    name: str, dataset: Path, pairs: Path, model: str, tmp_path: Path
) -> None:
    objective = {"name": name, **({"z0_scope": "none"} if name == "kto" else {})}
    data = pairs if OBJECTIVES[name].data == "preference" else dataset
    config = tiny_config(objective=objective, batch=ONE, max_steps=3)
    card = train(config, dataset=data, model=model, out=tmp_path / "out")
    assert card.steps["examples"] == card.steps["steps"] == 3
    losses = [line["loss"] for line in read_metrics(tmp_path / "out") if line["kind"] == "step"]
    assert all(map(math.isfinite, losses))


def test_step_of_one_row_has_no_z0(dataset: Path, tmp_path: Path) -> None:
    """Said before a model is looked for."""
    with pytest.raises(ConfigError, match=r"batch\.batch_size: z0 is a mean.*got 1; expected at least 2.*z0_scope"):
        train(tiny_config(batch=ONE), dataset=dataset, model="./none", out=tmp_path / "out")


def test_rows_that_sft_does_not_train_on_are_not_lost_in_tokenization(
    dataset: Path, model: str, tmp_path: Path
) -> None:
    card = train(tiny_config(objective={"name": "sft"}, epochs=1), dataset=dataset, model=model, out=tmp_path / "out")
    assert card.rows["train"]["lost"] == {"undesirable": 9}
    assert not [warning for warning in card.warnings if "lost" in warning]
    assert "Rows trained on: 9 desirable; 9 undesirable rows are not trained on" in card.to_markdown()


def test_rows_that_do_not_fit_are_lost_under_sft_too(model: str, tmp_path: Path) -> None:
    """Six of the nine desirable rows, of 18."""
    rows = write_dataset(tmp_path / "rows", completion=lambda place: "yes" * (1 if place % 3 == 0 else 100))
    config = tiny_config(objective={"name": "sft"}, epochs=1, tokens={"max_completion_tokens": 50}, batch=ONE)
    card = train(config, dataset=rows, model=model, out=tmp_path / "out")
    assert "12 of 18 rows of the split 'train' were lost in tokenization." in card.warnings


def test_held_out_loss_without_z0_is_that_of_0(tmp_path: Path) -> None:
    """By hand, from the log-probabilities of the trained model and of its base; and no mismatched pair is scored."""
    model, rows = write_model(tmp_path / "model"), write_dataset(tmp_path / "rows")
    config = tiny_config(objective={"z0_scope": "none", "beta": 0.5}, epochs=6)
    card = train(config, dataset=rows, model=str(model), out=tmp_path / "out")
    last = card.evaluation["last"]
    assert (last["z0"], last["mean_kl"]) == (0.0, None)
    policies = [load_policy(folder) for folder in (tmp_path / "out" / "model", model)]
    tokens = tokenize_split(read_split_for(OBJECTIVES["kto"], rows, "test"), policies[0].tokenizer, config.tokens).rows
    new, old = (
        build_scorer(policy, device=torch.device("cpu"), dtype="float32", tokens=512).score(
            [row.sequences[0] for row in tokens]
        )
        for policy in policies
    )
    signs = [1 if row.label else -1 for row in tokens]
    losses = [
        1 - 1 / (1 + math.exp(-0.5 * sign * (ours - theirs)))
        for sign, ours, theirs in zip(signs, new, old, strict=True)
    ]
    assert last["loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-4)
    assert last["reward_desirable"] > 0.1
    again = evaluate(tmp_path / "out", dataset=rows)
    assert (again["loss"], again["z0"]) == (pytest.approx(last["loss"], abs=1e-5), 0.0)
    assert held_out_pairs(tokens, OBJECTIVES["kto"], takes_kl=False).mismatched == ()
