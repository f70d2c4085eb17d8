"""What the records of a block find in the other file of their format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from feedback.formats.drafts import FoundPartner, Join
from feedback.formats.mapping.paths import Steps, find_value, parse_path
from feedback.formats.parts.fields import id_text, reject
from feedback.ingest.joined_file import JoinedRecords, open_joined
from feedback.records.json_columns import Lines
from feedback.records.raw_record import MAX_RECORD_BYTES
from schemas.errors import RecordRejectedError
from schemas.reasons import RejectReason

__all__ = ["Partners"]

_MOST_PARTNERS: Final = 100_000
"""Records with one id; a key that is the same for all would make a list of the whole other file for each record."""
_DECODE: Final = msgspec.json.Decoder().decode
_Span = tuple[int, int]


class Partners:
    """Gives every record of a block what the other file has for it.

    Args:
        join: what the format's records need; None where they need nothing.
        table: the table of the other file; None where none was named, or where records find each other in their own
            block, which `look_in` then tells.
    """

    def __init__(self, join: Join | None, table: Path | None) -> None:
        self._join = join
        self._is_judged = None if join is None else join.is_judged
        self._lookup = None if join is None or table is None else _Lookup(join, open_joined(table))
        self.found = 0
        self.alone = 0
        self.first_alone = ""
        self._is_lacking = False
        self._placed_over: dict[str, Any] | None = None

    def look_in(self, records: JoinedRecords) -> None:
        """Look for what records need among these."""
        self._lookup = None if self._join is None else _Lookup(self._join, records)

    def close(self) -> None:
        """Let go of the table."""
        self._lookup = None

    @property
    def lacks_file(self) -> bool:
        """Whether the last record needs the other file, and none was named."""
        return self._lookup is None and self._is_lacking

    @property
    def lacks_partner(self) -> bool:
        """Whether the other file has nothing for the last record."""
        return self._lookup is not None and self._is_lacking

    @property
    def key(self) -> str:
        """The path of the id by which records look; empty where they look for nothing, or nothing was named."""
        return "" if self._join is None or self._lookup is None else self._join.key

    @property
    def most(self) -> int:
        """How many records with one id are read."""
        return _MOST_PARTNERS

    def spans(self, names: Sequence[str] | pl.Series) -> list[tuple[int, int]]:
        """Where the records with each id are: the first, and the one behind the last. There is a `key`."""
        return [] if self._lookup is None else self._lookup.spans(names)

    def lines(self, rows: NDArray[np.int64]) -> tuple[Lines, NDArray[np.int64]]:
        """Records by their rows in `spans`, each once and as a line, and the place of each row's. There is a `key`."""
        if self._lookup is None:
            return Lines(b"", rows[:0], rows[:0]), rows[:0]
        return self._lookup.lines(rows)

    def sample(self, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Some records, each with what it finds, where it finds one object."""
        if self._join is None or self._lookup is None:
            return list(records)
        found = self._lookup.firsts(records)
        return [record | one for record, one in zip(records, found, strict=True)]

    def expect(self, records: Sequence[dict[str, Any] | None]) -> None:
        """Look up together what `place` will ask for one by one."""
        if self._lookup is not None:
            self._lookup.expect(record for record in records if record is not None)

    def take_back(self, record: dict[str, Any]) -> None:
        """Take out of `record` what was put into it: a block of small records would hold a large one for each."""
        if self._placed_over is not None and self._join is not None:
            del record[self._join.into]
            record.update(self._placed_over)
            self._placed_over = None

    def place(self, record: dict[str, Any]) -> list[memoryview]:
        """Put the other file's record, or records, into `record`; where there is none, it stays as it is.

        Args:
            record: a record of the format.

        Returns:
            What was put into it, as JSON; it is part of what the record is known by, see `feedback.ingest.known_by`.
            Nothing for a record without a judgement, as no row comes of it.

        Raises:
            RecordRejectedError: several different records have the id and one is wanted, or there are too many.
        """
        self._is_lacking = self._join is not None and self._join.is_lacking(record)
        if self._join is None or self._lookup is None or not self._is_lacking:
            return []
        name = self._lookup.id_of(record)
        span = None if name is None else self._lookup.span(name)
        if span is None:
            self.alone += 1
            self.first_alone = self.first_alone or name or ""
            return []
        self.found += 1
        self._is_lacking = False
        if self._is_judged is not None and not self._is_judged(record):
            return []
        into = self._join.into
        self._placed_over = {into: record[into]} if into in record else {}
        texts, values = self._lookup.read(span)
        own = values if self._join.is_many else values[0]
        record[into] = FoundPartner(own) if self._join.is_stub(own) else own
        return texts


class _Lookup:
    """Records that are looked up."""

    def __init__(self, join: Join, records: JoinedRecords) -> None:
        self._join = join
        self._key = parse_path(join.key, "the format's join")
        self._only = _only_key(self._key)
        self._records = records
        self._expected: dict[str, _Span] = {}
        self._checked: tuple[str, _Span] = ("", (0, 0))
        self._read: tuple[_Span, list[memoryview], list[Any]] = ((0, 0), [], [])

    def id_of(self, record: dict[str, Any]) -> str | None:
        """The id that a record of the format looks for."""
        return id_text(record.get(self._only) if self._only is not None else find_value(record, self._key))

    def spans(self, names: Sequence[str] | pl.Series) -> list[_Span]:
        """Where the records with each id are, see `JoinedRecords.spans`."""
        return self._records.spans(names)

    def lines(self, rows: NDArray[np.int64]) -> tuple[Lines, NDArray[np.int64]]:
        """Records by their rows as lines, see `JoinedRecords.lines`."""
        return self._records.lines(rows)

    def firsts(self, records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """What each record finds, under the key that it is placed under; empty where it finds nothing."""
        names = [self._name_of(record) for record in records]
        found = zip(names, records, self._records.spans(names), strict=True)
        return [
            {self._join.into: _DECODE(self._records.records((first, first + 1))[0])}
            if name and end > first and self._join.is_lacking(record)
            else {}
            for name, record, (first, end) in found
        ]

    def expect(self, records: Iterable[dict[str, Any]]) -> None:
        """Look up the ids of records that lack the other file's."""
        names = {self._name_of(record) for record in records if self._join.is_lacking(record)}
        names.discard("")
        sought = list(names)
        self._expected = dict(zip(sought, self._records.spans(sought), strict=True))

    def _name_of(self, record: dict[str, Any]) -> str:
        """The id that a record looks for; empty where there is none, or none that can be read."""
        try:
            return self.id_of(record) or ""
        except RecordRejectedError:
            return ""

    def span(self, name: str) -> _Span | None:
        """Where the other file's records with an id are, None where there is none.

        Raises:
            RecordRejectedError: they are different and one is wanted, or they are too many.
        """
        # Records with one id often follow each other: the messages of a conversation, the scores of a trace.
        if self._checked[0] != name:
            span = self._expected.get(name) or self._records.spans([name])[0]
            self._refuse(span)
            self._checked = (name, span)
        first, end = self._checked[1]
        return (first, end) if end > first else None

    def read(self, span: _Span) -> tuple[list[memoryview], list[Any]]:
        """The records of a span as JSON and as values, which nobody may change."""
        if self._read[0] != span:
            texts = self._records.records(span)[: None if self._join.is_many else 1]
            self._read = (span, texts, [_DECODE(text) for text in texts])
        return self._read[1], self._read[2]

    def _refuse(self, span: _Span) -> None:
        count, what, key = span[1] - span[0], self._join.what, self._join.key
        if count < 2:
            return
        if not self._join.is_many:
            texts = self._records.records(span)
            if any(text != texts[0] for text in texts):
                detail = f"several different {what} have the id in {key!r}, and one is wanted"
                reject(RejectReason.RULE_VIOLATION, detail)
        elif count > _MOST_PARTNERS or self._records.size(span) > MAX_RECORD_BYTES:
            reject(RejectReason.TOO_LARGE, f"more {what} have the id in {key!r} than are read")


def _only_key(path: Steps) -> str | None:
    """The key that a path is, where it is one."""
    return path[0] if len(path) == 1 and isinstance(path[0], str) else None
