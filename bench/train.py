"""Our training beside TRL's, on the same rows with the same model: examples a second, peak memory, losses.

    python -m bench.train [--rows N] [--only CASE ...] [--dtypes D ...] [--rounds N] [--threads N]

Each side runs in a process of its own, in turn, round after round. Seconds are those of the reference pass and of all
steps; loading, templates and tokens are not in them. A promise counts as reached where wall and processor time agree.
TRL gets the fastest of its settings here: two rows a micro batch, which pads least, and no recomputed activations. Rows
have at most 1,024 tokens, so that neither side cuts any. Real rows are used where they lie beside the checkout, else
those of `sample_data`; the result says which. Written to `bench/results/train.json`, where cases that are not measured
again keep their figures, and each says when and where it was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from align.models.loading import load_tokenizer
from align.models.model_files import model_folder
from bench.runner import Measured, describe_machine, measure_process, results_folder, write_result
from bench.tables import train_tables
from bench.train_rows import labelled_rows, pair_rows, unpaired, write_rows

__all__ = ["CASES", "SIDES", "Case", "main", "run_side"]

_ROOT: Final = Path(__file__).parents[1]
_SCRIPTS: Final = Path(__file__).parent / "scripts"
SIDES: Final = {"ours": "train_ours.py", "trl": "train_trl.py"}
"""Who trains, and the script that does."""
_MOST_TOKENS: Final = 1024


@dataclass(frozen=True)
class Case:
    """What is trained, and what was promised.

    Args:
        title: its name in the table.
        data: `labelled`, `unpaired` (two labelled answers of each pair) or `pairs`.
        objective: `kto` or `dpo`.
        epochs: passes over the rows.
        precompute: whether TRL computes the reference's numbers once, before training.
        speed: least ratio of examples a second.
        memory: largest ratio of peak memory; None where nothing was promised.
    """

    title: str
    data: str
    objective: str
    epochs: int
    precompute: bool
    speed: float
    memory: float | None


CASES: Final[Mapping[str, Case]] = {
    "kto": Case("KTO, 1 epoch, reference computed", "labelled", "kto", 1, False, 2.5, 0.45),
    "kto-epochs": Case("KTO, 3 epochs, reference computed once", "labelled", "kto", 3, True, 2.2, None),
    "kto-pairs": Case("KTO on both answers of pairs, 1 epoch", "unpaired", "kto", 1, False, 2.3, None),
    "dpo": Case("DPO on pairs, 1 epoch", "pairs", "dpo", 1, False, 1.5, None),
}
"""By name, in the order of the table."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.train", description="our training beside TRL's")
    parser.add_argument("--model", default="builtin:smollm2-135m-instruct")
    parser.add_argument("--rows", type=int, default=28, help="examples of an epoch, a multiple of 4")
    parser.add_argument("--batch", type=int, default=0, help="examples of a step  [default: half of the rows]")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "bfloat16"), default=("float32", "bfloat16"))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES), help="to measure one alone")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    machine = describe_machine()
    model = str(model_folder(options.model))
    table = _known_rows(options.model)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        for key in options.only:
            for dtype in options.dtypes:
                row = table.setdefault((key, dtype), {"case": key, "dtype": dtype, "title": CASES[key].title})
                _measure(row, CASES[key], options, model, Path(name))
                row |= {"date": machine["date"], "machine": machine["machine"]}
                write_result("train", _result(table, options.model, machine), is_whole=False)
    result = _result(table, options.model, machine)
    write_result("train", result)
    print(train_tables(result))


