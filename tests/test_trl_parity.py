"""KTO beside TRL's: in its order, with its mismatched pairs and a z0 of each micro batch, losses are the same."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from align.config import ObjectiveConfig, OptimizerConfig
from align.logps import CompletionLogps
from align.models import load_policy
from align.optimizer import build_optimizer, trainable_parameters
from align.ranks import start_accelerator
from align.scoring import Scorer
from align.step import Example, backward_step
from align.take_step import step_rules
from tests.trl_step import tiny_model

STEPS, BATCH, RATE = 20, 4, 3e-3


def _rows(folder: Path) -> Path:
    chance = random.Random(0)
    rows = [
        {
            "prompt": [{"role": "user", "content": f"question {number} " + "why " * chance.randint(0, 9)}],
            "completion": [{"role": "assistant", "content": ("yes " if number % 3 else "no ") * chance.randint(1, 12)}],
            "label": number % 3 != 0,
        }
        for number in range(STEPS * BATCH)
    ]
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def _theirs(rows: Path, model: Path, out: Path) -> tuple[list[float], list[dict[str, Any]]]:
    """Losses of TRL's steps, and its rows in tokens, in its order."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import KTOConfig, KTOTrainer

    losses: list[float] = []

    class Keep(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            losses.extend([logs["loss"]] if "loss" in logs else [])

    arguments = KTOConfig(
        output_dir=str(out),
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        learning_rate=RATE,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        weight_decay=0.0,
        max_length=512,
        beta=0.5,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    data = Dataset.from_list([json.loads(line) for line in rows.read_text("utf-8").splitlines()])
    trainer = KTOTrainer(model=str(model), args=arguments, train_dataset=data, callbacks=[Keep()])
    tokens = [dict(row) for row in trainer.train_dataset]
    trainer.train()
    return losses, tokens


def _ours(tokens: list[dict[str, Any]], model: Path) -> list[float]:
    """Losses of our steps on the same rows, pairs and order."""
    loaded, accelerator = load_policy(model), start_accelerator("cpu")
    objective = ObjectiveConfig(beta=0.5, z0_scope="micro")
    scorer = Scorer(CompletionLogps(loaded.model), torch.device("cpu"), "float32", 0, 10**6)
    parameters = trainable_parameters(loaded.model)
    optimizer = build_optimizer(parameters, OptimizerConfig(learning_rate=RATE))
    rows = [
        (
            (tuple(row["prompt_ids"]), tuple(row["completion_ids"])),
            (tuple(row["prompt_ids"]), tuple(row["KL_completion_ids"])),
        )
        for row in tokens
    ]
    references = [scorer.score(list(pairs)) for pairs in rows]
    losses = []
    for start in range(0, len(rows), BATCH):
        examples = [
            Example(
                row_id=str(at),
                sequences=(rows[at][0],),
                mismatched=rows[at][1],
                reference_logps=(references[at][0],),
                mismatched_reference_logp=references[at][1],
                label=tokens[at]["label"],
                weight=1.0,
            )
            for at in range(start, start + BATCH)
        ]
        optimizer.zero_grad(set_to_none=True)
        losses.append(backward_step(examples, scorer, step_rules(objective), accelerator).loss)
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
    return losses


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_losses_are_those_of_trl_for_20_steps(tmp_path: Path) -> None:
    """Within 1e-4, while the loss falls and z0 leaves 0."""
    model = tiny_model(tmp_path / "model")
    theirs, tokens = _theirs(_rows(tmp_path), model, tmp_path / "run")
    ours = _ours(tokens, model)
    assert len(theirs) == STEPS
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert max(theirs) - min(theirs) > 0.05
