"""Does curation stay flat in memory and linear in time? Two logs of one kind, the second three times the first.

    python -m bench.scale [--rows N N] [--rounds N]

Rounds alternate between the logs; seconds are medians, memory is the largest of any round, with all processes that
`thumbline` starts. The floor runs beside it on the same logs, so that a disk that slows down shows. Written to
`bench/results/scale.json`, after each log of each round to `scale.partial.json`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.contestants import FLOOR, OURS, contestants, count_rows
from bench.logs import LogTraits, write_log
from bench.runner import describe_machine, measure_process, write_result
from bench.tables import scale_tables

__all__ = ["main"]

_MOST_BYTES: Final = 2 * 10**9
_MOST_MEMORY_RATIO: Final = 1.5
_MOST_TIME_RATIO: Final = 1.15
_WARM_UP_ROWS: Final = 2_000
_ROOT: Final = Path(__file__).parents[1]


@dataclass
class _Size:
    """A log, and what was measured on it: (seconds, MiB) of each round by contestant."""

    rows: int
    log: Path
    size: int
    runs: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {OURS: [], FLOOR: []})
    rows_kept: int = 0

    def seconds(self, name: str) -> float:
        """Median of the rounds."""
        return statistics.median(seconds for seconds, _ in self.runs[name])

    def peak_mib(self, name: str) -> float:
        """Largest of the rounds."""
        return max(peak for _, peak in self.runs[name])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description="curation as the log grows")
    parser.add_argument("--rows", type=int, nargs=2, default=(1_000_000, 3_000_000), metavar="N")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where logs and outputs lie while it runs  [default: the system's]")
    options = parser.parse_args(arguments)
    machine = describe_machine()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-") as name:
        folder = Path(name)
        _run(_log(folder, _WARM_UP_ROWS, options.seed), folder)
        sizes = [_log(folder, rows, options.seed) for rows in sorted(options.rows)]
        for turn in range(options.rounds):
            for size in sizes if turn % 2 == 0 else sizes[::-1]:
                _run(size, folder)
                write_result("scale", _result(sizes, machine, options.seed), is_whole=False)
                print(f"{size.rows:,} rows: {size.runs}", file=sys.stderr)
    result = _result(sizes, machine, options.seed)
    write_result("scale", result)
    print(scale_tables(result))


def _log(folder: Path, rows: int, seed: int) -> _Size:
    log = folder / f"{rows}.jsonl"
    write_log(log, rows=rows, seed=seed)
    return _Size(rows, log, log.stat().st_size)


def _run(size: _Size, folder: Path) -> None:
    """Run ours and the floor once on a log, each into an empty folder that is gone afterwards."""
    env = {**os.environ, "THUMBLINE_RATER_KEY": "0" * 64, "PYTHONPATH": str(_ROOT)}
    for contestant in contestants(size.log, folder):
        if contestant.name not in (OURS, FLOOR):
            continue
        out = folder / "out"
        out.mkdir()
        (step,) = contestant.steps
        try:
            one = measure_process([part.replace("OUT", str(out)) for part in step.command], env=env, cwd=out)
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"{contestant.name} failed on {size.rows:,} rows with {error.output}") from error
        kept = count_rows(out, step.kept)
        if not kept:
            raise SystemExit(f"{contestant.name} wrote no rows of {size.rows:,}: nothing was measured")
        size.runs[contestant.name].append((round(one.seconds, 3), round(one.peak_mib, 1)))
        size.rows_kept = kept if contestant.name == OURS else size.rows_kept
        shutil.rmtree(out)


def _result(sizes: Sequence[_Size], machine: dict[str, Any], seed: int) -> dict[str, Any]:
    measured = [size for size in sizes if size.runs[OURS]]
    return {
        "seed": seed,
        "traits": asdict(LogTraits()),
        "table": [
            {
                "rows": size.rows,
                "bytes": size.size,
                "seconds": round(size.seconds(OURS), 2),
                "peak_mib": round(size.peak_mib(OURS)),
                "rows_kept": size.rows_kept,
                "floor_seconds": round(size.seconds(FLOOR), 2),
                "floor_peak_mib": round(size.peak_mib(FLOOR)),
                "rounds": len(size.runs[OURS]),
            }
            for size in measured
        ],
        "runs": {str(size.rows): size.runs for size in measured},
        "targets": _targets(measured) if len(measured) == len(sizes) else [],
        **machine,
    }


def _targets(sizes: Sequence[_Size]) -> list[dict[str, Any]]:
    """What the project has promised, and whether this run kept it."""
    small, large = sizes
    peak = large.peak_mib(OURS) * 2**20
    memory = large.peak_mib(OURS) / small.peak_mib(OURS)
    time = (large.seconds(OURS) / large.rows) / (small.seconds(OURS) / small.rows)
    many, few = f"{large.rows:,}", f"{small.rows:,}"
    return [
        {
            "claim": f"{many} rows need at most {_MOST_BYTES / 1e9:g} GB of memory, in GB",
            "value": round(peak / 1e9, 2),
            "is_met": peak <= _MOST_BYTES,
        },
        {
            "claim": f"{many} rows need at most {_MOST_MEMORY_RATIO:g} times the memory of {few}",
            "value": round(memory, 2),
            "is_met": memory <= _MOST_MEMORY_RATIO,
        },
        {
            "claim": f"a row of {many} takes at most {_MOST_TIME_RATIO:g} times as long as one of {few}",
            "value": round(time, 3),
            "is_met": time <= _MOST_TIME_RATIO,
        },
    ]


if __name__ == "__main__":
    main()
