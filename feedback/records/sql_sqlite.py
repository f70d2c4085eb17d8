"""Rows of an SQLite database, through Python's own `sqlite3`, with the file opened to be read only.

SQLite has types of values, not of columns: a column may hold text in one row and a number in the next. Drivers that
give Arrow batches fix a column's type by its first rows and end in an error at the next kind of value; here a value
is what it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final
from urllib.parse import quote

from feedback.records.database_url import DatabaseUrl
from feedback.records.json_rows import RejectedRow
from schemas.errors import InputError
from schemas.reasons import RejectReason

__all__ = ["read_sqlite"]

_BATCH_ROWS: Final = 1000


def read_sqlite(database: DatabaseUrl, sql: str) -> Iterator[dict[str, Any] | RejectedRow]:
    """Column and value of each row; a row with bytes, or with text that is not UTF-8, is rejected.

    Raises:
        InputError: the file is no database, the query fails, or it gives no rows or two columns of one name.
    """
    try:
        with closing(sqlite3.connect(f"file:{quote(database.database)}?mode=ro", uri=True)) as connection:
            # Bytes that are not UTF-8 pass as half surrogates, so that one bad row does not end the query.
            connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
            connection.execute("PRAGMA schema_version")  # reads the file, which opening it does not
            cursor = connection.execute(sql)
            names = _names(cursor, database)
            while rows := cursor.fetchmany(_BATCH_ROWS):
                for row in rows:
                    yield _row(names, row)
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise InputError(
            f"the query failed ({error})", where=database.name, todo="Try it in the shell sqlite3"
        ) from error


def _names(cursor: sqlite3.Cursor, database: DatabaseUrl) -> list[str]:
    names = [column[0] for column in cursor.description or ()]
    if not names:
        raise InputError("the statement gives no rows", where=database.name, expected="a SELECT")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            "columns have the same name", where=database.name, received=twice, todo="Give each its own with AS"
        )
    return names


def _row(names: list[str], row: tuple[Any, ...]) -> dict[str, Any] | RejectedRow:
    for name, value in zip(names, row, strict=True):
        if isinstance(value, bytes):
            detail = f"the column {name!r} holds bytes, which JSON cannot hold; leave it out or CAST it AS TEXT"
            return RejectedRow(RejectReason.WRONG_TYPE, detail)
        if isinstance(value, str) and not _is_sound(value):
            return RejectedRow(RejectReason.INVALID_UTF8, f"the text in the column {name!r} is not UTF-8")
    return dict(zip(names, row, strict=True))


def _is_sound(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
