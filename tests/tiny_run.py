"""A run of seconds: a tiny model, a few labelled rows, and a script that trains on them in a process of its own.

Run as `python -m tests.tiny_run JSON` with the keys dataset, model, out, config and, to be stoppable, step_seconds.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from align.config import TrainConfig
from schemas.progress import Advance
from schemas.settings import load_settings
from tests.conftest import make_model, make_tokenizer

CONFIG: dict[str, Any] = {
    "epochs": 2,
    "batch": {"batch_size": 6, "tokens_per_micro_batch": 200},
    "optimizer": {"learning_rate": 0.01},
    "checkpoint": {"every_steps": 2},
    "device": "cpu",
}


def tiny_config(**changes: Any) -> TrainConfig:
    """`CONFIG` with some keys changed; tables are merged one level deep."""
    values = dict(CONFIG)
    for key, value in changes.items():
        values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
    return load_settings(TrainConfig, values, where="test")


def write_model(folder: Path, **changes: Any) -> Path:
    """A random model of a few thousand weights and its byte-level tokenizer."""
    make_model(**changes).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def write_dataset(folder: Path, *, train: int = 18, test: int = 8, **columns: Any) -> Path:
    """Rows whose label follows from the answer's words; a column can be overridden by a function of the position."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(0)
    for split, count in (("train", train), ("test", test)):
        rows = []
        for position in range(count):
            label = position % 2 == 0
            row = {
                "row_id": f"{split}-{position}",
                "prompt": f"hello {position} " * chance.randint(1, 4),
                "completion": ("yes it is " if label else "no sorry ") * chance.randint(1, 4),
                "label": label,
            }
            rows.append(row | {name: value(position) for name, value in columns.items()})
        if rows:
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def weights_of(out: Path) -> bytes:
    """The file of weights that a run left, for comparing runs bit for bit."""
    return (out / "model" / "model.safetensors").read_bytes()


def main() -> None:
    """Train as the JSON on the command line says."""
    from align.trainer import train

    options = json.loads(sys.argv[1])

    @contextmanager
    def slow(description: str, total: int | None = None) -> Iterator[Advance]:
        yield lambda units: time.sleep(options.get("step_seconds", 0.0) if description == "train" else 0)

    train(
        tiny_config(**options["config"]),
        dataset=Path(options["dataset"]),
        model=options["model"],
        out=Path(options["out"]),
        progress=slow,
    )


if __name__ == "__main__":
    main()
