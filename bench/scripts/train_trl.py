"""TRL's trainer on rows in a process of its own: `python train_trl.py OPTIONS.json`, see `bench.train`.

Prints one JSON object: seconds (wall and processor) of the reference pass and of training, losses, and tokens.
What TRL prepares before (loading, templates, tokens) is not in the seconds.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer


class Clock:
    """Wall and processor seconds, summed over the times that it runs."""

    def __init__(self) -> None:
        self.wall = 0.0
        self.processor = 0.0

    def __enter__(self) -> None:
        self.began = (time.perf_counter(), time.process_time())

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter() - self.began[0]
        self.processor += time.process_time() - self.began[1]


class Losses(TrainerCallback):
    """Keeps the loss of each step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
        """Take note of a step's line."""
        if logs and "loss" in logs:
            self.values.append(float(logs["loss"]))


def main() -> None:
    """Train as the options say."""
    options = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    torch.set_num_threads(options["threads"])
    clock, losses = Clock(), Losses()
    trainer_class, config_class = (KTOTrainer, KTOConfig) if options["objective"] == "kto" else (DPOTrainer, DPOConfig)

    class Timed(trainer_class):  # type: ignore[misc, valid-type]
        """The trainer with its reference pass on the clock."""

        def _precompute_ref_logps(self, *arguments: Any, **more: Any) -> Any:
            with clock:
                return super()._precompute_ref_logps(*arguments, **more)

    arguments = config_class(
        output_dir=options["scratch"],
        per_device_train_batch_size=options["micro"],
        gradient_accumulation_steps=options["batch"] // options["micro"],
        num_train_epochs=options["epochs"],
        precompute_ref_log_probs=options["precompute"],
        max_length=options["max_length"],
        gradient_checkpointing=options["checkpointing"],
        bf16=options["dtype"] == "bfloat16",
        model_init_kwargs={"dtype": "float32"},
        learning_rate=options["learning_rate"],
        lr_scheduler_type="constant",
        max_grad_norm=1.0,
        beta=0.1,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    rows = Dataset.from_list([json.loads(line) for line in Path(options["rows"]).read_text("utf-8").splitlines()])
    with contextlib.redirect_stdout(sys.stderr):
        trainer = Timed(model=options["model"], args=arguments, train_dataset=rows, callbacks=[losses])
        with clock:
            trainer.train()
    examples = len(rows) * options["epochs"]
    print(
        json.dumps(
            {"seconds": clock.wall, "cpu_seconds": clock.processor, "examples": examples, "losses": losses.values}
        )
    )


if __name__ == "__main__":
    main()
