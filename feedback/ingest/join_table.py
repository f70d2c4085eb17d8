"""The records of another file by their ids, on disk, and what a record finds there.

    other files ─► kernel: id ─► record, in a table of SQLite ─► read by every kernel of `feedback.ingest.block`

Memory holds two blocks of the other file while the table is made, and one record's partners while it is read; so the
other file may have any size, order and compression. The table is a file that kernels open by its path, for reading only
and without locks, so it can lie on a file system that nodes share.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
import numpy as np

from feedback.engine import written_whole
from feedback.formats.drafts import Join
from feedback.formats.mapping.paths import Steps, find_value, parse_path
from feedback.formats.parts.fields import reject
from feedback.ingest.block_records import LineRecords, spoken_lines
from feedback.records.json_columns import split_lines
from feedback.records.places import Place, place_name
from feedback.records.raw_record import MAX_RECORD_BYTES, RawRecord
from feedback.records.sources import new_tally, read_blocks
from feedback.records.text_blocks import TextBlock
from schemas.errors import RecordRejectedError
from schemas.manifest import SourceFile
from schemas.reasons import RejectReason

__all__ = ["JoinTable", "JoinTask", "Partners", "make_join_table"]

Block = TextBlock | list[RawRecord]
Row = tuple[str, bytes]
"""A record's id, and the record as JSON."""

_MOST_PARTNERS: Final = 100_000
"""Records with one id; a key that is the same for all would make a list of the whole other file for each record."""
_WHOLE: Final = 2.0**53
_CACHE_KIB: Final = 65_536
_MAKE: Final = f"""
    PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA page_size = 16384; PRAGMA cache_size = -{_CACHE_KIB};
    CREATE TABLE other (id TEXT NOT NULL, record BLOB NOT NULL);
"""
# Nobody else sees the file before it is whole, so it needs neither a journal nor a lock.
_DECODE: Final = msgspec.json.Decoder().decode
_FIND: Final = "SELECT record FROM other WHERE id = ? ORDER BY rowid"


@dataclass(frozen=True, slots=True)
class JoinTask:
    """Files that become one table.

    Args:
        files: the other files.
        format: name of the format that joins them.
        id_path: dotted path of the id in their records.
        table: where the table goes.
    """

    files: tuple[Place, ...]
    format: str
    id_path: str
    table: Path


@dataclass(frozen=True, slots=True)
class JoinTable:
    """A table of records by their ids.

    Args:
        table: where it lies.
        records: records in the files.
        with_id: records that have an id, and so can be found.
        ids: different ids.
        bytes: size of the records with an id, as JSON.
        unread: records that cannot be read, by `RejectReason`.
        example: the first id; empty where there is none.
        files: the files that were read.
    """

    table: Path
    records: int
    with_id: int
    ids: int
    bytes: int
    unread: dict[str, int]
    example: str
    files: tuple[SourceFile, ...]


def make_join_table(task: JoinTask) -> JoinTable:
    """Write the table of all records of the task's files that have an id, in their order.

    Raises:
        InputError: a file cannot be read.
        CorruptionError: a file is damaged.
    """
    made = _Made(parse_path(task.id_path, f"format {task.format!r}"))
    files: list[SourceFile] = []
    with written_whole(task.table) as partial, closing(sqlite3.connect(_uri(partial, "nolock=1"), uri=True)) as table:
        table.isolation_level = None
        table.executescript(_MAKE)
        table.execute("BEGIN")
        for path in task.files:
            before, tally = made.records, new_tally(path)
            for block in _ahead(read_blocks(path, tally=tally)):
                for rows in made.rows(block):
                    table.executemany("INSERT INTO other VALUES (?, ?)", rows)
            files.append(
                SourceFile(place_name(path), f"{task.format}, joined", tally.sha256, tally.bytes, made.records - before)
            )
        table.execute("CREATE INDEX by_id ON other (id)")
        table.execute("COMMIT")
        (ids,) = table.execute("SELECT COUNT(DISTINCT id) FROM other").fetchone()
    unread = dict(sorted(made.unread.items()))
    return JoinTable(task.table, made.records, made.with_id, ids, made.bytes, unread, made.example, tuple(files))


