"""The rows of a query as records: the place that they come from, and what is known of it.

A query is read like a file of JSON lines with a row on each. What a file has of itself, a query has of its rows: its
size and digest are those of the rows as JSON, whatever order they came in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from feedback.records.database_url import DatabaseUrl, parse_database_url
from feedback.records.json_rows import RejectedRow, read_rows
from feedback.records.raw_record import RawRecord
from feedback.records.sql_duckdb import read_duckdb
from feedback.records.sql_postgresql import read_postgresql
from feedback.records.sql_sqlite import read_sqlite
from feedback.records.text_blocks import TextBlock
from schemas.errors import InputNotFoundError, UsageError
from schemas.progress import Advance

__all__ = ["Query", "RowTally", "open_query", "read_query"]

_READERS: Final[dict[str, Callable[[DatabaseUrl, str], Iterator[dict[str, Any] | RejectedRow]]]] = {
    "duckdb": read_duckdb,
    "postgresql": read_postgresql,
    "sqlite": read_sqlite,
}


@dataclass(frozen=True, slots=True)
class Query:
    """A query of a database, of which every row is a record."""

    database: DatabaseUrl
    sql: str

    @property
    def name(self) -> str:
        """What errors and manifests call it."""
        return self.database.name

    @property
    def state(self) -> tuple[str, ...] | None:
        """What changes when the database does: its files' sizes and times; None where that cannot be seen."""
        path = self.database.path
        if path is None:
            return None
        files = [path, *(path.with_name(path.name + ending) for ending in ("-wal", ".wal"))]
        seen = [(str(one.resolve()), one.stat()) for one in files if one.exists()]
        return tuple(part for name, stat in seen for part in (name, str(stat.st_size), str(stat.st_mtime_ns)))


class RowTally:
    """What was read of a query: rows and bytes of JSON, and a digest that does not depend on their order."""

    def __init__(self, advance: Advance | None = None) -> None:
        self.bytes = 0
        self._sum = 0
        self._advance = advance

    def add(self, line: bytes) -> None:
        """Count and hash one row."""
        self.bytes += len(line)
        self._sum += int.from_bytes(hashlib.sha256(line).digest(), "big")
        if self._advance is not None:
            self._advance(len(line))

    @property
    def sha256(self) -> str:
        """The sum of the rows' sha256, 64 hex digits."""
        return f"{self._sum % (1 << 256):064x}"


def open_query(url: str, sql: str) -> Query:
    """The query `sql` of the database at `url`; nothing is sent yet.

    Raises:
        UsageError: the URL is not right, or the query is blank.
        InputNotFoundError: there is no such file.
    """
    database = parse_database_url(url)
    if not sql.strip().rstrip(";"):
        raise UsageError("the query is empty", where=database.name, todo="Say with --sql what to read")
    path = database.path
    if path is not None and not path.is_file():
        raise InputNotFoundError("no such database file", where=path)
    return Query(database, sql.strip().rstrip(";").rstrip())


def read_query(query: Query, max_bytes: int, tally: RowTally) -> Iterator[TextBlock | list[RawRecord]]:
    """The rows of `query` in text blocks, numbered from 1; those that cannot be read as records.

    Args:
        query: the query.
        max_bytes: longest row that is read, in bytes of JSON.
        tally: told every row.

    Raises:
        InputError: the database refuses the query or cannot be reached, or a column has no form in JSON.
        MissingExtraError: the driver is not installed.
    """
    rows = _READERS[query.database.kind](query.database, query.sql)
    for block in read_rows(rows, query.name, max_bytes):
        if isinstance(block, TextBlock):
            for line in block.lines():
                tally.add(line)
        else:
            for record in block:
                tally.add(record.raw)
        yield block
