"""No password of a URL is in what is shown or kept."""

from __future__ import annotations

import pytest

from schemas.errors import UsageError
from schemas.redaction import without_passwords


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ann:pw@host/db", "postgresql://ann:***@host/db"),
        (
            "at postgresql://ann:p@w/x@host/db, s3://key:pw@bucket/x.",
            "at postgresql://ann:***@host/db, s3://key:***@bucket/x.",
        ),
        ("postgresql://:pw@host", "postgresql://:***@host"),
        ("postgresql://host/db?user=a&password=pw&sslmode=on", "postgresql://host/db?user=a&password=***&sslmode=on"),
        ("https://host:80/a?b=c", "https://host:80/a?b=c"),
        ("postgresql://ann@host:5432/db", "postgresql://ann@host:5432/db"),
        ("password=pw without a URL is a text", "password=pw without a URL is a text"),
    ],
)
def test_only_passwords_of_urls_are_hidden(text: str, shown: str) -> None:
    assert without_passwords(text) == shown


def test_errors_hide_them_in_every_part() -> None:
    url = "postgresql://ann:s3cret@host/db"
    error = UsageError(f"bad {url}", where=url, received=[url], expected=url, todo=url)
    parts = (str(error), error.what, error.where, error.expected, error.todo, UsageError("x", received=url).received)
    assert [part for part in parts if "s3cret" in str(part)] == []
    assert str(error).count("ann:***@host") == 5
