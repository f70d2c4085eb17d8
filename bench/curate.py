"""Curation beside a floor and beside what others use, on the same generated log in the same run.

    python -m bench.curate [--rows N] [--rounds N] [--slow-rounds N]

Each command is a process of its own. Rounds go through all contestants, every other round backwards, so that a noisy
machine troubles all alike; slow ones take part in the first rounds only. Ratios are medians of the ratios within a
round. Before the rounds each runs once on 2,000 lines: what cannot run here is listed with its reason, and compiled
kernels are on disk as they are in use. Written to `bench/results/curate.json`, after each round to
`curate.partial.json`.
"""

from __future__ import annotations

import argparse
import json
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

from bench.contestants import CONVMERGE, FLOOR, OURS, Contestant, contestants, count_rows
from bench.logs import LogTraits, write_log
from bench.runner import describe_machine, measure_process, write_result
from bench.tables import curate_tables

__all__ = ["main"]

_WARM_UP_ROWS: Final = 2_000
_MOST_TIMES_THE_FLOOR: Final = 3.0
_LEAST_TIMES_FASTER: Final = 4.0
_ROOT: Final = Path(__file__).parents[1]


@dataclass
class _Runs:
    """Measurements of one contestant, a list for each step with an entry for each round that it took part in."""

    seconds: list[list[float]]
    peaks: list[list[float]]
    rows_kept: list[int] = field(default_factory=list)

    def totals(self) -> list[float]:
        """Seconds of all steps together, by round."""
        return [sum(steps) for steps in zip(*self.seconds, strict=True)]


@dataclass
class _Table:
    """All that was measured so far."""

    rows: int
    size: int
    seed: int
    contestants: tuple[Contestant, ...]
    runs: dict[str, _Runs]
    absent: dict[str, str]
    digests: set[str]
    machine: dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write the result."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-") as name:
        folder = Path(name)
        table = _prepare(folder, options)
        for turn in range(options.rounds):
            order = table.contestants if turn % 2 == 0 else table.contestants[::-1]
            for contestant in order:
                if contestant.name not in table.absent and not (contestant.is_slow and turn >= options.slow_rounds):
                    _run(table, contestant, folder / "out")
            write_result("curate", _result(table), is_whole=False)
            print(f"round {turn + 1} of {options.rounds}: {_shown(table)}", file=sys.stderr)
    result = _result(table)
    write_result("curate", result)
    print(curate_tables(result))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.curate", description="curation beside others")
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--slow-rounds", type=int, default=1, help="rounds of those that take minutes; 0 leaves them out"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where logs and outputs lie while it runs  [default: the system's]")
    return parser.parse_args(arguments)


def _prepare(folder: Path, options: argparse.Namespace) -> _Table:
    """The log, its other forms, and who is able to run at all."""
    absent: dict[str, str] = {}
    for rows, place in ((min(options.rows, _WARM_UP_ROWS), folder / "warm-up"), (options.rows, folder / "log")):
        log, texts = place / "thumbs.jsonl", place / "texts"
        texts.mkdir(parents=True)
        write_log(log, rows=rows, seed=options.seed)
        subprocess.run([sys.executable, str(_ROOT / "bench/scripts/texts.py"), str(log), str(texts)], check=True)
        all_of_them = tuple(one for one in contestants(log, texts) if options.slow_rounds or not one.is_slow)
        table = _Table(rows, log.stat().st_size, options.seed, all_of_them, {}, absent, set(), describe_machine())
        if place.name == "warm-up":
            for contestant in all_of_them:
                _run(table, contestant, folder / "out")
    return table


