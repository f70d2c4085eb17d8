"""One block of a raw file becomes tables on disk: the kernel of `ingest`, which any engine can run anywhere.

    block ─┬─ plain records ──────────────► columns ─┐
           └─ others ─► values ─► drafts ─► columns ─┴─► rules ─► events-*, pairs-*, keys, sketches
                  └──────────┴───────────────┴─────────────┴────► quarantine-*

A record is accepted whole or quarantined whole, also where it gave several drafts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feedback.engine import written_whole
from feedback.formats import Format
from feedback.ingest.arrow_columns import gathered
from feedback.ingest.block_records import BlockRecords, LineRecords, ListRecords, spoken_lines
from feedback.ingest.block_task import BlockResult, BlockTask
from feedback.ingest.draft_columns import KINDS, DraftKind
from feedback.ingest.draft_tables import DraftTable
from feedback.ingest.drafted import Drafted
from feedback.ingest.format_check import FIRST_RECORDS, FormatCheck
from feedback.ingest.own_records import BlockIds, OwnRecords, own_lines, own_list
from feedback.ingest.partners import Partners
from feedback.ingest.plain.records import LeftOut, PlainRows, PlainSource, Tables, read_plain
from feedback.ingest.plain.shapes import choose_shapes, joined_schema, plain_schema
from feedback.ingest.refused import Refused
from feedback.ingest.source_format import open_format
from feedback.ingest.table_files import write_tables
from feedback.records.json_columns import Lines, read_columns, split_lines
from feedback.records.json_lines import decode_lines
from feedback.records.text_blocks import TextBlock

__all__ = ["ingest_block"]

_MOST_FIELDS: Final = 1000
_SAMPLE: Final = 20


def ingest_block(task: BlockTask) -> BlockResult:
    """Write the tables of one block, each whole or not at all.

    Raises:
        FormatMismatchError: its first records all lack a required field.
    """
    source_format = open_format(task.format, task.map, task.ranking)
    with closing(Partners(source_format.join, task.join)) as partners:
        made = _Made(task, source_format, partners)
        drafted = made.read_block()
        return BlockResult(task.owner, 0, ids=made.ids) if drafted is None else made.write(drafted)


class _Made:
    """The tables of one block while it is read."""

    def __init__(self, task: BlockTask, source_format: Format, partners: Partners) -> None:
        self._task = task
        self._format = source_format
        self._partners = partners
        self._check = FormatCheck(source_format, first_records=FIRST_RECORDS if task.is_first else None)
        self._refused = Refused(task.source, source_format, task.key)
        self._plain: list[PlainRows] = []
        self._left_out: Counter[str] = Counter()
        self._first_line = 0
        self._unused: set[str] = set()
        self._count = 0
        self._own_join = source_format.join if task.is_joined_itself and task.join is None else None
        self._fits = True
        self.ids: BlockIds | None = None

    def read_block(self) -> Drafted | None:
        """Take all records; None where they are too many to be read with all that they find in their own block."""
        block = self._task.block
        if not isinstance(block, TextBlock):
            if self._own_join is not None:
                self._look_in(own_list(block, self._own_join))
            return self._read(ListRecords(block)) if self._fits else None
        lines = split_lines(block.data)
        source = self._plain_source(lines) if self._format.plain and len(lines) else None
        tables: Tables = () if source is None else read_columns(lines, source.schema, source.seen)
        if self._own_join is not None:
            tables = list(tables)
            self._look_in(own_lines(lines, tables, self._own_join))
        return self._read_text(block, lines, source, tables) if self._fits else None

    def _look_in(self, own: OwnRecords) -> None:
        """Let records find each other in their block."""
        self.ids = own.ids
        self._fits = not own.ids.is_dense
        self._partners.look_in(own.records)

    def _read_text(self, block: TextBlock, lines: Lines, source: PlainSource | None, tables: Tables) -> Drafted:
        """Take the lines of a text: the plain records among them as columns, all others one by one."""
        is_left = np.ones(len(lines), dtype=np.bool_)
        first = len(lines) if source is None else self._read_plain(lines, source, tables, is_left)
        places = spoken_lines(lines, is_left)
        self._first_line = block.first_line
        # Whether the file is in its format is seen from its first records in their order, the plain ones among them.
        return self._read(LineRecords(block.file, block.first_line, lines, places), int(np.searchsorted(places, first)))

    def _read(self, records: BlockRecords, before: int | None = None) -> Drafted:
        """Take records one by one.

        Args:
            records: the records.
            before: how many of them stand before the first plain one; None where there is none.

        Raises:
            FormatMismatchError: the first ones of the block all lack a required field.
        """
        self._count += len(records)
        drafted = Drafted(records, self._format, self._partners, self._check, self._refused)
        drafted.read(0, len(records) if before is None else before)
        if before is not None:
            if self._plain or self._left_out:
                self._check.accepted()
            drafted.read(before, len(records))
        return drafted

    def _read_plain(self, lines: Lines, source: PlainSource, tables: Tables, is_left: NDArray[np.bool_]) -> int:
        """Take the plain records, which are then not left; the place of the first one's line."""
        first = len(lines)
        for rows in read_plain(lines, source, tables):
            self._count += len(rows.records)
            if source.partners is not None:
                self._partners.found += len(rows.records)
            if isinstance(rows, LeftOut):
                self._left_out += rows.counts
            else:
                self._plain.append(rows)
            self._note_fields(rows.names)
            if len(rows.records):
                first = min(first, int(rows.records[0]))
            is_left[rows.records] = False
        return first

    def _plain_source(self, lines: Lines) -> PlainSource | None:
        """What is known of the block, from its first records; None where none of them could be plain."""
        sample, _ = decode_lines(
            [line for place in range(min(_SAMPLE, len(lines))) if (line := lines.line(place).strip())]
        )
        records = [value for value in sample if value is not None]
        shapes = choose_shapes(self._format, records)
        if not shapes:
            return None
        shape = shapes[0]
        is_joined = shape.joined is not None or (shape.threads is not None and self._task.is_joined_itself)
        if shape.joined is not None:
            records = self._partners.sample(records)
        return PlainSource(
            shapes=shapes,
            schema=plain_schema(shapes, records),
            joined=joined_schema(shape, records) if shape.joined is not None else None,
            read=self._format.keys or frozenset(),
            name=self._task.source,
            key=self._task.key,
            partners=self._partners if is_joined else None,
        )

    def _note_fields(self, names: Iterable[str]) -> None:
        """Remember fields with values that the format does not read; their names only, and not without end."""
        if self._format.keys is not None and len(self._unused) < _MOST_FIELDS:
            self._unused |= set(names) - self._format.keys

    def write(self, drafted: Drafted) -> BlockResult:
        """Write what was taken."""
        tables = drafted.tables(self._task.source, self._task.key)
        for names in drafted.unread():
            self._note_fields(names)
        events, pairs = (self._in_order(drafted, tables[kind.name], kind) for kind in KINDS)
        self._write_quarantine()
        task = self._task
        written = write_tables(task.folder, task.number, events, pairs, task.sketch, with_keys=task.with_keys)
        rejected, ignored = self._refused.counts, drafted.ignored() + self._left_out
        return BlockResult(
            owner=self._task.owner,
            records=self._count,
            events=events.num_rows,
            pairs=pairs.num_rows,
            drafts=events.num_rows + pairs.num_rows + rejected.total() + ignored.total() - self._count,
            ups=written.ups,
            labelled=written.labelled,
            rejected=dict(sorted(rejected.items())),
            ignored=dict(sorted(ignored.items())),
            first_cases=self._refused.first_cases(),
            unused=tuple(sorted(self._unused)),
            is_in_format=self._check.is_decided,
            miss=self._check.miss,
            sketches=written.sketches,
            outcome=written.outcome,
            joined=self._partners.found,
            alone=self._partners.alone,
            first_alone=self._partners.first_alone,
            ids=self.ids,
        )

    def _in_order(self, drafted: Drafted, others: DraftTable, kind: DraftKind) -> pa.Table:
        """The rows of plain records and of `others`, by their lines."""
        plain = [rows for rows in self._plain if rows.kind is kind]
        tables = [table for table in (*(rows.table for rows in plain), others.table) if table.num_rows]
        if len(tables) < 2:
            return tables[0] if tables else others.table
        numbers = np.concatenate([*(self._first_line + rows.places for rows in plain), drafted.line_numbers(others)])
        return gathered(pa.concat_tables(tables), np.argsort(numbers, kind="stable"))

    def _write_quarantine(self) -> None:
        """People read it, so it is Parquet, and few records are in it."""
        if self._refused.counts:
            path = self._task.folder / f"quarantine-{self._task.number:05d}.parquet"
            with written_whole(path) as partial:
                pq.write_table(
                    self._refused.table(), partial, compression="zstd", write_statistics=False, write_page_checksum=True
                )