def _known_rows(model: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What an earlier run has measured with the model, by case and dtype."""
    found: list[dict[str, Any]] = []
    for name in ("train.json", "train.partial.json"):
        path = results_folder() / name
        if path.is_file():
            known = json.loads(path.read_text("utf-8"))
            found += known["table"] if known["model"] == model else []
    return {(row["case"], row["dtype"]): row for row in found}


def _measure(row: dict[str, Any], case: Case, options: argparse.Namespace, model: str, folder: Path) -> None:
    """Run the sides in turn and put their figures into the row of the table."""
    rows, source = _rows(case, options.rows, model)
    path = write_rows(folder / "rows.jsonl", rows)
    batch = options.batch or max(2, len(rows) // 2)
    call = {
        "rows": str(path),
        "model": model,
        "objective": case.objective,
        "epochs": case.epochs,
        "precompute": case.precompute,
        "batch": batch,
        "micro": min(2, batch),
        "dtype": row["dtype"],
        "threads": options.threads,
        "max_length": _MOST_TOKENS + 8,  # TRL's tokens have a line end behind the answer
        "checkpointing": False,
        "learning_rate": 5e-6,
    }
    row |= {"rows": len(rows), "source": source, "batch": batch, "threads": options.threads, "rounds": options.rounds}
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in options.sides}
    for turn in range(options.rounds):
        for side in options.sides if turn % 2 == 0 else options.sides[::-1]:
            runs[side].append(run_side(side, call, folder))
            print(f"{case.title}, {row['dtype']}, {side}: {runs[side][-1]}", file=sys.stderr, flush=True)
    for side, found in runs.items():
        row[side] = _figures(found)


def _rows(case: Case, count: int, model: str) -> tuple[list[dict[str, Any]], str]:
    tokenizer = load_tokenizer(model)
    if case.data == "labelled":
        return labelled_rows(count, tokenizer, _MOST_TOKENS)
    pairs, source = pair_rows(count // 2, tokenizer, _MOST_TOKENS)
    return (unpaired(pairs) if case.data == "unpaired" else pairs), source


def run_side(side: str, call: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A run of one side in a process of its own: what it printed, and its peak memory in MiB.

    Args:
        side: of `SIDES`.
        call: the options of its script.
        folder: for what it writes, which is deleted.
    """
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        options = Path(scratch) / "options.json"
        options.write_text(json.dumps({**call, "scratch": scratch}), "utf-8")
        threads = str(call["threads"])
        env = {
            **os.environ,
            "THUMBLINE_CACHE_DIR": f"{scratch}/cache",  # no reference number is there yet
            "HF_DATASETS_CACHE": f"{scratch}/datasets",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": threads,
            "PYTHONPATH": str(_ROOT),
        }
        command = [sys.executable, "-W", "ignore", str(_SCRIPTS / SIDES[side]), str(options)]
        try:
            measured: Measured = measure_process(command, env=env)
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"{side} failed with {error.output}") from error
        printed = next(line for line in measured.output.splitlines()[::-1] if line.startswith("{"))
        return {**json.loads(printed), "peak_mib": measured.peak_mib}


def _figures(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Medians of the rounds, the largest memory, and the losses of the last."""
    seconds = statistics.median(run["seconds"] for run in runs)
    cpu_seconds = statistics.median(run["cpu_seconds"] for run in runs)
    last = runs[-1]
    more = {key: last[key] for key in ("tokens", "computed_tokens") if key in last}
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "examples": last["examples"],
        "examples_per_second": round(last["examples"] / seconds, 4),
        "examples_per_cpu_second": round(last["examples"] / cpu_seconds, 4),
        "peak_mib": round(max(run["peak_mib"] for run in runs)),
        "losses": last["losses"],
        **more,
    }


def _result(
    table: Mapping[tuple[str, str], Mapping[str, Any]], model: str, machine: Mapping[str, Any]
) -> dict[str, Any]:
    order = list(CASES)
    rows = sorted(table.values(), key=lambda row: (order.index(row["case"]), row["dtype"] != "float32"))
    return {"model": model, "table": rows, "targets": [one for row in rows for one in _targets(row)], **machine}


def _targets(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the project has promised of a row that has both sides, and whether this run kept it.

    Of wall and processor time the smaller ratio counts: others on the machine move the one, waiting the other.
    """
    if "ours" not in row or "trl" not in row:
        return []
    case, name = CASES[row["case"]], f"{row['title']}, {row['dtype']}"
    rates = ("examples_per_second", "examples_per_cpu_second")
    speed = min(row["ours"][rate] / row["trl"][rate] for rate in rates)
    found = [
        {
            "claim": f"{name}: at least {case.speed:g} times TRL's examples a second",
            "value": round(speed, 2),
            "is_met": speed >= case.speed,
        }
    ]
    if case.memory is not None:
        memory = row["ours"]["peak_mib"] / row["trl"]["peak_mib"]
        found.append(
            {
                "claim": f"{name}: at most {case.memory:g} of TRL's peak memory",
                "value": round(memory, 3),
                "is_met": memory <= case.memory,
            }
        )
    return found


if __name__ == "__main__":
    main()
