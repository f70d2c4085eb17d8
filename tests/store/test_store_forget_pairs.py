"""A conversation is forgotten with its pairs, and raw files of every kind keep what others said."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from feedback.config import SourceConfig
from feedback.pipeline import curate_store, store_config
from feedback.store import Store
from feedback.store.needles import Needles, quoting_reports
from tests.canary import places_of, said

pytestmark = pytest.mark.usefixtures("rater_key")

CANARY = "zebrafinch"
TALK = f"talk-{CANARY}"
MAP = """
kind = "pairs"
[fields]
id = "id"
prompt = "asked"
response_a = "one"
response_b = "two"
outcome = "vote"
user = "who"
conversation = "talk"
[outcomes]
one = "a"
two = "b"
"""


def pair(number: int, talk: str | None = None) -> dict[str, str]:
    """A vote; one of the forgotten conversation holds the canary in every text, and the others span two lines."""
    said = f"{CANARY} " if talk == TALK else ""
    return {
        "id": f"{said}{number}",
        "asked": f"{said}question\nnumber {number}",
        "one": f'{said}answer "one" of {number}',
        "two": f"{said}answer two, of {number}",
        "vote": "two" if number % 3 else "one",
        "who": f"u{number}",
        "talk": talk or f"talk-{number}",
    }


def as_array(rows: list[dict[str, str]]) -> bytes:
    return json.dumps(rows, indent=1).encode()


def as_objects(rows: list[dict[str, str]]) -> bytes:
    return "\n".join(json.dumps(row, indent=1) for row in rows).encode()


def as_csv(rows: list[dict[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_parquet(rows: list[dict[str, str]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=7)
    return sink.getvalue().to_pybytes()


def as_feather(rows: list[dict[str, str]]) -> bytes:
    sink = pa.BufferOutputStream()
    feather.write_feather(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


def as_stream(rows: list[dict[str, str]]) -> bytes:
    table, sink = pa.Table.from_pylist(rows), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


KINDS: dict[str, Callable[[list[dict[str, str]]], bytes]] = {
    "array.json": as_array,
    "objects.json": as_objects,
    "cells.csv": as_csv,
    "table.parquet": as_parquet,
    "table.feather": as_feather,
    "stream.arrow": as_stream,
    "packed.json.gz": lambda rows: gzip.compress(as_array(rows), mtime=0),
}


def take_in(store: Store, path: Path) -> int:
    (path.parent / "map.toml").write_text(MAP)
    source = SourceConfig(path=str(path), format="mapped", name="votes", map=str(path.parent / "map.toml"))
    return store.ingest([source]).new


@pytest.mark.parametrize("name", sorted(KINDS))
def test_of_a_raw_file_only_the_forgotten_records_go(name: str, tmp_path: Path) -> None:
    """The others' rows can be made again from it, all of them and no more."""
    rows = [pair(number, TALK if number in (3, 11) else None) for number in range(20)]
    (tmp_path / name).write_bytes(KINDS[name](rows))
    store = Store.open(tmp_path / "store", create=True)
    assert take_in(store, tmp_path / name) == 20
    before = store.pairs().collect()
    assert CANARY.encode() in said(next((tmp_path / "store" / "raw").rglob(name)))
    receipt = store.forget(conversation=TALK)
    assert receipt.raw is not None
    assert (receipt.rows, receipt.raw.records, receipt.raw.rewritten) == ({"pair": 2}, 2, (name,))
    assert places_of(CANARY, tmp_path / "store") == []
    kept = before.filter(pl.col("conversation_id") != TALK).sort("pair_id")
    assert store.pairs().collect().sort("pair_id").equals(kept)
    for path in (tmp_path / "store" / "table").rglob("kind=pair/*.parquet"):
        path.unlink()  # as if the disk had lost them
    assert Store.open(tmp_path / "store").doctor().is_well
    again = Store.open(tmp_path / "store").pairs().collect().sort("pair_id")
    assert again.drop("store_version").equals(kept.drop("store_version"))
    assert take_in(store, tmp_path / name) == 0
    assert places_of(CANARY, tmp_path / "store") == []


