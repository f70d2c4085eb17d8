"""Seeded files of every format that is read from JSON Lines, for measurements of the readers.

    reader_draws ─► reader_products, reader_tools, reader_sets ─► reader_logs ─► readers

    python -m bench.reader_logs NAME FOLDER [--megabytes N] [--seed N]

Every record is sound: all of it is accepted, and `Written.rows` says how many events and pairs it holds. The same name,
size and seed give the same bytes (of one numpy version). No object is empty in all records of a file, since Parquet
holds no such column and the floor would fail.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.reader_draws import Drawn, Draws
from bench.reader_products import MAPPED_MAP, PRODUCTS
from bench.reader_sets import SETS
from bench.reader_tools import MAPS, TOOLS
from feedback.formats import FORMATS

__all__ = ["LEFT_OUT", "READER_LOGS", "READER_MAPS", "Written", "main", "write_reader_log"]

LEFT_OUT: Final = {"gradio_flagged": "exists as CSV only, the log.csv of a ChatInterface"}
"""Formats that are not read from JSON Lines, and why."""

READER_MAPS: Final = {**MAPS, "mapped": MAPPED_MAP}
"""The map of each format that needs one."""
_ALL: Final[dict[str, Callable[[Draws], Drawn]]] = {**PRODUCTS, **TOOLS, **SETS}
READER_LOGS: Final = tuple(name for one in FORMATS for name in _ALL if name.partition(":")[0] == one)
"""Names of what can be written, in the order of the formats: a format, or `FORMAT:SHAPE` where it has other shapes."""


@dataclass(frozen=True)
class Written:
    """A file of one format and what belongs to it.

    Args:
        format: name of the format.
        path: the file.
        join: the file that its records are joined with, if they are.
        map: the TOML map that it is read by, if the format needs one.
        records: lines of `path`.
        other_records: lines of `join`.
        rows: events and pairs that the records hold.
        bytes: size of both files together.
    """

    format: str
    path: str
    join: str | None
    map: str | None
    records: int
    other_records: int
    rows: int
    bytes: int


def write_reader_log(name: str, folder: Path, *, size: int, seed: int = 0) -> Written:
    """Write about `size` bytes of records into `folder`.

    Args:
        name: one of `READER_LOGS`.
        folder: where the files go: `records.jsonl`, and `others.jsonl` and `map.toml` where they are needed.
        size: bytes of both files together; they end with the record that reaches it.
        seed: of the random source.
    """
    draw, made, format_name = Draws(seed), _ALL[name], name.partition(":")[0]
    path, other_path, map_path = (folder / one for one in ("records.jsonl", "others.jsonl", "map.toml"))
    records = others = rows = written = 0
    with path.open("wb", buffering=1 << 22) as stream, other_path.open("wb", buffering=1 << 22) as other_stream:
        while written < size:
            draw.begin()
            drawn = made(draw)
            # Some exporters write JSON escapes for all that is not ASCII, others do not.
            is_ascii = draw.chance(0.5)
            written += stream.write(_lines(drawn.records, is_ascii=is_ascii))
            written += other_stream.write(_lines(drawn.others, is_ascii=is_ascii))
            records, others, rows = records + len(drawn.records), others + len(drawn.others), rows + drawn.rows
    if not others:
        other_path.unlink()
    if format_name in READER_MAPS:
        map_path.write_text(READER_MAPS[format_name], "utf-8")
    return Written(
        format=format_name,
        path=str(path),
        join=str(other_path) if others else None,
        map=str(map_path) if format_name in READER_MAPS else None,
        records=records,
        other_records=others,
        rows=rows,
        bytes=written,
    )


def _lines(records: Sequence[object], *, is_ascii: bool) -> bytes:
    return "".join(f"{json.dumps(record, ensure_ascii=is_ascii)}\n" for record in records).encode("utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the files of one name."""
    parser = argparse.ArgumentParser(prog="python -m bench.reader_logs", description="records of a format, seeded")
    parser.add_argument("name", choices=READER_LOGS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    print(write_reader_log(options.name, options.folder, size=int(options.megabytes * 1e6), seed=options.seed))


if __name__ == "__main__":
    main()
