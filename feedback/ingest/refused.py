"""The records of a block that go to quarantine: their rows, their counts and the first cases for people."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from feedback.formats import Format
from feedback.ingest.draft_tables import Row, rows_to_table
from feedback.ingest.kept_raw import kept_raw
from feedback.records.raw_record import RawRecord
from schemas.quarantine import QUARANTINE
from schemas.reasons import RejectReason

__all__ = ["Refused"]

_FIRST_CASES: Final = 3


class Refused:
    """Collects records that were refused.

    Args:
        source: name of the source.
        source_format: its format, which says which keys hold user ids.
        key: key for user ids.
    """

    def __init__(self, source: str, source_format: Format, key: bytes) -> None:
        self._source = source
        self._format = source_format
        self._key = key
        self._rows: list[tuple[bool, int, Row]] = []
        self.counts: Counter[str] = Counter()

    def add(self, record: RawRecord, digest: str, reason: str, detail: str, *, is_late: bool = False) -> None:
        """Refuse a record.

        Args:
            record: the record.
            digest: sha256 of its bytes.
            reason: a `RejectReason`.
            detail: what is wrong with it.
            is_late: whether its rows broke a rule, so that it is shown behind those that could not be read.
        """
        self.counts[str(reason)] += 1
        raw = kept_raw(record, self._format, self._key)
        # The digest is of what is kept: that of the whole would give away a short secret that was cut out.
        digest = digest if raw == record.raw else hashlib.sha256(raw).hexdigest()
        row = (self._source, record.file, record.line, str(reason), detail, raw, digest)
        self._rows.append((is_late, record.line, row))

    def first_cases(self) -> tuple[str, ...]:
        """The first of them; records that judge nothing come last."""
        cases: list[str] = []
        unjudged: list[str] = []
        for _, _, (_, file, line, reason, detail, _, _) in sorted(self._rows, key=lambda one: one[:2]):
            listed = unjudged if reason == RejectReason.NO_JUDGEMENT else cases
            listed.append(f"{file} line {line}: {reason}, {detail}")
        return (*cases, *unjudged)[:_FIRST_CASES]

    def table(self) -> pa.Table:
        """Rows of `schemas.quarantine.QUARANTINE`, by their lines."""
        rows: Sequence[Row] = [row for _, _, row in sorted(self._rows, key=lambda one: one[1])]
        return rows_to_table(rows, QUARANTINE)