def test_a_raw_file_of_nobody_else_is_kept_empty(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(as_array([pair(1, TALK)]))
    store = Store.open(tmp_path / "store", create=True)
    take_in(store, tmp_path / "a.json")
    assert store.forget(conversation=TALK).rows == {"pair": 1}
    assert places_of(CANARY, tmp_path / "store") == []
    assert store.pairs().collect().is_empty()
    assert store.doctor().is_well


def test_a_raw_file_that_is_cut_off_is_removed_whole(tmp_path: Path) -> None:
    """Without its records it would be read as whole, so others' could not be told from it."""
    rows = [pair(number, TALK if number == 3 else None) for number in range(20)]
    (tmp_path / "cut.json").write_bytes(as_array(rows)[:-30])
    store = Store.open(tmp_path / "store", create=True)
    take_in(store, tmp_path / "cut.json")
    receipt = store.forget(conversation=TALK)
    assert receipt.raw is not None
    assert (receipt.raw.rewritten, receipt.raw.removed) == ((), ("cut.json",))
    assert places_of(CANARY, tmp_path / "store") == []


def test_datasets_of_pairs_lose_the_conversation_and_it_stays_away(tmp_path: Path) -> None:
    rows = [pair(number, TALK if number in (3, 11) else None) for number in range(20)]
    (tmp_path / "a.json").write_bytes(as_array(rows))
    store = Store.open(tmp_path / "store", create=True)
    take_in(store, tmp_path / "a.json")
    curate_store(store, store_config(["rebalance.mode=off", "split.test_fraction=0.2"]), tmp_path / "dataset")
    assert any("data/" in path for path in places_of(CANARY, tmp_path / "dataset"))
    receipt = store.forget(conversation=TALK)
    assert places_of(CANARY, tmp_path / "store", tmp_path / "dataset") == []
    assert receipt.datasets[0].rows > 0
    (tmp_path / "b.json").write_bytes(as_array([*rows, pair(30), pair(31, TALK)]))
    assert take_in(store, tmp_path / "b.json") == 1
    assert places_of(CANARY, tmp_path / "store") == []


def test_reports_in_other_folders_are_looked_into_where_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(as_array([pair(1), pair(2, TALK)]))
    store = Store.open(tmp_path / "store", create=True)
    take_in(store, tmp_path / "a.json")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "page.html").write_text(f"<p>{CANARY} answer two, of 2</p>")
    (tmp_path / "site" / "other.html").write_text("<p>nothing of theirs</p>")
    receipt = store.forget(conversation=TALK, reports=[tmp_path / "site"])
    assert [one.removed for one in receipt.reports] == [("page.html",)]
    assert places_of(CANARY, tmp_path / "store", tmp_path / "site") == []
    assert (tmp_path / "site" / "other.html").exists()


@pytest.mark.parametrize(
    ("name", "content", "is_found"),
    [
        ("a.json", '{"answer": "Seeds!"}', True),
        ("a.json", '{"Seeds!": 1}', False),
        ("a.json", '{"answer": "Seeds! And more"}', False),
        ("a.html", "<td> Seeds! </td>", True),
        ("a.html", "<td>u&amp;7</td>", True),
        ("a.csv", "1,Seeds!,2", True),
        ("a.md", "| u&7 | 3 |", True),
        ("a.txt", "Seeds! are what they eat", False),
        ("metrics.jsonl", '{"answer": "Seeds!"}', False),
        ("a.html", "<td>10</td>", False),
        ("a.npy", '{"answer": "Seeds!"}', False),
    ],
)
def test_a_short_text_is_found_where_it_is_all_that_is_said(
    name: str, content: str, is_found: bool, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    assert list(quoting_reports(tmp_path, Needles({"Seeds!", "u&7", "10"}))) == [tmp_path / name] * is_found


def test_the_vocabulary_of_a_model_is_no_report(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "tokenizer.json").write_text('["congratulations"]')
    (tmp_path / "answers.json").write_text('["congratulations"]')
    assert list(quoting_reports(tmp_path, Needles({"congratulations"}))) == [tmp_path / "answers.json"]
