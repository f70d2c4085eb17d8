"""The table of records that could not be accepted: nothing is lost, each has a reason and its place."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

__all__ = ["QUARANTINE"]

_TEXT: Final = pa.string()

QUARANTINE: Final = pa.schema(
    [
        pa.field("source", _TEXT, nullable=False),
        pa.field("file", _TEXT, nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("reason", _TEXT, nullable=False),
        pa.field("detail", _TEXT, nullable=False),
        pa.field("raw", pa.binary(), nullable=False),
        pa.field("raw_sha256", _TEXT, nullable=False),
    ]
)
"""`line` counts lines of a line format and records of any other, from 1; `reason` is a `RejectReason`; `raw` is the
record as it came, byte for byte where the format has bytes. Where it held contacts or user ids it is the record as
JSON, without the contacts and with keyed hashes for the ids, or nothing where the row of a table could not be read;
`raw_sha256` is of `raw`."""
