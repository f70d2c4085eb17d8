"""Rows of a PostgreSQL database as a stream of Arrow batches, through ADBC (extra `sql`).

The driver wraps the query in COPY, so nothing but a query can run, and the transaction is read-only besides.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import pyarrow as pa

from feedback.records.arrow_rows import arrow_rows
from feedback.records.column_types import refuse_columns
from feedback.records.database_url import DatabaseUrl
from feedback.records.json_rows import RejectedRow
from schemas.errors import InputError, MissingExtraError
from schemas.redaction import without_passwords

__all__ = ["read_postgresql"]

_BATCH_BYTES: Final = str(4 << 20)
_MEANS_OTHER: Final = {"money": "an amount without its decimal point"}
"""Types that the driver gives as something else than they are."""


def read_postgresql(database: DatabaseUrl, sql: str) -> Iterator[dict[str, Any] | RejectedRow]:
    """Column and value of each row.

    Raises:
        InputError: the server cannot be reached or refuses the query, or a column has no form in JSON.
        MissingExtraError: the driver is not installed.
    """
    try:
        from adbc_driver_postgresql import dbapi
    except ImportError as error:
        raise MissingExtraError("adbc_driver_postgresql", "sql") from error
    try:
        with (
            closing(dbapi.connect(database.text, autocommit=True)) as connection,
            closing(connection.cursor()) as cursor,
        ):
            cursor.execute("SET default_transaction_read_only = on")
            cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": _BATCH_BYTES})
            # A comment at the end must not swallow what the driver puts behind the query.
            cursor.execute(f"{sql}\n")
            reader = cursor.fetch_record_batch()
            refuse_columns(reader.schema, database.name, {field.name: _why(field) for field in reader.schema})
            yield from arrow_rows(reader, database.name)
    except (dbapi.Error, pa.ArrowException, OSError) as error:
        # Not as its cause: what the driver says could hold parts of the URL.
        raise InputError(
            f"the query failed ({_first_lines(error)})",
            where=database.name,
            todo="Try the same URL and query in psql",
        ) from None


def _why(field: pa.Field) -> str | None:
    name = (field.metadata or {}).get(b"POSTGRESQL:type", b"").decode()
    return _MEANS_OTHER.get(name)


def _first_lines(error: BaseException) -> str:
    lines = without_passwords(str(error)).split("Query was:")[0].splitlines()
    return " ".join(line.strip() for line in lines if line.strip(" ^\t"))[:500]
