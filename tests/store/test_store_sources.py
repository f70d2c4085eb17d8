"""Whatever feedback is read from goes into a store, with what it is joined to, and can be made again from there."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from feedback.config import SourceConfig
from feedback.engine import read_rows
from feedback.ingest import ingest
from feedback.store import Store
from tests.servers import s3_server
from tests.store_runs import KEY, contents

MAP = """
[join]
what = "traces"
key = "trace"
other = "id"
into = "joined"

[fields]
id = "score_id"
prompt = "joined.input"
completion = "joined.output"
label = "value"
user = "who"

[labels]
1 = "up"
0 = "down"
"""


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THUMBLINE_RATER_KEY", KEY)
    monkeypatch.chdir(tmp_path)


def vote(number: int) -> dict[str, Any]:
    return {"prompt": f"question {number}", "completion": f"answer {number}", "label": "up", "user": f"u{number}"}


def lines(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_ingested(source: SourceConfig, folder: Path) -> pl.DataFrame:
    """The events that `ingest` alone makes of a source."""
    result = ingest([source], folder, max_rejected_share=1.0)
    return pl.concat([read_rows(path) for path in result.events]).sort("event_id")


def taken_in(source: SourceConfig, store: Store) -> pl.DataFrame:
    store.ingest([source], max_rejected_share=1.0)
    return store.events(revisions="all").drop("store_version").collect().sort("event_id")


def check(source: SourceConfig) -> Store:
    """The store holds what `ingest` makes; the same again adds nothing; what is damaged is made again."""
    store = Store.open("store", create=True)
    expected = as_ingested(source, Path("ingested"))
    assert taken_in(source, store).equals(expected)
    assert store.ingest([source], max_rejected_share=1.0).new == 0
    before = contents(store.folder)
    for path in store.folder.glob("table/kind=event/*"):
        path.unlink()
    assert store.doctor().is_well
    assert contents(store.folder) == before
    return store


@pytest.mark.parametrize("name", ["votes.jsonl", "votes.jsonl.gz", "votes.json", "votes.csv", "votes.parquet"])
def test_every_kind_of_file(name: str) -> None:
    rows = [vote(number) for number in range(8)]
    if name.endswith(".csv"):
        pl.DataFrame(rows).write_csv(name)
    elif name.endswith(".parquet"):
        pq.write_table(pl.DataFrame(rows).to_arrow(), name)
    else:
        content = json.dumps(rows, indent=2).encode() if name.endswith(".json") else lines(*rows)
        Path(name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    store = check(SourceConfig(path=name, format="thumbs"))
    assert store.forget(rater="u3").rows == {"event": 1}
    copies = [path for path in store.folder.glob("raw/*/*/*") if path.name != "erased.json"]
    assert [path.name for path in copies] == [name]
    assert store.doctor().is_well


def test_files_of_a_folder_come_in_one_by_one() -> None:
    """So tomorrow's call reads the file of tomorrow only."""
    Path("in").mkdir()
    for number in range(3):
        Path(f"in/{number}.jsonl").write_bytes(lines(vote(number)))
    store = check(SourceConfig(path="in", format="thumbs"))
    Path("in/3.jsonl").write_bytes(lines(vote(3)))
    summary = store.ingest([SourceConfig(path="in", format="thumbs")])
    assert (summary.new, summary.already_there, summary.known_files) == (1, 3, 3)


def test_rows_of_a_query() -> None:
    with sqlite3.connect("votes.db") as database:
        database.execute("CREATE TABLE votes (prompt TEXT, completion TEXT, label TEXT, user TEXT)")
        database.executemany("INSERT INTO votes VALUES (:prompt, :completion, :label, :user)", map(vote, range(5)))
    database.close()
    check(SourceConfig(path="sqlite:///votes.db", format="thumbs", sql="SELECT * FROM votes"))


def test_objects_of_a_bucket() -> None:
    with s3_server() as put:
        put("bucket/logs/votes.jsonl", lines(vote(1), vote(2)))
        check(SourceConfig(path="s3://bucket/logs/", format="thumbs"))


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    content = lines(vote(1), vote(2))
    for new in (2, 0):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        store = Store.open("store", create=True)
        assert store.ingest([SourceConfig(path="-", format="thumbs")]).new == new


def test_a_map_and_a_joined_file_are_kept_with_the_records() -> None:
    Path("map.toml").write_text(MAP)
    traces = [{"id": f"t{number}", "input": f"question {number}", "output": f"answer {number}"} for number in range(3)]
    Path("traces.jsonl").write_bytes(lines(*traces))
    scores = [{"score_id": f"s{number}", "trace": f"t{number}", "value": 1, "who": f"u{number}"} for number in range(3)]
    Path("scores.jsonl").write_bytes(lines(*scores))
    store = check(SourceConfig(path="scores.jsonl", format="mapped", map="map.toml", join="traces.jsonl"))
    assert store.source_files()[0].records == 3
    # Of whom only the score is known, the trace is not: so all copies of the joined files go.
    assert store.forget(rater="u1").rows == {"event": 1}
    assert not list(store.folder.glob("raw/*/*/*.jsonl"))


def test_a_folder_that_is_joined_is_kept_whole() -> None:
    Path("map.toml").write_text(MAP)
    Path("traces").mkdir()
    for number in range(2):
        Path(f"traces/{number}.jsonl").write_bytes(
            lines({"id": f"t{number}", "input": f"question {number}", "output": f"answer {number}"})
        )
    Path("scores.jsonl").write_bytes(
        lines(*({"score_id": f"s{number}", "trace": f"t{number}", "value": 1, "who": "u"} for number in range(2)))
    )
    check(SourceConfig(path="scores.jsonl", format="mapped", map="map.toml", join="traces"))
