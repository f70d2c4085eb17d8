"""The records of a block that are read one by one: what their format makes of them, as tables that keep every rule.

    records ─► pieces ─► drafts ─► columns ─► tables ─► rules ─► rows
                  └─────────┴───────────────────┴─────────┴────► refused

A record is accepted whole or refused whole, also where it gave several drafts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.formats import Format
from feedback.formats.drafts import Draft, EventDraft, IgnoredDraft
from feedback.ingest.block_records import BlockRecords, Piece
from feedback.ingest.draft_columns import EVENTS, KINDS, PAIRS, DraftColumns
from feedback.ingest.draft_tables import Broken, DraftTable, draft_table
from feedback.ingest.format_check import FormatCheck
from feedback.ingest.known_by import KnownDigests
from feedback.ingest.partners import Partners
from feedback.ingest.refused import Refused
from schemas.errors import RecordRejectedError
from schemas.reasons import RejectReason
from schemas.rules import Rules, violations

__all__ = ["Drafted"]

_AT_ONCE: Final = 1024
"""Drafts that become columns together: fewer cost as much for each column, more leave the processor's cache."""
_MEANINGS: Final = {one.value: one.meaning for one in RejectReason if one != RejectReason.RULE_VIOLATION}


class Drafted:
    """Reads records and collects what became of them.

    Args:
        records: the records of the block.
        source_format: their format.
        partners: what their other file has for them.
        check: watches whether the file is in its format.
        refused: takes those that are refused.
    """

    def __init__(
        self, records: BlockRecords, source_format: Format, partners: Partners, check: FormatCheck, refused: Refused
    ) -> None:
        self._records = records
        self._format = source_format
        self._partners = partners
        self._check = check
        self._refused = refused
        self._digests = records.digests()
        self._columns = {kind.name: DraftColumns(kind) for kind in KINDS}
        self._left_out: list[tuple[int, str]] = []
        self._unread: dict[tuple[str, ...], list[int]] = {}
        self._known = None if source_format.join is None else KnownDigests(self._digests)
        self._gone: set[int] = set()
        self._unreadable: frozenset[int] = frozenset()

    def read(self, start: int, stop: int) -> None:
        """Read the records from `start` on and before `stop`.

        Raises:
            FormatMismatchError: the first ones of the block all lack a required field.
        """
        for piece in self._records.pieces(start, stop):
            self._read_piece(piece)
            for columns in self._columns.values():
                columns.settle(_AT_ONCE)
            if self._known is not None:
                self._known.settle()

    def tables(self, source: str, key: bytes) -> dict[str, DraftTable]:
        """The tables of events and of pairs, in the order of the records; those that break a rule are refused.

        Args:
            source: name of the source.
            key: key for user ids.
        """
        digests, known = self._digests, None if self._known is None else self._known.digests()
        tables = {name: draft_table(columns, source, digests, key, known) for name, columns in self._columns.items()}
        first: dict[int, Broken] = {}
        for one in sorted(one for table in tables.values() for one in table.broken):
            first.setdefault(one.owner, one)
        for owner, one in first.items():
            self._refuse(owner, one.reason, one.detail)
        self._unreadable = frozenset(first)
        tables = {name: table.without(first) for name, table in tables.items()} if first else tables
        broken: dict[int, tuple[str, str]] = {}
        for kind in KINDS:
            table = tables[kind.name]
            for row, reason, detail in _check_rules(table.table, kind.rules):
                broken.setdefault(int(table.owners[row]), (reason, _MEANINGS.get(reason, detail)))
        for owner, (reason, detail) in sorted(broken.items()):
            self._refuse(owner, reason, detail, is_late=True)
        return {name: table.without(broken) for name, table in tables.items()} if broken else tables

    def ignored(self) -> Counter[str]:
        """What the records hold that was left out on purpose, by what it is; without those that were refused."""
        return Counter(what for owner, what in self._left_out if owner not in self._gone)

    def unread(self) -> list[tuple[str, ...]]:
        """The fields with values that the format does not read, as records have them together, by the first record."""
        read = [
            (next((one for one in owners if one not in self._unreadable), None), names)
            for names, owners in self._unread.items()
        ]
        return [names for owner, names in sorted(one for one in read if one[0] is not None)]

    def line_numbers(self, table: DraftTable) -> NDArray[np.int64]:
        """The line of each row's record, from 1."""
        return self._records.line_numbers(table.owners)

    def _read_piece(self, piece: Piece) -> None:
        events, pairs = (self._columns[kind.name] for kind in (EVENTS, PAIRS))
        parse, known = self._format.parse, self._known
        accepted: list[int] = []
        self._partners.expect(piece.values)
        for number, value in enumerate(piece.values, start=piece.first):
            try:
                if value is None:
                    reject = piece.rejects.get(number - piece.first)
                    raise RecordRejectedError(*(reject or (RejectReason.NOT_AN_OBJECT, "the record is empty")))
                drafts = list(parse(value)) if known is None else self._read_joined(number, value, known)
            except RecordRejectedError as error:
                self._reject(number, value, error)
                continue
            accepted.append(number)
            if len(drafts) != 1:
                self._add_all(drafts, number)
            elif isinstance(drafts[0], EventDraft):
                events.add(drafts[0], number)
            elif isinstance(drafts[0], IgnoredDraft):
                self._left_out.append((number, drafts[0].what))
            else:
                pairs.add(drafts[0], number)
            self._check.accepted()
        self._note_unread(piece, accepted)

    def _read_joined(self, number: int, value: dict[str, Any], known: KnownDigests) -> list[Draft]:
        """The drafts of a record with what its other file has for it."""
        found = self._partners.place(value)
        try:
            drafts = list(self._format.parse(value))
        finally:
            self._partners.take_back(value)
        if found and any(not isinstance(draft, IgnoredDraft) and not draft.record_id for draft in drafts):
            known.add(number, found)
        return drafts

    def _add_all(self, drafts: Sequence[Draft], owner: int) -> None:
        repeats: Counter[str | None] = Counter()
        for order, draft in enumerate(drafts):
            if isinstance(draft, IgnoredDraft):
                self._left_out.append((owner, draft.what))
                continue
            columns = self._columns[(EVENTS if isinstance(draft, EventDraft) else PAIRS).name]
            # Counted by id, so that a judgement with an id of its own keeps it whatever stands before it.
            columns.add(draft, owner, order=order, repeat=repeats[draft.record_id])
            repeats[draft.record_id] += 1

    def _reject(self, number: int, value: dict[str, Any] | None, error: RecordRejectedError) -> None:
        record = self._records.record(number, value)
        # What has no partner says nothing against the format.
        if not self._partners.lacks_partner:
            self._check.rejected(record, error.reason, error.detail, lacks_file=self._partners.lacks_file)
        self._refused.add(record, self._digests[number], error.reason, error.detail)

    def _refuse(self, owner: int, reason: str, detail: str, *, is_late: bool = False) -> None:
        """Refuse a record that was accepted before its drafts were columns."""
        self._gone.add(owner)
        self._refused.add(self._records.again(owner), self._digests[owner], reason, detail, is_late=is_late)

    def _note_unread(self, piece: Piece, accepted: Sequence[int]) -> None:
        if self._format.keys is None:
            return
        values = [value for number in accepted if (value := piece.values[number - piece.first])]
        names = sorted(set().union(*values) - self._format.keys)
        if not names:
            return
        for number in accepted:
            value = piece.values[number - piece.first] or {}
            found = tuple(name for name in names if value.get(name) is not None)
            if found:
                self._unread.setdefault(found, []).append(number)


def _check_rules(table: pa.Table, rules: Rules) -> Sequence[tuple[int, str, str]]:
    return violations(pl.DataFrame(pl.from_arrow(table.select(list(rules.types)))), rules) if table.num_rows else ()
