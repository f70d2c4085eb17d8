"""What the tests of formats with named scores share: records read by a map, and what became of them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from feedback.formats import Draft, Format, IgnoredDraft
from feedback.ingest.source_format import open_format
from schemas.errors import RecordRejectedError


def mapped(name: str, text: str) -> Format:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.toml"
        path.write_text(text, "utf-8")
        return open_format(name, str(path))


def drafts(name: str, text: str, record: dict[str, Any]) -> list[Draft]:
    return list(mapped(name, text).parse(record))


def draft(name: str, text: str, record: dict[str, Any]) -> Any:
    (only,) = drafts(name, text, record)
    return only


def ignored(name: str, text: str, record: dict[str, Any]) -> list[str]:
    return [one.what for one in drafts(name, text, record) if isinstance(one, IgnoredDraft)]


def rejection(name: str, text: str, record: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(RecordRejectedError) as caught:
        drafts(name, text, record)
    assert caught.value.detail
    return caught.value.reason, caught.value.detail


def reason_of(name: str, text: str, record: dict[str, Any]) -> str:
    return rejection(name, text, record)[0]
