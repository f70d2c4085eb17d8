"""Records of a file that are found by others in the same file, so that they are somebody's without naming them.

A vote in a chat log names who voted, and the messages that it is about are told by the id of their conversation.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from feedback.formats.mapping.paths import Steps, find_value, parse_path
from feedback.formats.parts.fields import id_text
from feedback.ingest.source_format import open_format
from feedback.records.raw_record import RawRecord
from feedback.store.landing import Landing
from schemas.errors import RecordRejectedError

__all__ = ["JoinedRecords", "joined_within"]


@dataclass(frozen=True, slots=True)
class JoinedRecords:
    """Which records of a landing are found by some of its records.

    Args:
        key: where a record holds the id that it looks for.
        other: where a record holds the id that it is found by.
        ids: the ids that are looked for.
    """

    key: Steps
    other: Steps
    ids: frozenset[str] = field(default=frozenset(), repr=False)

    def of(self, records: Iterable[RawRecord]) -> JoinedRecords:
        """Those that some records find, beside those that others did.

        Args:
            records: the records that look.
        """
        found = (_id_at(_value(record), self.key) for record in records)
        return JoinedRecords(self.key, self.other, self.ids | {one for one in found if one is not None})

    def has(self, record: RawRecord) -> bool:
        """Whether a record is one of them."""
        return bool(self.ids) and _id_at(_value(record), self.other) in self.ids


def joined_within(landing: Landing) -> JoinedRecords | None:
    """How the records of a landing find each other in the same file; null where they do not.

    Args:
        landing: the landing.

    Raises:
        UnknownChoiceError: its format is not known any more.
    """
    if landing.other:
        return None
    with tempfile.TemporaryDirectory(prefix="thumbline-") as work:
        mapped = None
        if landing.map is not None:
            mapped = Path(work) / "map.toml"
            mapped.write_text(landing.map, encoding="utf-8")
        join = open_format(landing.format, None if mapped is None else str(mapped), landing.ranking).join
    if join is None or not join.is_itself:
        return None
    key, other = (parse_path(path, "the format's join") for path in (join.key, join.other))
    return JoinedRecords(key, other)


def _value(record: RawRecord) -> Any:
    """The record's value; that of a line which was not decoded is read from its bytes."""
    if record.value is not None:
        return record.value
    try:
        return json.loads(record.raw)
    except ValueError:
        return None


def _id_at(value: Any, path: Steps) -> str | None:
    try:
        return id_text(find_value(value, path))
    except RecordRejectedError:
        return None
