"""Curation beside a floor and beside what people write by hand, on the same generated log in the same run.

    python -m bench.curate [--rows N] [--rounds N]

- `thumbline`: validate, quarantine, convert, dedup, conflicts, split, rebalance, export, with the manifest.
- `polars floor`: read the JSONL and write Parquet, nothing else. Nobody who reads the file can be faster.
- `datasets + Python`: load, drop exact duplicates, keep the majority label, downsample: no validation, no history.

Each is a process of its own; rounds alternate, so that a noisy machine troubles all alike. Written to
`bench/results/curate.json`: medians, ratios to the floor, peak memory, versions and machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from bench.logs import write_log
from bench.runner import describe_machine, measure_process, write_result

__all__ = ["main"]

_FLOOR = """
import sys, polars
polars.scan_ndjson(sys.argv[1]).sink_parquet(sys.argv[2] + "/floor.parquet")
"""

_BY_HAND = """
import collections, random, sys
import datasets
datasets.disable_progress_bars()
rows = datasets.load_dataset("json", data_files=sys.argv[1], split="train", cache_dir=sys.argv[2] + "/cache")
votes = collections.defaultdict(collections.Counter)
for prompt, completion, label in zip(rows["prompt"], rows["completion"], rows["label"]):
    votes[prompt, completion][label] += 1
seen = set()
def is_first_of_majority(row):
    key = row["prompt"], row["completion"]
    up, down = votes[key]["up"], votes[key]["down"]
    if key in seen or up == down or (up > down) != (row["label"] == "up"):
        return False
    seen.add(key)
    return True
rows = rows.filter(is_first_of_majority)
up = [i for i, label in enumerate(rows["label"]) if label == "up"]
down = [i for i, label in enumerate(rows["label"]) if label == "down"]
kept = random.Random(0).sample(up, min(len(up), len(down) * 4 // 3)) + down
rows.select(kept).map(lambda row: {"label": row["label"] == "up"}).to_parquet(sys.argv[2] + "/by_hand.parquet")
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write the result."""
    parser = argparse.ArgumentParser(description="curation beside a floor and beside code by hand")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "thumbs.jsonl"
        write_log(log, rows=options.rows)
        contestants = _contestants(log, folder)
        rounds: dict[str, list[tuple[float, float]]] = {contestant: [] for contestant in contestants}
        for turn in range(options.rounds):
            for contestant, command in contestants.items():
                out = folder / f"{turn}-{contestant.replace(' ', '-')}"
                out.mkdir()
                rounds[contestant].append(measure_process([part.replace("OUT", str(out)) for part in command]))
                _check_output(contestant, out)
        size = log.stat().st_size
    result = _summary(rounds, rows=options.rows, size=size)
    write_result("curate", result)
    _print_table(result)


def _contestants(log: Path, folder: Path) -> dict[str, list[str]]:
    floor, by_hand = folder / "floor.py", folder / "by_hand.py"
    floor.write_text(_FLOOR, "utf-8")
    by_hand.write_text(_BY_HAND, "utf-8")
    curate = [sys.executable, "-m", "cli.main", "curate", str(log), "--from", "thumbs", "-o", "OUT/dataset", "--json"]
    return {
        "thumbline": curate,
        "polars floor": [sys.executable, str(floor), str(log), "OUT"],
        "datasets + Python": [sys.executable, str(by_hand), str(log), "OUT"],
    }


def _check_output(contestant: str, out: Path) -> None:
    """A contestant that wrote no rows was not measured."""
    rows = sum(pq.ParquetFile(path).metadata.num_rows for path in out.rglob("*.parquet") if "stages" not in path.parts)
    if not rows:
        raise SystemExit(f"{contestant} wrote no rows into {out.name}: nothing was measured")


def _summary(rounds: dict[str, list[tuple[float, float]]], *, rows: int, size: int) -> dict[str, Any]:
    floor = statistics.median(seconds for seconds, _ in rounds["polars floor"])
    table = []
    for contestant, runs in rounds.items():
        seconds = statistics.median(run[0] for run in runs)
        table.append(
            {
                "name": contestant,
                "seconds": round(seconds, 2),
                "rows_per_second": round(rows / seconds),
                "times_the_floor": round(seconds / floor, 1),
                "peak_mib": round(max(run[1] for run in runs)),
            }
        )
    return {"rows": rows, "bytes": size, "rounds": len(rounds["thumbline"]), "table": table, **describe_machine()}


def _print_table(result: dict[str, Any]) -> None:
    print(f"{result['rows']:,} rows, {result['bytes'] / 2**20:.0f} MiB, {result['machine']}")
    for row in result["table"]:
        print(
            f"{row['name']:<20}{row['seconds']:>9.2f} s{row['rows_per_second']:>12,} rows/s"
            f"{row['times_the_floor']:>8.1f} x floor{row['peak_mib']:>8,} MiB"
        )


if __name__ == "__main__":
    main()
