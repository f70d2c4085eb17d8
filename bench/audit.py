"""How long does an audit of a large log take, beside a bare read of the same file by polars?

    python -m bench.audit [--rows N] [--rounds N]

Both run in processes of their own, by turns; seconds are medians, memory is the largest of any round. Written to
`bench/results/audit.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench.logs import write_log
from bench.runner import Measured, describe_machine, measure_process, write_result
from bench.tables import audit_tables

__all__ = ["main"]

_MOST_TIMES: Final = 2.0
_MOST_BYTES: Final = 2 * 10**9
_ROOT: Final = Path(__file__).parents[1]
_READ: Final = "polars read"
_OURS: Final = "thumbline audit"
_DOES: Final = {
    _READ: "every column of the file into memory, nothing else",
    _OURS: "validate, near-duplicates, every metric of keys and texts, gates, advice",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.audit", description="an audit beside a bare read")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        log = Path(name) / "log.jsonl"
        write_log(log, rows=options.rows, seed=options.seed)
        size = log.stat().st_size
        runs: dict[str, list[Measured]] = {_READ: [], _OURS: []}
        for turn in range(options.rounds):
            for contestant in runs if turn % 2 == 0 else list(runs)[::-1]:
                runs[contestant].append(_run(contestant, log, options.rows))
                print(f"{contestant}: {runs[contestant][-1].seconds:.1f} s", file=sys.stderr)
    result = {"rows": options.rows, "bytes": size, "rounds": options.rounds, "seed": options.seed}
    result |= {"table": [_row(contestant, runs) for contestant in runs], "targets": _targets(runs, options.rows)}
    write_result("audit", {**result, **machine})
    print(audit_tables({**result, **machine}))


def _run(contestant: str, log: Path, rows: int) -> Measured:
    report = log.with_name("audit.json")
    commands = {
        _READ: [sys.executable, str(Path(__file__).parent / "scripts" / "read.py"), str(log)],
        _OURS: [sys.executable, "-m", "cli.main", "audit", str(log), "--from", "thumbs", "--json", str(report)],
    }
    env = {**os.environ, "THUMBLINE_RATER_KEY": "0" * 64, "PYTHONPATH": str(_ROOT)}
    report.unlink(missing_ok=True)
    try:
        measured = measure_process(commands[contestant], env=env, cwd=log.parent)
    except subprocess.CalledProcessError as error:
        if not (contestant == _OURS and error.returncode == 3):  # a gate that fails is no failure of the audit
            raise SystemExit(f"{contestant} failed with {error.output}") from error
        raise SystemExit("a gate failed on the generated log, so nothing was timed") from error
    if contestant == _OURS:
        seen = json.loads(report.read_text("utf-8"))["waterfall"][0]["rows_in"]
        if seen != rows:
            raise SystemExit(f"the audit saw {seen:,} of {rows:,} rows")
    return measured


def _row(contestant: str, runs: dict[str, list[Measured]]) -> dict[str, Any]:
    seconds = statistics.median(one.seconds for one in runs[contestant])
    return {
        "name": contestant,
        "does": _DOES[contestant],
        "seconds": round(seconds, 2),
        "times_the_read": round(_times(contestant, runs), 2),
        "peak_mib": round(max(one.peak_mib for one in runs[contestant])),
    }


def _times(contestant: str, runs: dict[str, list[Measured]]) -> float:
    """The median over the rounds of how many times the read's time it took in the same round."""
    pairs = zip(runs[contestant], runs[_READ], strict=True)
    return statistics.median(one.seconds / read.seconds for one, read in pairs)


def _targets(runs: dict[str, list[Measured]], rows: int) -> list[dict[str, Any]]:
    times, peak = _times(_OURS, runs), max(one.peak_mib for one in runs[_OURS]) * 2**20
    return [
        {
            "claim": f"an audit takes at most {_MOST_TIMES:g} times a bare read",
            "value": round(times, 2),
            "is_met": times <= _MOST_TIMES,
        },
        {
            "claim": f"{rows:,} rows need less than {_MOST_BYTES / 1e9:g} GB, in GB",
            "value": round(peak / 1e9, 2),
            "is_met": peak < _MOST_BYTES,
        },
    ]


if __name__ == "__main__":
    main()