def _ahead(blocks: Iterator[Block]) -> Iterator[Block]:
    """The blocks, the next of which is read and hashed while one is decoded."""
    with ThreadPoolExecutor(1, thread_name_prefix="thumbline-join") as reader:
        coming = reader.submit(next, blocks, None)
        try:
            while (block := coming.result()) is not None:
                coming = reader.submit(next, blocks, None)
                yield block
        finally:
            if isinstance(blocks, Generator):
                # Where it began, since a connection may belong to its thread.
                reader.submit(blocks.close)


class Partners:
    """Gives every record of a block what the other file has for it.

    Args:
        join: what the format's records need; None where they need nothing.
        table: the table of the other file; None where none was named.
    """

    def __init__(self, join: Join | None, table: Path | None) -> None:
        self._join = join
        self._is_judged = None if join is None else join.is_judged
        self._lookup = None if join is None or table is None else _Lookup(join, table)
        self.found = 0
        self.alone = 0
        self.first_alone = ""
        self._is_lacking = False
        self._is_placed = False

    def close(self) -> None:
        """Let go of the table."""
        if self._lookup is not None:
            self._lookup.close()

    @property
    def lacks_file(self) -> bool:
        """Whether the last record needs the other file, and none was named."""
        return self._lookup is None and self._is_lacking

    @property
    def lacks_partner(self) -> bool:
        """Whether the other file has nothing for the last record."""
        return self._lookup is not None and self._is_lacking

    def take_back(self, record: dict[str, Any]) -> None:
        """Take out of `record` what was put into it: a block of small records would hold a large one for each."""
        if self._is_placed and self._join is not None:
            del record[self._join.into]
            self._is_placed = False

    def place(self, record: dict[str, Any], digest: str) -> str:
        """Put the other file's record, or records, into `record`; where there is none, it stays as it is.

        Args:
            record: a record of the format.
            digest: sha256 of its bytes.

        Returns:
            What the record is known by: `digest`, and what was put into it where something was. A record without a
            judgement is known by `digest` alone, as no row comes of it.

        Raises:
            RecordRejectedError: several different records have the id and one is wanted, or there are too many.
        """
        self._is_lacking = self._join is not None and record.get(self._join.into) is None
        if self._join is None or self._lookup is None or not self._is_lacking:
            return digest
        name = self._lookup.id_of(record)
        found = [] if name is None else self._lookup.records(name)
        if not found:
            self.alone += 1
            self.first_alone = self.first_alone or name or ""
            return digest
        self.found += 1
        self._is_lacking = False
        if self._is_judged is not None and not self._is_judged(record):
            return digest
        self._is_placed = True
        values = self._lookup.decoded()
        record[self._join.into] = values if self._join.is_many else values[0]
        known = hashlib.sha256(bytes.fromhex(digest))
        for one in found:
            known.update(b"%d:" % len(one))
            known.update(one)
        return known.hexdigest()


