"""One record of a raw file: its place, its bytes, and the value in it or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from feedback.records.strict_json import decode_object
from schemas.errors import RecordRejectedError
from schemas.reasons import RejectReason

__all__ = ["HEAD_BYTES", "MAX_RECORD_BYTES", "RawRecord", "json_record", "too_large_record"]

MAX_RECORD_BYTES: Final = 64 << 20
"""Longest record that is read."""

HEAD_BYTES: Final = 64 << 10
"""How much of a longer record goes to quarantine."""


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record as it came.

    Args:
        file: name of the file, without its folder.
        line: line of a line format, record of any other, from 1.
        raw: the bytes, without byte-order mark and line end; of a table without bytes, its row as JSON.
        value: the object in it; null where it is rejected.
        reject: `RejectReason` and detail where it is rejected.
        columns: names of the table's columns, where a row was rejected whose cells could not be told apart.
    """

    file: str
    line: int
    raw: bytes
    value: dict[str, Any] | None
    reject: tuple[str, str] | None = None
    columns: tuple[str, ...] = ()


def json_record(file: str, line: int, raw: bytes) -> RawRecord:
    """The record of the JSON text `raw`, rejected where it is not a sound object."""
    try:
        return RawRecord(file, line, raw, decode_object(raw))
    except RecordRejectedError as error:
        return RawRecord(file, line, raw, None, (error.reason, error.detail))


def too_large_record(file: str, line: int, head: bytes, size: int, limit: int) -> RawRecord:
    """The rejected record of a text of `size` bytes that begins with `head`."""
    detail = f"the record has {size:,} bytes, more than {limit:,}; only its first {HEAD_BYTES:,} are kept here"
    return RawRecord(file, line, head[:HEAD_BYTES], None, (RejectReason.TOO_LARGE, detail))
