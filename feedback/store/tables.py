"""What the store holds, as one Delta table: rows of several kinds, each in files of its own columns.

    kind=event        schemas.events.FEEDBACK_EVENT
    kind=pair         schemas.pairs.PREFERENCE_PAIR
    kind=quarantine   schemas.quarantine.QUARANTINE
    kind=source       a raw file that was taken in
    kind=tombstone    somebody, or a conversation, that was forgotten

One table, since Delta commits one table at a time: so a commit brings the rows of a file, its bad records and the note
that it was taken in, all or nothing, and one number is the version of all of it. `store_version`, in every row, is the
version that brought it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.events import FEEDBACK_EVENT
from schemas.pairs import PREFERENCE_PAIR
from schemas.quarantine import QUARANTINE

__all__ = [
    "EVENT",
    "ID_COLUMNS",
    "KIND",
    "PAIR",
    "QUARANTINED",
    "SOURCE",
    "SUBJECT_COLUMNS",
    "TABLE_SCHEMA",
    "TOMBSTONE",
    "VERSION",
    "file_schema",
    "parquet_options",
    "safe_statistics",
]

KIND: Final = "kind"
VERSION: Final = "store_version"
EVENT, PAIR, QUARANTINED, SOURCE, TOMBSTONE = "event", "pair", "quarantine", "source", "tombstone"

_TEXT: Final = pa.string()
_OWN: Final = {
    EVENT: FEEDBACK_EVENT,
    PAIR: PREFERENCE_PAIR,
    QUARANTINED: QUARANTINE,
    # `about` is JSON: settings and counts of a file, see `feedback.store.source_rows`.
    SOURCE: pa.schema(
        [
            pa.field("source", _TEXT, nullable=False),
            pa.field("file", _TEXT, nullable=False),
            pa.field("raw_sha256", _TEXT, nullable=False),
            pa.field("about", _TEXT, nullable=False),
        ]
    ),
    # `subject` is a keyed hash, see `feedback.store.tombstones`.
    TOMBSTONE: pa.schema([pa.field("subject", _TEXT, nullable=False), pa.field("about", _TEXT, nullable=False)]),
}
ID_COLUMNS: Final[Mapping[str, str]] = {EVENT: "event_id", PAIR: "pair_id"}
"""The column that tells rows of a kind apart."""

SUBJECT_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    EVENT: ("rater_key", "conversation_id"),
    PAIR: ("rater_key", "conversation_id"),
    QUARANTINED: ("raw",),
}
"""The columns that say whose the rows of a kind are."""

_HASHES: Final = ("event_id", "pair_id", "source_record_id", "raw_sha256", "rater_key", "conversation_id", "message_id")
_TEXTS: Final = (
    *("prompt_hash", "completion_hash", "response_a_hash", "response_b_hash", "group_id", "comment", "raw", "about"),
    *("prompt.list.element.content", "completion.list.element.content"),
    *("response_a.list.element.content", "response_b.list.element.content"),
)
_DISTINCT: Final = frozenset((*_HASHES, *_TEXTS))
"""Columns in which hardly a value comes twice, so that a dictionary would only cost time."""
_COUNTED: Final = (VERSION, "event_ts")
"""The columns of which Delta's log holds statistics: none of them says what anybody wrote, or who."""


def file_schema(kind: str) -> pa.Schema:
    """The columns of the files of a kind."""
    return _OWN[kind].append(pa.field(VERSION, pa.int64(), nullable=False))


def _table_schema() -> pa.Schema:
    fields: dict[str, pa.DataType] = {}
    for kind in _OWN:
        for field in file_schema(kind):
            fields.setdefault(field.name, field.type)
    return pa.schema([pa.field(KIND, _TEXT), *(pa.field(name, kind) for name, kind in fields.items())])


TABLE_SCHEMA: Final = _table_schema()
"""The columns of the Delta table: those of all kinds; what a kind has not is null."""


def parquet_options(kind: str) -> dict[str, object]:
    """How files of a kind are written: pages carry checksums, and no statistics of texts."""
    return {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": [name for name in _leaves(file_schema(kind)) if name not in _DISTINCT],
        "write_statistics": [name for name in _COUNTED if name in file_schema(kind).names],
        "write_page_checksum": True,
    }


def safe_statistics(metadata: pq.FileMetaData) -> dict[str, object]:
    """Rows, and least and greatest value of the columns that may be named in Delta's log, of one file."""
    least, greatest = {}, {}
    for name in _COUNTED:
        found = list(_bounds(metadata, name))
        if found:
            least[name] = _told(min(low for low, _ in found))
            greatest[name] = _told(max(high for _, high in found))
    return {"numRecords": metadata.num_rows, "minValues": least, "maxValues": greatest}


def _bounds(metadata: pq.FileMetaData, name: str) -> Iterable[tuple[Any, Any]]:
    names = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
    if name not in names:
        return
    for group in range(metadata.num_row_groups):
        found = metadata.row_group(group).column(names.index(name)).statistics
        if found is not None and found.has_min_max:
            yield found.min, found.max


def _told(value: object) -> object:
    return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if isinstance(value, datetime) else value


def _leaves(schema: pa.Schema) -> Iterable[str]:
    """The paths of the columns as Parquet has them."""
    for field in schema:
        if pa.types.is_list(field.type) and pa.types.is_struct(field.type.value_type):
            yield from (f"{field.name}.list.element.{part.name}" for part in field.type.value_type)
        elif pa.types.is_list(field.type):
            yield f"{field.name}.list.element"
        else:
            yield field.name
