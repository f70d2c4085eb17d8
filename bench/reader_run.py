"""One reading of one file, warm: what a process of `bench.readers` does.

    python -m bench.reader_run floor | ours SMALL LARGE OUT      SMALL and LARGE: a `Written` as JSON

The process reads the small file first, so that imports, compiled kernels and threads are there, and then the large one
against the clock. It prints a `Reading` as JSON. Pandas is imported too, which Arrow wants for the first record that is
read one by one: a small file may have none.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bench.reader_logs import Written

__all__ = ["AS_TEXT", "Reading", "main", "read_floor", "read_ours"]

AS_TEXT: Final = {"open_webui": "snapshot", "chatgpt_export": "mapping"}
"""Fields that the floor takes as text. Their objects have ids for keys, and polars would make a column of each id."""


@dataclass(frozen=True)
class Reading:
    """What a reading took and gave.

    Args:
        seconds: wall time.
        records: records that were read.
        rows: rows that were written.
        case: the first record that was not accepted, empty where all were.
        note: how the floor differs from its bare call, empty where it does not.
    """

    seconds: float
    records: int
    rows: int
    case: str = ""
    note: str = ""


def read_floor(written: Written, out: Path) -> Reading:
    """Read the JSONL, write Parquet, nothing else.

    Raises:
        PolarsError: polars cannot read a file in any of the ways that are tried.
    """
    seconds, notes, rows = 0.0, [], []
    for path in (written.path, written.join):
        if path is not None:
            took, note, count = _sink(path, out / f"{Path(path).stem}.parquet", AS_TEXT.get(written.format))
            seconds += took
            rows.append(count)
            notes += [note] if note else []
    return Reading(seconds, rows[0], sum(rows), note="; ".join(dict.fromkeys(notes)))


def _sink(path: str, out: Path, as_text: str | None) -> tuple[float, str, int]:
    """Seconds, note and rows of a file; only the call that succeeds is timed."""
    import polars as pl

    with Path(path).open("rb") as lines:
        is_there = as_text is not None and as_text in json.loads(lines.readline())
    overrides = {as_text: pl.String} if is_there and as_text is not None else None
    notes = [f"{as_text} as text"] if is_there else []
    start = time.perf_counter()
    try:
        pl.scan_ndjson(path, schema_overrides=overrides).sink_parquet(out)
    except pl.exceptions.PolarsError:
        notes.append("infer_schema_length=None")
        start = time.perf_counter()
        pl.scan_ndjson(path, schema_overrides=overrides, infer_schema_length=None).sink_parquet(out)
    seconds = time.perf_counter() - start
    return seconds, ", ".join(notes), int(pl.scan_parquet(out).select(pl.len()).collect().item())


def read_ours(written: Written, out: Path) -> Reading:
    """Validated tables with ids, hashes and keys."""
    import polars as pl

    from feedback.config import SourceConfig
    from feedback.ingest import ingest

    source = SourceConfig(path=written.path, format=written.format, map=written.map, join=written.join)
    start = time.perf_counter()
    # Whatever is rejected is looked at here, so that its reason can be named.
    result = ingest([source], out / "ingested", max_rejected_share=1.0)
    seconds = time.perf_counter() - start
    case = ""
    if result.rejected:
        first = pl.read_parquet(result.quarantine[0]).row(0, named=True)
        case = f"line {first['line']}: {first['reason']}, {first['detail']}; in all {result.rejected}"
    return Reading(seconds, result.report.rows_in, result.report.rows_kept, case)


def main(contestant: str, small: str, large: str, out: str) -> None:
    """Read both files and print what the large one took."""
    import pyarrow as pa

    pa.array([""])
    read: Callable[[Written, Path], Reading] = {"floor": read_floor, "ours": read_ours}[contestant]
    for name, described in (("small", small), ("large", large)):
        folder = Path(out) / name
        folder.mkdir(parents=True)
        reading = read(Written(**json.loads(described)), folder)
    print(json.dumps(asdict(reading)))


if __name__ == "__main__":
    main(*sys.argv[1:])
