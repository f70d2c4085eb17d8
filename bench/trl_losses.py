"""The losses of our KTO steps and of TRL's, laid over each other.

    python -m bench.trl_losses [--steps N] [--batch N]

A tiny Llama of random weights trains in float32 with TRL's KTOTrainer, and then here: on its rows in its order, with
its mismatched pairs, a z0 of each micro batch (`z0_scope = "micro"`), the same AdamW and the same clipping. What is
left to differ is how the losses are computed. Written to `bench/results/trl_losses.json`.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final

import torch

from align.config import ObjectiveConfig, OptimizerConfig
from align.distributed.ranks import start_accelerator
from align.models.loading import load_policy
from align.scoring.logps import CompletionLogps
from align.scoring.scorer import Scorer
from align.step.example import Example
from align.step.gradient import backward_step
from align.step.optimizer import build_optimizer, trainable_parameters
from align.trainer.take_step import step_rules
from bench.runner import describe_machine, write_result
from bench.small_model import write_small_model
from bench.tables import trl_losses_tables

__all__ = ["compare_losses", "main"]

_MOST_APART: Final = 1e-4
_BETA: Final = 0.5
_RATE: Final = 3e-3
_WORDS: Final = ("yes", "no", "why", "question", *(str(number) for number in range(100)))
_WIDTHS: Final = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}

Row = Mapping[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on both sides, print the table and write the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.trl_losses", description="our losses beside TRL's")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=4, help="examples of a step")
    options = parser.parse_args(arguments)
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, redirect_stdout(sys.stderr):
        losses = compare_losses(options.steps, options.batch, Path(name))
    apart = max(abs(ours - theirs) for ours, theirs in zip(losses["ours"], losses["trl"], strict=True))
    target = {
        "claim": f"losses of {options.steps} steps differ by at most {_MOST_APART:g}",
        "value": float(f"{apart:.1e}"),
        "is_met": apart <= _MOST_APART,
    }
    result = {**vars(options), "beta": _BETA, "learning_rate": _RATE, **losses, "targets": [target], **machine}
    write_result("trl_losses", result)
    print(trl_losses_tables(result))


def compare_losses(steps: int, batch: int, folder: Path) -> dict[str, list[float]]:
    """The loss of each step of ours (`ours`) and of TRL's trainer (`trl`), and our z0 in nats (`z0`).

    Args:
        steps: how many.
        batch: examples of each, one micro batch.
        folder: for the model and what TRL writes.
    """
    model = write_small_model(folder / "model", _WORDS, vocabulary=128, **_WIDTHS)
    theirs, tokens = _theirs(_rows(steps * batch), batch, model, folder / "run")
    ours, z0 = _ours(tokens, batch, model)
    return {"ours": ours, "trl": theirs, "z0": z0}


def _rows(count: int) -> list[dict[str, Any]]:
    """Two rows of three are good answers, of other words than the bad ones, so that there is something to learn."""
    chance = random.Random(0)
    return [
        {
            "prompt": [{"role": "user", "content": f"question {number} " + "why " * chance.randint(0, 9)}],
            "completion": [{"role": "assistant", "content": ("yes " if number % 3 else "no ") * chance.randint(1, 12)}],
            "label": number % 3 != 0,
        }
        for number in range(count)
    ]


def _theirs(rows: list[dict[str, Any]], batch: int, model: Path, out: Path) -> tuple[list[float], list[Row]]:
    """Losses of TRL's steps, and its rows in tokens, in its order."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl.trainer.kto_config import KTOConfig
    from trl.trainer.kto_trainer import KTOTrainer

    losses: list[float] = []

    class Keep(TrainerCallback):
        """Keeps the loss of each step."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
            """Take note of a step's line."""
            losses.extend([logs["loss"]] if "loss" in logs else [])

    arguments = KTOConfig(
        output_dir=str(out),
        per_device_train_batch_size=batch,
        num_train_epochs=1,
        learning_rate=_RATE,
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        weight_decay=0.0,
        max_length=512,
        beta=_BETA,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer: Any = KTOTrainer(
        model=str(model), args=arguments, train_dataset=Dataset.from_list(rows), callbacks=[Keep()]
    )
    tokens: list[Row] = [dict(row) for row in trainer.train_dataset]
    trainer.train()
    return losses, tokens


def _ours(tokens: Sequence[Row], batch: int, model: Path) -> tuple[list[float], list[float]]:
    """Losses and z0 of our steps on the same rows, pairs and order."""
    loaded, accelerator = load_policy(model), start_accelerator("cpu")
    rules = step_rules(ObjectiveConfig(beta=_BETA, z0_scope="micro"))
    scorer = Scorer(CompletionLogps(loaded.model), torch.device("cpu"), "float32", 0, 10**6)
    parameters = trainable_parameters(loaded.model)
    optimizer = build_optimizer(parameters, OptimizerConfig(learning_rate=_RATE))
    examples = [_example(str(place), row, scorer) for place, row in enumerate(tokens)]
    losses, z0 = [], []
    for start in range(0, len(examples), batch):
        optimizer.zero_grad(set_to_none=True)
        outcome = backward_step(examples[start : start + batch], scorer, rules, accelerator)
        torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
        optimizer.step()
        losses.append(outcome.loss)
        z0.append(outcome.z0)
    return losses, z0


def _example(row_id: str, row: Row, scorer: Scorer) -> Example:
    prompt = tuple(row["prompt_ids"])
    matched, mismatched = (prompt, tuple(row["completion_ids"])), (prompt, tuple(row["KL_completion_ids"]))
    of_matched, of_mismatched = scorer.score([matched, mismatched])
    return Example(
        row_id=row_id,
        sequences=(matched,),
        mismatched=mismatched,
        reference_logps=(of_matched,),
        mismatched_reference_logp=of_mismatched,
        label=row["label"],
        weight=1.0,
    )


if __name__ == "__main__":
    main()
