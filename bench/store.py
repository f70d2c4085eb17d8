"""What does it cost to take feedback into a store: beside a bare copy into Parquet, and night after night?

    python -m bench.store [--rows N] [--rounds N] [--stored N] [--nightly N]

First a log is taken into a new store, by turns with polars, which reads the same file and writes Parquet and does
nothing else. Then the store is filled up with events under other ids, and a small log is taken in. Everything runs in
processes of its own; seconds are medians, memory is the largest of any round. Written to `bench/results/store.json`.
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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from bench.logs import write_log
from bench.runner import Measured, describe_machine, measure_process, write_result
from bench.tables import store_tables
from feedback.hashing import ids_of_texts
from feedback.store import Store
from feedback.store.parquet import write_rows
from feedback.store.tables import EVENT

__all__ = ["main"]

_MOST_TIMES: Final = 2.5
_MOST_SECONDS: Final = 15.0
_MOST_BYTES: Final = 10**9
_ROOT: Final = Path(__file__).parents[1]
_FLOOR: Final = "polars floor"
_OURS: Final = "thumbline ingest"
_NIGHT: Final = "thumbline ingest, a night"
_DOES: Final = {
    _FLOOR: "scan_ndjson, sink_parquet: no check, no ids, nothing flushed",
    _OURS: "raw copy, validation, ids, anti-join, Parquet with checksums, commit, all flushed to the disk",
    _NIGHT: "the same of a small log, into a store that holds the rest already",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.store", description="taking feedback into a store")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stored", type=int, default=3_000_000)
    parser.add_argument("--nightly", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        log = folder / "log.jsonl"
        write_log(log, rows=options.rows, seed=options.seed)
        runs: dict[str, list[Measured]] = {_FLOOR: [], _OURS: [], _NIGHT: []}
        for turn in range(options.rounds):
            for contestant in (_FLOOR, _OURS) if turn % 2 == 0 else (_OURS, _FLOOR):
                shutil.rmtree(folder / "store", ignore_errors=True)
                runs[contestant].append(_run(contestant, log, folder))
        if not (folder / "store").is_dir():
            _run(_OURS, log, folder)
        _fill(folder / "store", options.stored)
        for turn in range(options.rounds):
            night = folder / f"night-{turn}.jsonl"
            write_log(night, rows=options.nightly, seed=options.seed + 1 + turn)
            runs[_NIGHT].append(_run(_NIGHT, night, folder))
        size = log.stat().st_size
    result: dict[str, Any] = {**vars(options), "bytes": size}
    result |= {"table": [_row(one, runs) for one in runs], "targets": _targets(runs, result)} | describe_machine()
    write_result("store", result)
    print(store_tables(result))


def _run(contestant: str, log: Path, folder: Path) -> Measured:
    commands = {
        _FLOOR: [sys.executable, str(Path(__file__).parent / "scripts" / "floor.py"), str(log), str(folder)],
        _OURS: [sys.executable, "-m", "cli.main", "ingest", str(log), "--from", "thumbs", "--store", "store", "--json"],
    }
    commands[_NIGHT] = commands[_OURS]
    env = {**os.environ, "THUMBLINE_RATER_KEY": "0" * 64, "PYTHONPATH": str(_ROOT)}
    try:
        measured = measure_process(commands[contestant], env=env, cwd=folder)
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{contestant} failed with {error.output}") from error
    if contestant != _FLOOR:
        new = json.loads(measured.output[measured.output.index("{") :])["new"]
        if not new:
            raise SystemExit(f"{contestant} took nothing in")
    print(f"{contestant}: {measured.seconds:.1f} s, {measured.peak_mib:,.0f} MiB", file=sys.stderr)
    return measured


def _fill(folder: Path, rows: int) -> None:
    """Fill a store up to a number of events: those that are there, once more and under other ids, until it is full."""
    store = Store.open(folder)
    log = store.opened.log
    first = [file for file in log.files() if file.kind == EVENT]
    stored, again = sum(file.rows for file in first), 0
    while stored < rows:
        again += 1
        version = log.version() + 1
        added = []
        for file in first:
            if stored < rows:
                tables = _renamed(log.folder / file.path, str(again), rows - stored)
                added.append(write_rows(EVENT, tables, log.folder, folder / "staging", version))
                stored += added[-1].rows
        log.commit(version, added, operation="ingest", about={})


def _renamed(path: Path, salt: str, most: int) -> Iterator[pa.Table]:
    """The events of a file under other ids, at most so many."""
    with pq.ParquetFile(path) as opened:
        for group in range(opened.num_row_groups):
            table = opened.read_row_group(group)[: max(most, 0)]
            most -= len(table)
            frame = pl.DataFrame(table.select(["event_id", "source_record_id"]))
            new = frame.select(ids_of_texts(salt, pl.col("event_id")), pl.col("source_record_id") + f"/{salt}")
            for number, name in enumerate(("event_id", "source_record_id")):
                place = table.schema.get_field_index(name)
                table = table.set_column(
                    place, table.schema.field(place), new.to_series(number).to_arrow().cast("string")
                )
            yield table.drop_columns(["store_version"])


def _row(contestant: str, runs: dict[str, list[Measured]]) -> dict[str, Any]:
    measured = runs[contestant]
    return {
        "name": contestant,
        "does": _DOES[contestant],
        "seconds": round(statistics.median(one.seconds for one in measured), 2),
        "times_the_floor": None if contestant == _NIGHT else round(_times(contestant, runs), 2),
        "peak_mib": round(max(one.peak_mib for one in measured)),
    }


def _times(contestant: str, runs: dict[str, list[Measured]]) -> float:
    """The median over the rounds of how many times the floor's time it took in the same round."""
    pairs = zip(runs[contestant], runs[_FLOOR], strict=True)
    return statistics.median(one.seconds / floor.seconds for one, floor in pairs)


def _targets(runs: dict[str, list[Measured]], result: dict[str, Any]) -> list[dict[str, Any]]:
    times = _times(_OURS, runs)
    seconds = statistics.median(one.seconds for one in runs[_NIGHT])
    peak = max(one.peak_mib for one in runs[_NIGHT]) * 2**20
    night = f"{result['nightly']:,} votes into a store of {result['stored']:,}"
    return [
        {
            "claim": f"{result['rows']:,} votes take at most {_MOST_TIMES:g} times the floor",
            "value": round(times, 2),
            "is_met": times <= _MOST_TIMES,
        },
        {
            "claim": f"{night} take less than {_MOST_SECONDS:g} s",
            "value": round(seconds, 2),
            "is_met": seconds < _MOST_SECONDS,
        },
        {"claim": f"{night} need less than 1 GB, in GB", "value": round(peak / 1e9, 2), "is_met": peak < _MOST_BYTES},
    ]


if __name__ == "__main__":
    main()