class _Lookup:
    """A table that is open for reading."""

    def __init__(self, join: Join, table: Path) -> None:
        self._join = join
        self._key = parse_path(join.key, "the format's join")
        self._only = _only_key(self._key)
        self._table = sqlite3.connect(_uri(table, "mode=ro&immutable=1"), uri=True)
        self._last: tuple[str, list[bytes]] = ("", [])
        self._values: list[Any] | None = None

    def close(self) -> None:
        """Close the file."""
        self._table.close()

    def id_of(self, record: dict[str, Any]) -> str | None:
        """The id that a record of the format looks for."""
        return _id_text(record.get(self._only) if self._only is not None else find_value(record, self._key))

    def records(self, name: str) -> list[bytes]:
        """The records of the other file with an id, each once read for those who ask one after another."""
        # Records with one id often follow each other: the messages of a conversation, the scores of a trace.
        if self._last[0] != name:
            self._last, self._values = (name, self._read(name)), None
        return self._last[1]

    def decoded(self) -> list[Any]:
        """The values of the records that were found last; nobody may change them."""
        if self._values is None:
            self._values = [_DECODE(one) for one in self._last[1]]
        return self._values

    def _read(self, name: str) -> list[bytes]:
        found: list[bytes] = []
        size = 0
        for (one,) in self._table.execute(_FIND, (name,)):
            size += len(one)
            if self._join.is_many:
                found.append(one)
            elif not found:
                found = [one]
            elif one != found[0]:
                detail = f"several different {self._join.what} have the id in {self._join.key!r}, and one is wanted"
                reject(RejectReason.RULE_VIOLATION, detail)
            if len(found) > _MOST_PARTNERS or (self._join.is_many and size > MAX_RECORD_BYTES):
                reject(
                    RejectReason.TOO_LARGE, f"more {self._join.what} have the id in {self._join.key!r} than are read"
                )
        return found


class _Made:
    """Counts of a table while it is made."""

    def __init__(self, id_path: Steps) -> None:
        self._id_path = id_path
        self._key = _only_key(id_path)
        self.records = 0
        self.with_id = 0
        self.bytes = 0
        self.unread: Counter[str] = Counter()
        self.example = ""

    def rows(self, block: Block) -> Iterator[list[Row]]:
        """The rows of one block, some at a time."""
        for values, texts in _values(block, self.unread):
            self.records += len(values)
            rows = [
                (name, text or _as_json(value))
                for value, text in zip(values, texts, strict=True)
                if value is not None and (name := self._id_of(value)) is not None
            ]
            if rows:
                self.with_id += len(rows)
                self.example = self.example or rows[0][0]
                self.bytes += sum(len(text) for _, text in rows)
                yield rows

    def _id_of(self, record: dict[str, Any]) -> str | None:
        if self._key is not None:
            return _id_text(record.get(self._key))
        return _id_at(record, self._id_path)


def _values(
    block: Block, unread: Counter[str]
) -> Iterator[tuple[Sequence[dict[str, Any] | None], Sequence[bytes | None]]]:
    """The records of a block and, where they came as one, their JSON texts, some at a time.

    Those that cannot be read are counted.
    """
    if isinstance(block, TextBlock):
        lines = split_lines(block.data)
        places = spoken_lines(lines, np.ones(len(lines), dtype=np.bool_))
        for piece in LineRecords(block.file, block.first_line, lines, places).pieces(0, len(places)):
            unread.update(str(reason) for reason, _ in piece.rejects.values())
            texts = lines.at(places[piece.first : piece.first + len(piece.values)])
            yield piece.values, [text.strip(b" \t\r") for text in texts]
        return
    for record in block:
        if record.value is None:
            unread[str((record.reject or (RejectReason.NOT_AN_OBJECT, ""))[0])] += 1
    yield [record.value for record in block], [None] * len(block)


def _only_key(path: Steps) -> str | None:
    """The key that a path is, where it is one."""
    return path[0] if len(path) == 1 and isinstance(path[0], str) else None


def _id_at(record: dict[str, Any], id_path: Steps) -> str | None:
    try:
        return _id_text(find_value(record, id_path))
    except RecordRejectedError:
        return None


def _id_text(value: Any) -> str | None:
    """An id as text, or None where the value is none.

    A whole number is its digits, so that the text of a CSV file finds it; so is a float that is whole, which is how
    tables with gaps hold whole numbers.
    """
    if type(value) is str:
        return value if value.strip() else None
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) <= _WHOLE else None
    if isinstance(value, int):
        return str(value)
    return value if isinstance(value, str) and value.strip() else None


def _as_json(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, default=_plain).encode("utf-8")


def _plain(value: object) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _uri(path: Path, options: str) -> str:
    return f"file:{quote(str(path.resolve()))}?{options}"
