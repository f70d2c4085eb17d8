"""What a training step of each objective costs, beside one of SFT.

    python -m bench.objectives [--model MODEL] [--batch N] [--steps N] [--rounds N]

Rows are drawn: answers of one length to short prompts, so that objectives differ by their passes and by nothing else.
Each objective trains with `align.trainer.train`, all in turn, round after round. One thread is used and its processor
time is taken, which others on the machine change little. The first step of a run is left out, since it allocates.
Beside it stand the operations that `align.resources.forecast` counts. Written to `bench/results/objectives.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import torch

from align.config import TrainConfig
from align.models.loading import count_parameters, load_tokenizer
from align.models.model_files import model_folder
from align.objectives import OBJECTIVES
from align.resources.forecast import forecast
from align.trainer import train
from bench.runner import describe_machine, write_result
from schemas.progress import Advance
from schemas.settings import load_settings

__all__ = ["VARIANTS", "cost_note", "cost_table", "main", "measure_costs", "write_rows"]

VARIANTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "sft": {"name": "sft"},
    "csft": {"name": "csft"},
    "kto": {"name": "kto"},
    "kto, `z0_scope = none`": {"name": "kto", "z0_scope": "none"},
    "kto, `reference = uniform`": {"name": "kto", "reference": "uniform"},
    "dpo": {"name": "dpo"},
    "cdpo": {"name": "cdpo"},
    "orpo": {"name": "orpo"},
    "slic": {"name": "slic"},
    "offline_ppo": {"name": "offline_ppo"},
    "reward_model": {"name": "reward_model"},
}
"""Settings of each objective that is measured. Value functions of KTO cost the same."""

_TWINS: Final = ("kto", "kto, `reference = uniform`")
_WORDS: Final = "the note page table list task plan team file week open save share move count first new then with"
_WORDS_OF_ANSWER: Final = 48
_COUNTED_STEPS: Final = 40


class _Finished(Exception):  # noqa: N818 - no error: it leaves a run whose steps were all taken
    """Every step was taken; what the run would write is not measured."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.objectives", description="what a step of each costs")
    parser.add_argument("--model", default="builtin:smollm2-135m-instruct")
    parser.add_argument("--batch", type=int, default=4, help="examples of a step")
    parser.add_argument("--steps", type=int, default=3, help="of each run, the first of them unmeasured")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args(arguments)
    folder = model_folder(options.model)
    machine = describe_machine()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        table = measure_costs(
            str(folder), Path(scratch), batch=options.batch, steps=options.steps, rounds=options.rounds
        )
    sizes = {key: getattr(options, key) for key in ("model", "batch", "steps", "rounds")}
    result = {**sizes, "table": table, **machine}
    write_result("objectives", result)
    print(cost_table(result), cost_note(result), sep="\n")


def measure_costs(model: str, scratch: Path, *, batch: int, steps: int, rounds: int) -> list[dict[str, Any]]:
    """A row for each of `VARIANTS`: processor seconds and operations of a step and of its part of the reference pass.

    Args:
        model: a folder.
        scratch: where rows and runs may lie.
        batch: examples of a step.
        steps: of each run, at least 2.
        rounds: runs of each objective.
    """
    write_rows(scratch, batch * steps)
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    reference: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for turn in range(rounds):
        for number, (name, objective) in enumerate(VARIANTS.items()):
            watch = _Watch(steps)
            out = scratch / f"run-{turn}-{number}"
            os.environ["THUMBLINE_CACHE_DIR"] = str(out / "cache")  # so that no reference number is there yet
            with suppress(_Finished):
                train(
                    _config(objective, batch),
                    dataset=_rows_of(objective, scratch),
                    model=model,
                    out=out,
                    progress=watch,
                )
            seconds[name] += watch.steps[1:]
            reference[name].append(watch.reference / max(1, watch.reference_pairs))
            print(f"{name}: {[round(one, 2) for one in watch.steps]} s", flush=True)
    rows = []
    for name, objective in VARIANTS.items():
        counted = _count(objective, scratch, model, batch=batch)
        step, once = min(seconds[name]), min(reference[name])  # what others do on the machine only adds
        once *= counted["reference_pairs"]
        rows.append({"name": name, "seconds": round(step, 3), "reference_seconds": round(once, 3), **counted})
    base = rows[0]
    for row in rows:
        row["times_sft"] = round(row["seconds"] / base["seconds"], 2)
        row["reference_times_sft"] = round(row["reference_seconds"] / base["seconds"], 2)
        row["operations_times_sft"] = round(row["gigaflop"] / base["gigaflop"], 2)
        row["reference_operations_times_sft"] = round(row["reference_gigaflop"] / base["gigaflop"], 2)
    return rows


