"""What `ingest` writes: batches of rows, checked against the value rules, into Parquet parts.

A record is accepted whole or quarantined whole, also where it gave several drafts.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pandera.polars as pandera
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from feedback.formats.drafts import Draft, EventDraft
from feedback.ingest.draft_tables import Row, draft_row, rows_to_table
from feedback.records.raw_record import RawRecord
from schemas.events import FEEDBACK_EVENT
from schemas.pairs import PREFERENCE_PAIR
from schemas.quarantine import QUARANTINE
from schemas.reasons import RejectReason
from schemas.rules import FeedbackEventRules, PreferencePairRules, violations

__all__ = ["IngestFiles"]

_BATCH_RECORDS: Final = 20_000
_BATCH_BYTES: Final = 64 << 20
_PART_ROWS: Final = 500_000
_KINDS: Final = (("events", FEEDBACK_EVENT, FeedbackEventRules), ("pairs", PREFERENCE_PAIR, PreferencePairRules))
_FIRST_CASES: Final = 3
_MEANINGS: Final = {one.value: one.meaning for one in RejectReason if one != RejectReason.RULE_VIOLATION}


class IngestFiles:
    """Rows on their way into a folder; use as a context, which closes the files.

    Args:
        folder: where the parts go.
        key: key for user ids.
    """

    def __init__(self, folder: Path, key: bytes) -> None:
        self.drafts = 0
        self.rejected: Counter[str] = Counter()
        self.first_cases: list[str] = []
        self.parts = {name: _Parts(folder, name, schema) for name, schema, _ in _KINDS}
        self.quarantine = _Parts(folder, "quarantine", QUARANTINE)
        self._key = key
        self._records: list[tuple[str, RawRecord, str, int]] = []
        self._rows: dict[str, list[Row]] = {name: [] for name in self.parts}
        self._owners: dict[str, list[int]] = {name: [] for name in self.parts}
        self._refused: list[Row] = []
        self._bytes = 0

    def __enter__(self) -> IngestFiles:
        return self

    def __exit__(self, *reason: object) -> None:
        if reason[0] is None:
            self._flush()
        for parts in (*self.parts.values(), self.quarantine):
            parts.close()

    def accept(self, source: str, record: RawRecord, drafts: Sequence[Draft]) -> None:
        """Take the drafts of one record.

        Raises:
            RecordRejectedError: one of them cannot become a row.
        """
        digest = hashlib.sha256(record.raw).hexdigest()
        rows = [draft_row(draft, source, digest, place, self._key) for place, draft in enumerate(drafts)]
        for draft, row in zip(drafts, rows, strict=True):
            name = "events" if isinstance(draft, EventDraft) else "pairs"
            self._rows[name].append(row)
            self._owners[name].append(len(self._records))
        self._records.append((source, record, digest, len(drafts)))
        self._count_batch(len(record.raw))

    def refuse(self, source: str, record: RawRecord, reason: str, detail: str) -> None:
        """Put one record into quarantine."""
        self._quarantine(source, record, hashlib.sha256(record.raw).hexdigest(), reason, detail)
        self._count_batch(len(record.raw))

    def _quarantine(self, source: str, record: RawRecord, digest: str, reason: str, detail: str) -> None:
        self.rejected[str(reason)] += 1
        if len(self.first_cases) < _FIRST_CASES:
            self.first_cases.append(f"{record.file} line {record.line}: {reason}, {detail}")
        self._refused.append((source, record.file, record.line, str(reason), detail, record.raw, digest))

    def _count_batch(self, size: int) -> None:
        self._bytes += size
        if len(self._records) + len(self._refused) >= _BATCH_RECORDS or self._bytes >= _BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        tables = {name: rows_to_table(self._rows[name], schema) for name, schema, _ in _KINDS}
        broken: dict[int, tuple[str, str]] = {}
        for name, _, rules in _KINDS:
            for row, reason, detail in _check(tables[name], rules):
                broken.setdefault(self._owners[name][row], (reason, _MEANINGS.get(reason, detail)))
        for owner, (reason, detail) in sorted(broken.items()):
            source, record, digest, _ = self._records[owner]
            self._quarantine(source, record, digest, reason, detail)
        for name, table in tables.items():
            self.parts[name].write(_without(table, self._owners[name], broken))
        self.quarantine.write(rows_to_table(self._refused, QUARANTINE))
        self.drafts += sum(count - 1 for owner, (*_, count) in enumerate(self._records) if owner not in broken)
        for rows in (self._records, self._refused, *self._rows.values(), *self._owners.values()):
            rows.clear()  # type: ignore[attr-defined]
        self._bytes = 0


class _Parts:
    """Numbered Parquet files of one table; none at all where it has no rows."""

    def __init__(self, folder: Path, name: str, schema: pa.Schema) -> None:
        self.rows = 0
        self.paths: list[Path] = []
        self._folder = folder
        self._name = name
        self._schema = schema
        self._writer: pq.ParquetWriter | None = None
        self._part_rows = 0

    def write(self, table: pa.Table) -> None:
        """Append a table."""
        if not table.num_rows:
            return
        if self._writer is None or self._part_rows + table.num_rows > _PART_ROWS:
            self.close()
            path = self._folder / f"{self._name}-{len(self.paths):05d}.parquet"
            self._writer = pq.ParquetWriter(path, self._schema, compression="zstd", write_page_checksum=True)
            self.paths.append(path)
        self._writer.write_table(table)
        self._part_rows += table.num_rows
        self.rows += table.num_rows

    def close(self) -> None:
        """Finish the current file."""
        if self._writer is not None:
            self._writer.close()
        self._writer = None
        self._part_rows = 0


def _check(table: pa.Table, rules: type[pandera.DataFrameModel]) -> Sequence[tuple[int, str, str]]:
    return violations(pl.DataFrame(pl.from_arrow(table)), rules) if table.num_rows else ()


def _without(table: pa.Table, owners: Sequence[int], broken: dict[int, Any]) -> pa.Table:
    if not broken:
        return table
    return table.filter(pa.array([owner not in broken for owner in owners], pa.bool_()))
