"""Every reader of JSON Lines beside a floor: `pl.scan_ndjson(file).sink_parquet(...)` on the same file.

    python -m bench.readers [--megabytes N] [--rounds N] [--only NAME ...]

Ours is `feedback.ingest.ingest` without sketches: from the file to validated tables with ids, hashes and keys on disk.
Each contestant is a process of its own that reads a small file of the same kind before the clock starts
(`bench.reader_run`), so neither start nor imports count. One runs after the other, every other round backwards; ratios
are medians of the ratios within a round. Formats that are joined with a second file read both, and so does the floor.

All records are sound: where one is not accepted, the generator is wrong, and the run stops with the reason. Written to
`bench/results/readers.json`, after each format, and with `--only` at all, to `readers.partial.json`.
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

from bench.reader_logs import LEFT_OUT, READER_LOGS, Written, write_reader_log
from bench.reader_run import Reading
from bench.runner import describe_machine, write_result
from bench.tables import reader_tables

__all__ = ["Measured", "chosen_names", "main", "reader_row", "reader_targets"]

FLOOR: Final = "floor"
OURS: Final = "ours"
_LEAST_SHARE: Final = 0.5
_WARM_UP_BYTES: Final = 1_000_000
_ROOT: Final = Path(__file__).parents[1]


@dataclass
class Measured:
    """What was measured of one name: seconds of each round by contestant.

    Args:
        name: one of `READER_LOGS`.
        written: its file.
        seconds: by contestant, one for each round.
        note: how the floor differs from its bare call.
    """

    name: str
    written: Written
    seconds: dict[str, list[float]] = field(default_factory=lambda: {FLOOR: [], OURS: []})
    note: str = ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write the result."""
    options = _options(arguments)
    names = chosen_names(options.only)
    machine, rows = describe_machine(), []
    for name in names:
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-") as folder:
            rows.append(reader_row(_measure(name, Path(folder), options)))
        print(_shown(rows[-1]), file=sys.stderr, flush=True)
        write_result("readers", _result(rows, options, machine), is_whole=False)
    result = _result(rows, options, machine)
    write_result("readers", result, is_whole=names == READER_LOGS)
    print(reader_tables(result))


def chosen_names(only: Sequence[str] | None) -> tuple[str, ...]:
    """The names asked for, in their order; a format's name stands for all its shapes, and nothing for all names."""
    return tuple(name for name in READER_LOGS if not only or name in only or name.partition(":")[0] in only)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.readers", description="every reader beside a floor")
    parser.add_argument("--megabytes", type=float, default=200, help="size of each file  [default: 200]")
    parser.add_argument("--rounds", type=int, default=3)
    known = sorted({*READER_LOGS, *(name.partition(":")[0] for name in READER_LOGS)})
    parser.add_argument("--only", nargs="+", choices=known, metavar="NAME", help="formats, or FORMAT:SHAPE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder", type=Path, help="where files and outputs lie while it runs  [default: the system's]"
    )
    return parser.parse_args(arguments)


def _measure(name: str, folder: Path, options: argparse.Namespace) -> Measured:
    """All rounds of one name."""
    written = []
    for kind, size in (("small", _WARM_UP_BYTES), ("large", int(options.megabytes * 1e6))):
        (folder / kind).mkdir()
        written.append(write_reader_log(name, folder / kind, size=size, seed=options.seed))
    measured = Measured(name, written[1])
    for turn in range(options.rounds):
        for contestant in (FLOOR, OURS) if turn % 2 == 0 else (OURS, FLOOR):
            reading = _run(contestant, written, folder / "out")
            _refuse_loss(name, contestant, written[1], reading)
            measured.seconds[contestant].append(round(reading.seconds, 4))
            measured.note = reading.note or measured.note
    return measured


def _run(contestant: str, written: Sequence[Written], out: Path) -> Reading:
    """One reading in a process of its own.

    Raises:
        SystemExit: the process failed.
    """
    env = {**os.environ, "THUMBLINE_RATER_KEY": "0" * 64, "PYTHONPATH": str(_ROOT)}
    described = [json.dumps(asdict(one)) for one in written]
    command = [sys.executable, "-m", "bench.reader_run", contestant, *described, str(out)]
    done = subprocess.run(command, env=env, cwd=_ROOT, capture_output=True, text=True, check=False)
    shutil.rmtree(out, ignore_errors=True)
    if done.returncode != 0:
        raise SystemExit(f"{contestant} failed on {written[1].format} with {done.stderr[-4000:]}")
    return Reading(**json.loads(done.stdout.splitlines()[-1]))


def _refuse_loss(name: str, contestant: str, written: Written, reading: Reading) -> None:
    """Stop where records were lost: then the generator, or the reader, is wrong.

    Raises:
        SystemExit: what was lost, and the first reason.
    """
    rows = written.rows if contestant == OURS else written.records + written.other_records
    if reading.case or (reading.records, reading.rows) != (written.records, rows):
        raise SystemExit(
            f"{contestant} gave {reading.rows:,} rows for {reading.records:,} records of {name}; expected {rows:,} for "
            f"{written.records:,}. {reading.case or 'Nothing was rejected.'}"
        )


def reader_row(measured: Measured) -> dict[str, Any]:
    """The line of the table for one name."""
    floor, ours = measured.seconds[FLOOR], measured.seconds[OURS]
    share = statistics.median(low / one for low, one in zip(floor, ours, strict=True))
    middle = statistics.median(ours)
    return {
        "name": measured.name,
        "records": measured.written.records,
        "rows": measured.written.rows,
        "bytes": measured.written.bytes,
        "files": 1 if measured.written.join is None else 2,
        "floor_seconds": round(statistics.median(floor), 3),
        "seconds": round(middle, 3),
        "bytes_per_second": round(measured.written.bytes / middle),
        "share_of_floor": round(share, 3),
        "is_met": share >= _LEAST_SHARE,
        "floor_note": measured.note,
        "seconds_by_round": measured.seconds,
    }


def reader_targets(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the project has promised, and whether this run kept it."""
    slowest = min(rows, key=lambda row: row["share_of_floor"])
    claim = f"the slowest reader reaches at least {_LEAST_SHARE:g} of the floor's throughput; it is {slowest['name']}"
    return [{"claim": claim, "value": slowest["share_of_floor"], "is_met": all(row["is_met"] for row in rows)}]


def _result(rows: Sequence[dict[str, Any]], options: argparse.Namespace, machine: dict[str, Any]) -> dict[str, Any]:
    return {
        "seed": options.seed,
        "megabytes": options.megabytes,
        "rounds": options.rounds,
        "table": list(rows),
        "absent": LEFT_OUT,
        "targets": reader_targets(rows),
        **machine,
    }


def _shown(row: dict[str, Any]) -> str:
    note = f" ({row['floor_note']})" if row["floor_note"] else ""
    return (
        f"{row['name']}: floor {row['floor_seconds']:.2f} s{note}, ours {row['seconds']:.2f} s, "
        f"{row['share_of_floor']:.2f} of the floor"
    )


if __name__ == "__main__":
    main()
