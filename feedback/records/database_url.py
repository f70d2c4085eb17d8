"""URLs of databases, in the form that SQLAlchemy made common; their passwords go to the driver and nowhere else.

postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=require     what libpq reads, its environment too
sqlite:///votes.db      sqlite:////folder/votes.db                a path behind three slashes: relative, absolute
duckdb:///votes.duckdb  duckdb:///:memory:                        the same; or no file, to query others
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from schemas.errors import UsageError

__all__ = ["DATABASES", "MEMORY", "DatabaseUrl", "parse_database_url"]

DATABASES: Final = {"postgresql": "postgresql", "postgres": "postgresql", "sqlite": "sqlite", "duckdb": "duckdb"}
"""Kind of database by scheme."""

MEMORY: Final = ":memory:"
"""Stands for a database that is no file."""


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """A database.

    Args:
        kind: postgresql, sqlite or duckdb.
        database: its name, or the path of its file.
        text: the URL as the user gave it; it may hold a password.
    """

    kind: str
    database: str
    text: str = field(repr=False)

    @property
    def name(self) -> str:
        """What errors and manifests call it: kind and database, without folder, host, user and password."""
        return f"{self.kind}:{Path(self.database).name}"

    @property
    def path(self) -> Path | None:
        """Its file; None where it is none."""
        return None if self.kind == "postgresql" or self.database == MEMORY else Path(self.database)


def parse_database_url(text: str) -> DatabaseUrl:
    """The database that a URL names.

    Raises:
        UsageError: it names no file, or its password holds signs that a URL must have encoded.
    """
    scheme, _, rest = text.partition("://")
    kind = DATABASES[scheme.lower()]
    if kind == "postgresql":
        return DatabaseUrl(kind, _postgresql_database(text), f"{kind}://{rest}")
    if not rest.startswith("/") or not rest[1:]:
        raise UsageError(
            "the URL names no file",
            where=text,
            expected=f"{kind}:///PATH, with three slashes before a relative path and four before an absolute one",
        )
    return DatabaseUrl(kind, unquote(rest[1:]), text)


def _postgresql_database(text: str) -> str:
    before, at, _ = text.partition("://")[2].rpartition("@")
    # With one of these in the password the URL means something else, and what would be shown of it is secret.
    if at and (set("/?#@") & set(before) or before.count(":") > 1):
        raise UsageError(
            "the user or the password in the URL holds signs that have a meaning in URLs",
            where=f"{text.partition('://')[0]}://...",
            expected="them percent-encoded, for example %40 for @ and %2F for /",
            todo="Or leave the password out and set PGPASSWORD, or write it into ~/.pgpass",
        )
    return unquote(urlsplit(text).path.strip("/")) or "default"