def _run(table: _Table, contestant: Contestant, out: Path) -> None:
    """Run all steps of a contestant in an empty folder; one that fails is absent from then on.

    Raises:
        SystemExit: the one that failed is ours or the floor, or ours gave another dataset than before.
    """
    env = {**os.environ, "THUMBLINE_RATER_KEY": "0" * 64, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(_ROOT)}
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    runs = table.runs.get(contestant.name) or _Runs([[] for _ in contestant.steps], [[] for _ in contestant.steps])
    kept: list[int] = []
    try:
        measured = [
            measure_process([part.replace("OUT", str(out)) for part in step.command], env=env, cwd=out)
            for step in contestant.steps
        ]
        kept = [count_rows(out, step.kept) for step in contestant.steps]
        reason = "" if all(kept) else "wrote no rows"
    except subprocess.CalledProcessError as error:
        reason = f"exit code {error.returncode}: {_last_line(error.output)}"
        if contestant.name in (OURS, FLOOR):
            raise SystemExit(f"{contestant.name} failed with {error.output}") from error
    if reason:
        print(f"{contestant.name} is left out: {reason}", file=sys.stderr)
        table.absent[contestant.name] = reason
        return
    for step, one in enumerate(measured):
        runs.seconds[step].append(round(one.seconds, 3))
        runs.peaks[step].append(round(one.peak_mib, 1))
    runs.rows_kept = kept
    table.runs[contestant.name] = runs
    if contestant.name == OURS:
        table.digests.add(json.loads((out / "dataset/manifest.json").read_text("utf-8"))["digest"])
        if len(table.digests) > 1:
            raise SystemExit(f"{OURS} gave different datasets from one log: digests {sorted(table.digests)}")
    shutil.rmtree(out)


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no message"


def _result(table: _Table) -> dict[str, Any]:
    return {
        "rows": table.rows,
        "bytes": table.size,
        "seed": table.seed,
        "traits": asdict(LogTraits()),
        "rounds": len(table.runs[OURS].totals()),
        "table": [line for one in table.contestants if one.name in table.runs for line in _lines(table, one)],
        "absent": table.absent,
        "seconds_by_round": {name: runs.seconds for name, runs in table.runs.items()},
        "digest": max(table.digests),
        "targets": _targets(table),
        **table.machine,
    }


def _lines(table: _Table, contestant: Contestant) -> list[dict[str, Any]]:
    """A line for each step, and one for all together where there are several."""
    runs = table.runs[contestant.name]
    parts = [
        (step.name, runs.seconds[place], runs.peaks[place], runs.rows_kept[place])
        for place, step in enumerate(contestant.steps)
    ]
    if len(parts) > 1:
        most = [max(peaks) for peaks in zip(*runs.peaks, strict=True)]
        parts.append((f"{contestant.name}, both", runs.totals(), most, runs.rows_kept[-1]))
    lines = []
    for place, (name, seconds, peaks, kept) in enumerate(parts):
        middle = statistics.median(seconds)
        lines.append(
            {
                "name": name,
                "does": contestant.does if place == len(parts) - 1 else "",
                "seconds": round(middle, 2),
                "rows_per_second": round(table.rows / middle),
                "times_the_floor": round(_ratio(seconds, table.runs[FLOOR].totals()), 2),
                "peak_mib": round(max(peaks)),
                "rows_kept": kept,
                "rounds": len(seconds),
            }
        )
    return lines


def _ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median of the ratios within a round, over the rounds that both took part in."""
    return statistics.median(one / other for one, other in zip(above, below, strict=False))


def _targets(table: _Table) -> list[dict[str, Any]]:
    """What the project has promised, and whether this run kept it."""
    ours = table.runs[OURS].totals()
    floor = _ratio(ours, table.runs[FLOOR].totals())
    targets = [
        {
            "claim": f"all of curate takes at most {_MOST_TIMES_THE_FLOOR:g} times the floor",
            "value": round(floor, 2),
            "is_met": floor <= _MOST_TIMES_THE_FLOOR,
        }
    ]
    if CONVMERGE in table.runs:
        faster = _ratio(table.runs[CONVMERGE].totals(), ours)
        claim = f"all of curate is at least {_LEAST_TIMES_FASTER:g} times faster than convmerge's exact and near dedupe"
        targets.append({"claim": claim, "value": round(faster, 2), "is_met": faster >= _LEAST_TIMES_FASTER})
    return targets


def _shown(table: _Table) -> str:
    return ", ".join(f"{name} {runs.totals()[-1]:.1f} s" for name, runs in table.runs.items())


if __name__ == "__main__":
    main()
