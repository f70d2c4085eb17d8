"""Our trainer on rows in a process of its own: `python train_ours.py OPTIONS.json`, see `bench.train`.

Prints one JSON object: seconds (wall and processor) of the reference pass and of all steps, losses, and tokens.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from align.artifacts.metrics import read_metrics
from align.config import TrainConfig
from align.trainer import train
from schemas.progress import Advance
from schemas.settings import load_settings


class Finished(Exception):  # noqa: N818 - no error: it leaves a run whose steps were all taken
    """Every step was taken; what the run would write is not measured."""


class Watch:
    """Progress that is on the clock in the reference pass and in training, and ends the run behind its last step."""

    def __init__(self) -> None:
        self.wall = 0.0
        self.processor = 0.0

    @contextmanager
    def __call__(self, description: str, total: int | None = None) -> Iterator[Advance]:
        """Watch a task."""
        done, began = 0, (time.perf_counter(), time.process_time())

        def advance(units: int) -> None:
            """Leave after the last step."""
            nonlocal done
            done += units
            if description == "train" and done == total:
                raise Finished

        try:
            yield advance
        finally:
            if description in ("reference", "train"):
                self.wall += time.perf_counter() - began[0]
                self.processor += time.process_time() - began[1]


def main() -> None:
    """Train as the options say."""
    options = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    torch.set_num_threads(options["threads"])
    values: dict[str, Any] = {
        "objective": {"name": options["objective"]},
        "batch": {"batch_size": options["batch"]},
        "tokens": {"max_completion_tokens": options["max_length"]},
        "optimizer": {"learning_rate": options["learning_rate"], "schedule": "constant", "warmup_fraction": 0.0},
        "epochs": options["epochs"],
        "dtype": options["dtype"],
        "checkpoint": {"every_steps": 0},
        "device": "cpu",
    }
    watch, out = Watch(), Path(options["scratch"]) / "run"
    with suppress(Finished), contextlib.redirect_stdout(sys.stderr):
        train(
            load_settings(TrainConfig, values, where="bench.train"),
            dataset=Path(options["rows"]),
            model=options["model"],
            out=out,
            progress=watch,
        )
    steps = [line for line in read_metrics(out) if line["kind"] == "step"]
    print(
        json.dumps(
            {
                "seconds": watch.wall,
                "cpu_seconds": watch.processor,
                "examples": sum(line["examples"] for line in steps),
                "losses": [line["loss"] for line in steps],
                "tokens": sum(line["tokens"] for line in steps),
                "computed_tokens": sum(line["padded_tokens"] for line in steps),
            }
        )
    )


if __name__ == "__main__":
    main()
