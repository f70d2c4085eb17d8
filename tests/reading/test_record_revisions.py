"""A record that comes again is the same revision as long as its source says the same, whatever its bytes are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from feedback.config import SourceConfig
from feedback.engine import read_rows
from feedback.ingest import ingest
from feedback.store.store import Store
from tests.format_records import webui

pytestmark = pytest.mark.usefixtures("rater_key")

VOTE = {"id": "v1", "prompt": "q", "completion": "a", "label": "up", "user": "u", "time": "2026-01-05T09:00:00Z"}
WRITTEN: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "lines.jsonl": lambda rows: b"".join(json.dumps(row).encode() + b"\n" for row in rows),
    "array.json": lambda rows: json.dumps(rows, indent=2).encode(),
    "turned.jsonl": lambda rows: b"".join(
        json.dumps(dict(reversed(row.items())), separators=(",", ":")).encode() + b"\n" for row in rows
    ),
    "seen.jsonl": lambda rows: b"".join(
        json.dumps(row | {"last_active_at": place}).encode() + b"\n" for place, row in enumerate(rows)
    ),
}


def event_ids(folder: Path, data: bytes, name: str = "in.jsonl", source_format: str = "thumbs") -> list[str]:
    place = folder / f"{len(list(folder.iterdir()))}"
    place.mkdir()
    (place / name).write_bytes(data)
    source = SourceConfig(path=str(place / name), format=source_format, name="product")
    result = ingest([source], place / "out", max_rejected_share=1.0)
    return pl.concat([read_rows(path) for path in result.events])["event_id"].to_list()


@pytest.mark.parametrize("name", WRITTEN)
def test_other_bytes_are_no_other_revision(name: str, tmp_path: Path) -> None:
    rows = [VOTE | {"id": f"v{number}", "completion": f"a {number}"} for number in range(5)]
    expected = event_ids(tmp_path, WRITTEN["lines.jsonl"](rows))
    assert len(set(expected)) == 5
    assert event_ids(tmp_path, WRITTEN[name](rows), name) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"label": "down"},
        {"completion": "b"},
        {"prompt": "p"},
        {"time": "2026-01-05T09:00:01Z"},
        {"updated": "2026-01-06T09:00:00Z"},
        {"op": "retract"},
        {"comment": "c"},
        {"reasons": ["r"]},
        {"model": "m"},
        {"conversation": "c"},
        {"message": "m"},
        {"lang": "en"},
        {"consent": True},
        {"tools": '[{"name": "t"}]'},
        {"id": "v2"},
    ],
)
def test_what_the_source_says_otherwise_is_another_revision(change: dict[str, Any], tmp_path: Path) -> None:
    first, second = event_ids(tmp_path, WRITTEN["lines.jsonl"]([VOTE, VOTE | change]))
    assert first != second


def test_fields_do_not_run_into_each_other(tmp_path: Path) -> None:
    told = [
        {"comment": "x"},
        {"lang": "x"},
        {"conversation": "x"},
        {"message": "x"},
        {"model": "x"},
        {"reasons": ["x"]},
    ]
    assert len(set(event_ids(tmp_path, WRITTEN["lines.jsonl"]([VOTE | one for one in told])))) == len(told)


def test_records_without_an_id_are_told_by_their_bytes(tmp_path: Path) -> None:
    """Two votes for one answer that nobody numbered may be two people's."""
    vote = {key: VOTE[key] for key in ("prompt", "completion", "label")}
    ids = event_ids(tmp_path, WRITTEN["lines.jsonl"]([vote, vote | {"session": 1}, vote | {"session": 2}, vote]))
    assert len(set(ids)) == 3
    assert ids[0] == ids[3]


def test_a_night_s_export_with_a_user_who_was_seen_since_brings_nothing(tmp_path: Path) -> None:
    """Open WebUI lists all feedback each time, each with its user as of now."""
    store = Store.open(tmp_path / "store", create=True)
    for night in range(3):
        records = [
            webui(id=f"f{number}", user={"name": "Jo", "last_active_at": 1_700_000_000 + night}) for number in range(4)
        ]
        path = tmp_path / f"night-{night}.json"
        path.write_text(json.dumps(records), "utf-8")
        store.ingest([SourceConfig(path=str(path), format="open_webui", name="product")])
        assert store.events(revisions="all").collect().height == 4
