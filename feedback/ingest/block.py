"""One block of a raw file becomes tables on disk: the kernel of `ingest`, which any engine can run anywhere.

    block ─┬─ plain records ─────────────► columns ─┐
           └─ others ─► values ─► drafts ─► rows ───┴─► rules ─► events-*, pairs-*, keys, sketches
                  └──────────┴───────────────┴───────────┴─────► quarantine-*

A record is accepted whole or quarantined whole, also where it gave several drafts.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feedback.engine import write_arrow, written_whole
from feedback.formats import Format
from feedback.formats.drafts import EventDraft, IgnoredDraft, PlainVotes
from feedback.ingest.arrow_columns import gathered
from feedback.ingest.draft_tables import Row, draft_row, rows_to_table
from feedback.ingest.format_check import FIRST_RECORDS, FormatCheck, Miss
from feedback.ingest.join_table import Partners
from feedback.ingest.kept_raw import kept_raw
from feedback.ingest.keys import SketchSettings, event_keys, outcome_sum, pair_keys
from feedback.ingest.plain_votes import Plain, find_plain, plain_events, plain_schema
from feedback.ingest.source_format import open_format
from feedback.near import Sketches, SketchFile, write_sketches
from feedback.records.json_columns import Lines, read_columns, split_lines
from feedback.records.json_lines import decode_lines
from feedback.records.raw_record import RawRecord
from feedback.records.text_blocks import TextBlock
from schemas.errors import RecordRejectedError
from schemas.events import FEEDBACK_EVENT
from schemas.pairs import PREFERENCE_PAIR
from schemas.quarantine import QUARANTINE
from schemas.reasons import RejectReason
from schemas.rules import FeedbackEventRules, PreferencePairRules, Rules, violations

__all__ = ["BlockResult", "BlockTask", "ingest_block"]

_FIRST_CASES: Final = 3
_MOST_FIELDS: Final = 1000
_SAMPLE: Final = 20
_MEANINGS: Final = {one.value: one.meaning for one in RejectReason if one != RejectReason.RULE_VIOLATION}
_KINDS: Final = (("events", FEEDBACK_EVENT, FeedbackEventRules), ("pairs", PREFERENCE_PAIR, PreferencePairRules))
_NO_NEAR: Final = SketchSettings(threshold=0.8, shingle_words=3)
"""Sketches are made with the keys; where they are not wanted, any settings do."""


@dataclass(frozen=True, slots=True)
class BlockTask:
    """A block and what is needed to read it.

    Args:
        number: which block of the run it is, from 0; names its files.
        owner: which file of the run it is from, from 0.
        folder: where its files go.
        source: name of the source.
        format: name of the source's format.
        map: path of the TOML map, for the format `mapped`.
        ranking: which ranked answers become pairs, for formats that rank.
        key: key for user ids.
        sketch: for which near-duplicates texts are sketched; None writes no sketches.
        is_first: whether it is the first block of its file, which tells whether the file is in the format.
        block: the lines, or records.
        join: the table of the other file, for formats that join one.
    """

    number: int
    owner: int
    folder: Path
    source: str
    format: str
    map: str | None
    ranking: str
    key: bytes
    sketch: SketchSettings | None
    is_first: bool
    block: TextBlock | list[RawRecord]
    join: Path | None = None


@dataclass(frozen=True, slots=True)
class BlockResult:
    """What a block gave; its files lie in the task's folder.

    Args:
        owner: which file of the run it is from.
        records: records in it.
        events: rows of events kept, pairs: of pairs.
        drafts: rows beyond one for each record that was accepted.
        ups: events that say up; labelled: events that say up or down.
        rejected: quarantined records by reason.
        ignored: what formats left out on purpose, by what it is.
        first_cases: the first of them, for people.
        unused: names of fields that nobody reads.
        is_in_format: whether a record was in the format, or spoke for it.
        miss: the first record that lacked a required field.
        sketches: files of sketches.
        outcome: sum of what all rows say, see `feedback.ingest.keys.outcome_sum`.
        joined: records that found what they lacked in the other file; alone: records that did not.
        first_alone: the id of the first that did not.
    """

    owner: int
    records: int
    events: int = 0
    pairs: int = 0
    drafts: int = 0
    ups: int = 0
    labelled: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)
    first_cases: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    is_in_format: bool = False
    miss: Miss | None = None
    sketches: tuple[SketchFile, ...] = ()
    outcome: int = 0
    joined: int = 0
    alone: int = 0
    first_alone: str = ""


def ingest_block(task: BlockTask) -> BlockResult:
    """Write the tables of one block, each whole or not at all.

    Raises:
        FormatMismatchError: its first records all lack a required field.
    """
    made = _Made(task, open_format(task.format, task.map, task.ranking))
    with closing(made.partners):
        if isinstance(task.block, TextBlock):
            _read_text(task.block, made)
        else:
            made.add_records(task.block)
    return made.write()


def _read_text(block: TextBlock, made: _Made) -> None:
    lines = split_lines(block.data)
    is_left = np.ones(len(lines), dtype=np.bool_)
    first = len(lines)
    votes = made.format.plain
    if votes is not None and made.format.keys is not None and len(lines):
        sample, _ = decode_lines(
            [line for place in range(min(_SAMPLE, len(lines))) if (line := lines.line(place).strip())]
        )
        schema = plain_schema(votes, [value for value in sample if value is not None])
        for places, table in read_columns(lines, schema):
            plain = find_plain(table, votes, made.format.keys)
            if len(plain.rows):
                at = places[plain.rows]
                made.add_plain(plain, votes, lines, at, block.first_line)
                first = min(first, int(at[0]))
                is_left[at] = False
    places = np.flatnonzero(is_left)
    left = [item for item in zip(places.tolist(), lines.at(places), strict=True) if item[1].strip(b" \t\r")]
    values, rejects = decode_lines([line for _, line in left])
    records = [
        RawRecord(block.file, block.first_line + place, line, value, rejects.get(number))
        for number, ((place, line), value) in enumerate(zip(left, values, strict=True))
    ]
    # Whether the file is in its format is seen from its first records in their order, the plain ones among them.
    before = sum(place < first for place, _ in left)
    made.add_records(records[:before])
    if first < len(lines):
        made.note_in_format()
    made.add_records(records[before:])


class _Made:
    """The tables of one block while it is read."""

    def __init__(self, task: BlockTask, source_format: Format) -> None:
        self.format = source_format
        self.partners = Partners(source_format.join, task.join)
        self._task = task
        self._check = FormatCheck(source_format, first_records=FIRST_RECORDS if task.is_first else None)
        self._plain: list[pa.Table] = []
        self._numbers: list[NDArray[np.int64]] = []
        self._rows: dict[str, list[Row]] = {"events": [], "pairs": []}
        self._owners: dict[str, list[int]] = {"events": [], "pairs": []}
        self._records: list[tuple[RawRecord, str]] = []
        self._left_out: list[tuple[int, str]] = []
        self._refused: list[Row] = []
        self._rejected: Counter[str] = Counter()
        self._cases: list[str] = []
        self._unjudged: list[str] = []
        self._unused: set[str] = set()
        self._broken: dict[int, tuple[str, str]] = {}
        self._count = 0
        self._outcome = 0

    def note_fields(self, names: Iterator[str]) -> None:
        """Remember fields with values that the format does not read; their names only, and not without end."""
        if self.format.keys is not None and len(self._unused) < _MOST_FIELDS:
            self._unused |= set(names) - self.format.keys

    def note_in_format(self) -> None:
        """Remember that a record speaks for the format."""
        self._check.accepted()

    def add_plain(
        self, plain: Plain, votes: PlainVotes, lines: Lines, places: NDArray[np.int64], first_line: int
    ) -> None:
        """Take plain records, and where their lines are."""
        self._count += len(places)
        self._numbers.append(first_line + places)
        self._plain.append(plain_events(plain, lines, places, votes, self._task.source, self._task.key))
        columns = zip(plain.table.column_names, plain.table.columns, strict=True)
        self.note_fields(name for name, column in columns if column.null_count < len(places))

    def add_records(self, records: Iterator[RawRecord] | Sequence[RawRecord]) -> None:
        """Take records one by one.

        Raises:
            FormatMismatchError: the first ones of the block all lack a required field.
        """
        for record in records:
            self._count += 1
            digest = hashlib.sha256(record.raw).hexdigest()
            try:
                self._accept(record, digest)
            except RecordRejectedError as error:
                # What has no partner says nothing against the format.
                if not self.partners.lacks_partner:
                    lacks_file = self.partners.lacks_file
                    self._check.rejected(record, error.reason, error.detail, lacks_file=lacks_file)
                self._refuse(record, digest, error.reason, error.detail)
            else:
                self._check.accepted()
                self.note_fields(name for name, value in (record.value or {}).items() if value is not None)

    def write(self) -> BlockResult:
        """Write what was taken."""
        tables = self._sound_tables()
        events, pairs = self._in_order(tables["events"]), tables["pairs"]
        self._write_quarantine()
        self._write("events", events)
        self._write("pairs", pairs)
        label = events.column("label")
        sketches = self._write_keys(events, pairs)
        ignored = Counter(what for owner, what in self._left_out if owner not in self._broken)
        return BlockResult(
            owner=self._task.owner,
            records=self._count,
            events=events.num_rows,
            pairs=pairs.num_rows,
            drafts=events.num_rows + pairs.num_rows + self._rejected.total() + ignored.total() - self._count,
            ups=int(pl.Series(label).sum() or 0),
            labelled=len(label) - label.null_count,
            rejected=dict(sorted(self._rejected.items())),
            ignored=dict(sorted(ignored.items())),
            first_cases=(*self._cases, *self._unjudged)[:_FIRST_CASES],
            unused=tuple(sorted(self._unused)),
            is_in_format=self._check.is_decided,
            miss=self._check.miss,
            sketches=sketches,
            outcome=self._outcome,
            joined=self.partners.found,
            alone=self.partners.alone,
            first_alone=self.partners.first_alone,
        )

    def _accept(self, record: RawRecord, digest: str) -> None:
        if record.value is None:
            raise RecordRejectedError(*(record.reject or (RejectReason.NOT_AN_OBJECT, "the record is empty")))
        known = self.partners.place(record.value, digest)
        rows: list[tuple[str, Row]] = []
        left_out: list[str] = []
        places: Counter[str | None] = Counter()
        try:
            drafts = list(self.format.parse(record.value))
        finally:
            self.partners.take_back(record.value)
        for draft in drafts:
            if isinstance(draft, IgnoredDraft):
                left_out.append(draft.what)
                continue
            # Counted by id, so that a judgement with an id of its own keeps it whatever stands before it.
            row = draft_row(draft, self._task.source, known, places[draft.record_id], self._task.key)
            places[draft.record_id] += 1
            rows.append(("events" if isinstance(draft, EventDraft) else "pairs", row))
        owner = len(self._records)
        for name, row in rows:
            self._rows[name].append(row)
            self._owners[name].append(owner)
        self._left_out += [(owner, what) for what in left_out]
        self._records.append((record, digest))

    def _refuse(self, record: RawRecord, digest: str, reason: str, detail: str) -> None:
        self._rejected[str(reason)] += 1
        cases = self._unjudged if reason == RejectReason.NO_JUDGEMENT else self._cases
        if len(cases) < _FIRST_CASES:
            cases.append(f"{record.file} line {record.line}: {reason}, {detail}")
        raw = kept_raw(record, self.format, self._task.key)
        # The digest is of what is kept: that of the whole would give away a short secret that was cut out.
        digest = digest if raw == record.raw else hashlib.sha256(raw).hexdigest()
        self._refused.append((self._task.source, record.file, record.line, str(reason), detail, raw, digest))

    def _in_order(self, drafted: pa.Table) -> pa.Table:
        """The events of plain records and of `drafted` ones, by their lines."""
        tables = [table for table in (*self._plain, drafted) if table.num_rows]
        if len(tables) < 2:
            return tables[0] if tables else drafted
        events = pa.concat_tables(tables)
        others = [self._records[owner][0].line for owner in self._owners["events"] if owner not in self._broken]
        numbers = np.concatenate([*self._numbers, np.array(others, dtype=np.int64)])
        return gathered(events, np.argsort(numbers, kind="stable"))

    def _sound_tables(self) -> dict[str, pa.Table]:
        """The tables of what came as drafts, without the rows of records that break a rule, which are quarantined."""
        tables = {name: rows_to_table(self._rows[name], schema) for name, schema, _ in _KINDS}
        broken = self._broken
        for name, _, rules in _KINDS:
            for row, reason, detail in _check_rules(tables[name], rules):
                broken.setdefault(self._owners[name][row], (reason, _MEANINGS.get(reason, detail)))
        for owner, (reason, detail) in sorted(broken.items()):
            self._refuse(*self._records[owner], reason, detail)
        if not broken:
            return tables
        return {
            name: table.filter(
                pl.Series([owner not in broken for owner in self._owners[name]], dtype=pl.Boolean).to_arrow()
            )
            for name, table in tables.items()
        }

    def _write_keys(self, events: pa.Table, pairs: pa.Table) -> tuple[SketchFile, ...]:
        made: list[Sketches] = []
        settings = self._task.sketch or _NO_NEAR
        if events.num_rows:
            keys, sketches = event_keys(events, settings)
            self._outcome += outcome_sum(keys)
            self._write("event-keys", keys)
            made.append(sketches)
        if pairs.num_rows:
            keys, more = pair_keys(pairs, settings)
            self._outcome += outcome_sum(keys)
            self._write("pair-keys", keys)
            made += more
        if self._task.sketch is None:
            return ()
        name = f"{self._task.number:05d}"
        (self._task.folder / "sketches").mkdir(parents=True, exist_ok=True)
        return tuple(
            write_sketches(sketches, self._task.folder / "sketches", f"{name}-{part}")
            for part, sketches in enumerate(made)
        )

    def _write(self, name: str, rows: pl.DataFrame | pa.Table) -> None:
        if len(rows):
            write_arrow(rows, self._file(name, "arrow"))

    def _write_quarantine(self) -> None:
        """People read it, so it is Parquet, and few records are in it."""
        if self._refused:
            table = rows_to_table(sorted(self._refused, key=lambda row: row[2]), QUARANTINE)
            with written_whole(self._file("quarantine", "parquet")) as partial:
                pq.write_table(table, partial, compression="zstd", write_statistics=False, write_page_checksum=True)

    def _file(self, name: str, suffix: str) -> Path:
        return self._task.folder / f"{name}-{self._task.number:05d}.{suffix}"


def _check_rules(table: pa.Table, rules: Rules) -> Sequence[tuple[int, str, str]]:
    return violations(pl.DataFrame(pl.from_arrow(table)), rules) if table.num_rows else ()
