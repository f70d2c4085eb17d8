"""Rows of tables as the JSON lines that they would be, so that a table is read as the same rows in a JSON file are.

What JSON has no kind for is written as text (times in ISO 8601, with a zone only where they have one) or as a number
(decimals). Bytes become their size and sha256: nobody can take them for text, and two of them still differ.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final

from feedback.records.json_lines import decode_lines
from feedback.records.raw_record import RawRecord, too_large_record
from feedback.records.text_blocks import TextBlock

__all__ = ["RejectedRow", "block_records", "read_rows"]

_BLOCK_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that cannot be read: `RejectReason` and detail."""

    reason: str
    detail: str


def read_rows(
    rows: Iterable[dict[str, Any] | RejectedRow], file: str, max_bytes: int
) -> Iterator[TextBlock | list[RawRecord]]:
    """Text blocks with a line for each row, numbered from 1; rejected rows come as records.

    Args:
        rows: column and value of each row.
        file: name for the records.
        max_bytes: longest row that is read, in bytes of JSON.
    """
    lines: list[bytes] = []
    size, first = 0, 1
    for number, row in enumerate(rows, start=1):
        record, line = None, b""
        if isinstance(row, RejectedRow):
            record = RawRecord(file, number, b"", None, (row.reason, row.detail))
        else:
            line = json.dumps(row, ensure_ascii=False, default=_as_json).encode("utf-8", "surrogatepass")
            if len(line) > max_bytes:
                record = too_large_record(file, number, line, len(line), max_bytes)
        if lines and (record is not None or size >= _BLOCK_BYTES):
            yield TextBlock(file, first, b"\n".join([*lines, b""]))
            lines, size = [], 0
        if record is not None:
            yield [record]
            continue
        first = first if lines else number
        lines.append(line)
        size += len(line)
    if lines:
        yield TextBlock(file, first, b"\n".join([*lines, b""]))


def block_records(block: TextBlock) -> list[RawRecord]:
    """The records of a text block that has a record on every line."""
    lines = block.lines()
    values, rejects = decode_lines(lines)
    return [
        RawRecord(block.file, block.first_line + place, line, value, rejects.get(place))
        for place, (line, value) in enumerate(zip(lines, values, strict=True))
    ]


def _as_json(value: object) -> Any:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        is_whole = value.is_finite() and value.as_tuple().exponent == 0
        return int(value) if is_whole else float(value)
    if isinstance(value, bytes):
        return {"bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}
    return str(value)
