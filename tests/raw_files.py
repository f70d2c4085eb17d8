"""A file of raw records, written and read back."""

from __future__ import annotations

import json
from pathlib import Path

import zstandard

from feedback.records.raw_record import RawRecord
from feedback.records.sources import read_records

ROWS = [{"n": 1, "text": "a"}, {"n": 2, "text": 'b\n"{[é'}, {"n": 3, "text": ""}]
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def read(folder: Path, data: bytes, name: str = "in.jsonl", **options: int) -> list[RawRecord]:
    path = folder / name
    path.write_bytes(data)
    return list(read_records(path, **options))


def values(records: list[RawRecord]) -> list[object]:
    return [record.value for record in records]


def reasons(records: list[RawRecord]) -> list[str | None]:
    return [record.reject and record.reject[0] for record in records]


def zst(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)