def write_rows(folder: Path, count: int) -> None:
    """Write `labels.jsonl`, `desirable.jsonl` and `pairs.jsonl`, each with `count` rows of the same length.

    Args:
        folder: where.
        count: rows of each file.
    """
    chance, known = random.Random(0), _WORDS.split()

    def text(words: int) -> str:
        """Words that mean nothing together."""
        return " ".join(chance.choice(known) for _ in range(words))

    labels: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    for number in range(count):
        prompt, chosen, rejected = f"{text(8)} {number}?", text(_WORDS_OF_ANSWER), text(_WORDS_OF_ANSWER)
        labels.append({"prompt": prompt, "completion": chosen, "label": number % 2 == 0})
        pairs.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    desirable = [row | {"label": True} for row in labels]
    for name, rows in (("labels", labels), ("desirable", desirable), ("pairs", pairs)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def cost_table(result: Mapping[str, Any]) -> str:
    """The table of the costs as Markdown, with a line end behind each row.

    Args:
        result: what `bench/results/objectives.json` holds.
    """
    lines = [
        "| objective | operations of a step | measured | reference pass, operations | measured |",
        "|---|---|---|---|---|",
    ]
    for row in result["table"]:
        has_reference = row["reference_gigaflop"] > 0
        once = [row["reference_operations_times_sft"], row["reference_times_sft"]] if has_reference else ["–", "–"]
        cells = [row["operations_times_sft"], row["times_sft"], *once]
        shown = " | ".join(cell if isinstance(cell, str) else f"{cell:.2f}" for cell in cells)
        lines.append(f"| {_title(row['name'])} | {shown} |")
    return "\n".join(lines) + "\n"


def cost_note(result: Mapping[str, Any]) -> str:
    """How the costs were measured, as Markdown, a sentence a line.

    Args:
        result: what `bench/results/objectives.json` holds.
    """
    base = result["table"][0]
    measured = result["rounds"] * (result["steps"] - 1)
    twins = [row["times_sft"] for row in result["table"] if row["name"] in _TWINS]
    return (
        f"Measured with `{result['model']}` in float32 on drawn rows, {result['batch']} examples a step and some "
        f"{base['tokens'] / result['batch']:.0f} tokens an answer with its prompt.\n"
        f"Each figure is the least of {measured} steps in {result['rounds']} runs, in processor time of one thread; a "
        f"step of `sft` took {base['seconds']:.1f} s.\n"
        f"`kto` takes the same passes with either reference and was measured at {twins[0]:.2f} and {twins[1]:.2f}: "
        "others used the machine too, and differences of that size mean nothing.\n"
        f"{result['date']}, {result['machine']}; torch {result['versions']['torch']}, transformers "
        f"{result['versions']['transformers']}. Again: `make bench-objectives`.\n"
    )


def _title(name: str) -> str:
    head, comma, rest = name.partition(",")
    return f"`{head}`{comma}{rest}"


def _config(objective: Mapping[str, Any], batch: int) -> TrainConfig:
    values = {
        "objective": dict(objective),
        "batch": {"batch_size": batch},
        "checkpoint": {"every_steps": 0},
        "device": "cpu",
    }
    return load_settings(TrainConfig, values, where="bench.objectives")


def _rows_of(objective: Mapping[str, Any], scratch: Path) -> Path:
    known = OBJECTIVES[objective["name"]]
    name = "pairs" if known.data == "preference" else "desirable" if known.only_desirable else "labels"
    return scratch / f"{name}.jsonl"


def _count(objective: Mapping[str, Any], scratch: Path, model: str, *, batch: int) -> dict[str, Any]:
    """Operations of a mean step behind the first, in units of 10^9, and of the reference pass for its rows.

    The first step, which needs less, is one of many: rows are drawn for as many.
    """
    parameters = count_parameters(model)
    drawn = scratch / "many"
    drawn.mkdir(exist_ok=True)
    write_rows(drawn, batch * _COUNTED_STEPS)
    found = forecast(
        _rows_of(objective, drawn), load_tokenizer(model), _config(objective, batch), parameters=parameters
    )
    assert found.inputs is not None
    assert found.passes is not None
    inputs, steps, passes = found.inputs, len(found.inputs.steps), found.passes
    later = steps - inputs.has_reference
    each = passes.policy.flops(parameters) / steps + passes.mismatched.flops(parameters) / later
    pairs = sum(len(inputs.sequences(planned)) for planned in inputs.steps[1]) + len(inputs.mismatched_pairs(1))
    share = pairs / max(1, passes.reference.sequences)
    if OBJECTIVES[objective["name"]].is_of_tokens:  # the reference is scored in the step
        each, share = each + passes.reference.flops(parameters) / steps, 0.0
    return {
        "gigaflop": each / 1e9,
        "reference_gigaflop": passes.reference.flops(parameters) * share / 1e9,
        "reference_pairs": pairs,
        "tokens": passes.policy.tokens / steps,
        "mismatched_tokens": passes.mismatched.tokens / later,
    }


class _Watch:
    """Progress that keeps the processor time of the reference pass and of each step, and ends a run behind its last."""

    def __init__(self, steps: int) -> None:
        self.wanted = steps
        self.steps: list[float] = []
        self.reference = 0.0
        self.reference_pairs = 0

    @contextmanager
    def __call__(self, description: str, total: int | None = None) -> Iterator[Advance]:
        """Watch a task."""
        if description == "reference":
            self.reference_pairs += total or 0
        began = time.process_time()

        def advance(units: int) -> None:
            """Note a step."""
            del units
            nonlocal began
            now = time.process_time()
            if description == "train":
                self.steps.append(now - began)
                if len(self.steps) == self.wanted:
                    raise _Finished
            elif description == "reference":
                self.reference += now - began
            began = time.process_time()

        yield advance


if __name__ == "__main__":
    main()
