"""Rows of a DuckDB database as a stream of Arrow batches (extra `sql`), with the file opened to be read only.

Extensions that are not there are not fetched: the network is for those who name it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

from feedback.records.arrow_rows import arrow_rows
from feedback.records.column_types import refuse_columns
from feedback.records.database_url import MEMORY, DatabaseUrl
from feedback.records.json_rows import RejectedRow
from schemas.errors import InputError, MissingExtraError

__all__ = ["read_duckdb"]

_BATCH_ROWS: Final = 2048
_SETTINGS: Final[dict[str, str | bool | int | float | list[str]]] = {"autoinstall_known_extensions": False}


def read_duckdb(database: DatabaseUrl, sql: str) -> Iterator[dict[str, Any] | RejectedRow]:
    """Column and value of each row.

    Raises:
        InputError: the file is no database, the query fails or is none, or a column has no form in JSON.
        MissingExtraError: the driver is not installed.
    """
    try:
        import duckdb
    except ImportError as error:
        raise MissingExtraError("duckdb", "sql") from error
    is_file = database.database != MEMORY
    try:
        with closing(duckdb.connect(database.database, read_only=is_file, config=_SETTINGS)) as connection:
            statements = connection.extract_statements(sql)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise InputError("the statement is not one query", where=database.name, expected="one SELECT")
            rows = connection.sql(statements[0])
            columns = zip(rows.columns, rows.types, strict=True)
            json_columns = frozenset(name for name, kind in columns if str(kind) == "JSON")
            reader: Any = rows.to_arrow_reader(_BATCH_ROWS)
            refuse_columns(reader.schema, database.name)
            yield from arrow_rows(reader, database.name, json_columns=json_columns)
    except duckdb.Error as error:
        what = " ".join(str(error).split("\n\n")[0].split())
        raise InputError(
            f"the query failed ({what})", where=database.name, todo="Try it in the shell duckdb"
        ) from error
