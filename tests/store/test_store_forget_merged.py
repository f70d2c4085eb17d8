"""Rows of a dataset stand for several events: whichever of them is forgotten, its text is in no byte afterwards.

Every event says a word of its own, in its answer or its prompt or in the case of their letters, so it is known whose
text a row shows. The logs are drawn: a few questions whose answers are told nearly, or but for case, alike, few raters
who vote again and change their minds, and pairs of the same answers.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedback.config import SourceConfig
from feedback.pipeline import curate_store, store_config
from feedback.store import Store
from schemas.manifest import Manifest, file_sha256, write_last
from tests.canary import said
from tests.store_runs import KEY

SETTINGS = (
    ("dedup.keep=most_votes",),
    ("dedup.keep=newest",),
    ("dedup.keep=longest", "conflicts.policy=keep_both"),
    ("dedup.match=normalized", "conflicts.policy=off"),
    ("dedup.match=exact", "conflicts.policy=soft"),
    ("conflicts.cycles=drop", "conflicts.min_raters=1", "pairs.mode=compared"),
)
FIXED = ("rebalance.mode=off", "split.test_fraction=0.0", "export.redact=false", "caps.max_rater_share=1.0")
WORD = "zebrafinch"
EVENTS, PAIRS = 40, 14
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
time = "time"
[outcomes]
one = "a"
two = "b"
"""


@pytest.fixture(autouse=True)
def _own_rater_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THUMBLINE_RATER_KEY", KEY)


def canary(number: int) -> str:
    """The word of an event, in the case of its letters: as a word of its own it is like that of any other."""
    return "".join(sign.upper() if number >> bit & 1 else sign for bit, sign in enumerate(WORD))


def near_canary(number: int) -> str:
    """A word that no other event says, in whatever case."""
    return f"finch{number:03d}finch"


def question(topic: int, said: str) -> str:
    words = " ".join(f"topic{topic}word{place}" for place in range(30))
    return f"tell me of {words} {said}"


def answer(topic: int, which: int, said: str, more: int = 0) -> str:
    words = " ".join(f"answer{topic}{which}word{place}" for place in range(60))
    return f"{words} {said}" + " indeed" * more


def said_by(number: int, draw: random.Random) -> tuple[str, str]:
    """What an event says in its prompt and in its answer."""
    where = draw.randrange(4)
    word, near = canary(number), near_canary(number)
    return {0: (word, WORD), 1: (WORD, word), 2: (WORD, near), 3: (near, near)}[where]


def a_time(draw: random.Random) -> str | None:
    return None if draw.random() < 0.1 else f"2026-01-0{draw.randint(1, 6)}T00:00:00Z"


def a_vote(number: int, draw: random.Random) -> dict[str, Any]:
    topic, which = draw.randrange(3), draw.randrange(2)
    asked, told = said_by(number, draw)
    return {
        "id": f"e{number}",
        "prompt": question(topic, asked),
        "completion": answer(topic, which, told, draw.randrange(3)),
        "label": draw.choice(["up", "down"] if which else ["up", "up", "up", "down"]),
        "user": draw.choice(["ann", "bob", "ann", "cleo", None]),
        "conversation": f"talk-{number}",
        "time": a_time(draw),
    }


def a_pair(number: int, draw: random.Random) -> dict[str, Any]:
    topic = draw.randrange(3)
    asked, told = said_by(number, draw)
    one, two = draw.sample([0, 1, 2], 2)
    return {
        "id": f"p{number}",
        "asked": question(topic, asked),
        "one": answer(topic, one, told),
        "two": answer(topic, two, told),
        "vote": draw.choice(["one", "two"]),
        "who": draw.choice(["ann", "bob", "cleo"]),
        "talk": f"talk-{number}",
        "time": a_time(draw) or "2026-01-03T00:00:00Z",
    }


def drawn(seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    draw = random.Random(seed)
    votes = [a_vote(number, draw) for number in range(EVENTS)]
    return votes, [a_pair(number, draw) for number in range(EVENTS, EVENTS + PAIRS)]


def take_in(folder: Path, seed: int) -> Store:
    """A store with votes and pairs."""
    votes, pairs = drawn(seed)
    for name, rows in (("votes.jsonl", votes), ("pairs.jsonl", pairs)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "map.toml").write_text(MAP)
    store = Store.open(folder / "store", create=True)
    store.ingest(
        [
            SourceConfig(path=str(folder / "votes.jsonl"), format="thumbs"),
            SourceConfig(path=str(folder / "pairs.jsonl"), format="mapped", map=str(folder / "map.toml")),
        ]
    )
    return store


def curated(store: Store, folder: Path) -> list[Path]:
    """A dataset of each of the settings."""
    made = []
    for number, chosen in enumerate(SETTINGS):
        out = folder / f"dataset-{number}"
        curate_store(store, store_config([*FIXED, *chosen]), out)
        made.append(out)
    return made


def read(dataset: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted((dataset / "data").glob("*.parquet"))])


def ids_of_talks(store: Store) -> dict[str, str]:
    """The conversation of each event and pair."""
    events = store.events(revisions="all").collect().select("event_id", "conversation_id")
    pairs = store.pairs(revisions="all").collect().select("pair_id", "conversation_id")
    return dict([*events.iter_rows(), *pairs.iter_rows()])


def talks_quoted(row: dict[str, Any], columns: tuple[str, ...]) -> set[str]:
    """The conversations whose words a row says."""
    text = json.dumps([row[name] for name in columns])
    words = {f"talk-{number}": (canary(number), near_canary(number)) for number in range(EVENTS + PAIRS)}
    # Of letters that are all small nobody can say whose they are.
    return {talk for talk, known in words.items() if talk != "talk-0" and any(word in text for word in known)}


@pytest.mark.parametrize("seed", range(3))
def test_a_row_names_every_event_whose_text_it_shows(seed: int, tmp_path: Path) -> None:
    """And the first of its events are the votes that count, whatever became of the others."""
    store = take_in(tmp_path, seed)
    talks = ids_of_talks(store)
    quoted = merged = 0
    for dataset in curated(store, tmp_path):
        for row in read(dataset).to_dicts():
            ids = row["source_event_ids"]
            of_row = talks_quoted(row, ("prompt", "completion"))
            assert of_row <= {talks[one] for one in ids}, (dataset.name, row["row_id"])
            votes, others = ids[: row["n_up"] + row["n_down"]], ids[row["n_up"] + row["n_down"] :]
            assert (votes, others) == (sorted(votes), sorted(set(others)))
            assert set(votes).isdisjoint(others)
            quoted += len(of_row)
            merged += len(others)
        if (dataset / "preference").is_dir():
            for row in read(dataset / "preference").to_dicts():
                of_row = talks_quoted(row, ("prompt", "chosen", "rejected"))
                assert of_row <= {talks[one] for one in row["source_event_ids"]}, (dataset.name, row["row_id"])
                quoted += len(of_row)
    assert quoted > 20
    assert merged > 0


def words_left(numbers: list[int], folder: Path) -> list[str]:
    """Files that still say a word of one of the events."""
    words = {word.encode() for one in numbers for word in ([canary(one)] if one else []) + [near_canary(one)]}
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        text = said(path)
        found += [f"{word.decode()} in {path.relative_to(folder)}" for word in words if word in text]
    return found


@pytest.mark.parametrize("seed", range(4))
def test_no_text_of_a_forgotten_conversation_stays(seed: int, tmp_path: Path) -> None:
    """Whoever is forgotten first takes rows along that others' texts are in, so the order is another one each time."""
    store = take_in(tmp_path, seed)
    curated(store, tmp_path)
    for name in ("votes.jsonl", "pairs.jsonl"):
        (tmp_path / name).unlink()
    order = random.Random(seed).sample(range(1, EVENTS + PAIRS), 6)
    assert len(words_left(order, tmp_path)) > len(order)
    for number in order:
        store.forget(conversation=f"talk-{number}")
        assert words_left([number], tmp_path) == []
    assert len(read(tmp_path / "dataset-3")) > 0


@pytest.mark.parametrize("rater", ["ann", "bob"])
def test_no_text_of_a_forgotten_rater_stays(rater: str, tmp_path: Path) -> None:
    votes, pairs = drawn(3)
    store = take_in(tmp_path, 3)
    curated(store, tmp_path)
    for name in ("votes.jsonl", "pairs.jsonl"):
        (tmp_path / name).unlink()
    theirs = [number for number, row in enumerate([*votes, *pairs]) if rater in (row.get("user"), row.get("who"))]
    assert words_left(theirs, tmp_path)
    store.forget(rater=rater)
    assert words_left(theirs, tmp_path) == []


def as_before(dataset: Path) -> None:
    """Make a dataset what earlier versions made: without the events whose votes do not count."""
    manifest = Manifest.read(dataset)
    shards = []
    for shard in manifest.shards:
        path = dataset / shard.path
        table = pq.read_table(path)
        counts = (table["n_up"].to_numpy() + table["n_down"].to_numpy()).tolist()
        ids = [one[:count] for one, count in zip(table["source_event_ids"].to_pylist(), counts, strict=True)]
        column = table.schema.get_field_index("source_event_ids")
        changed = table.set_column(column, table.schema.field(column), pa.array(ids, table.schema.field(column).type))
        assert changed != table
        pq.write_table(changed, path)
        shards.append(replace(shard, sha256=file_sha256(path), bytes=path.stat().st_size))
    write_last(dataset / "manifest.json", replace(manifest, shards=tuple(shards)).to_json())


def test_a_dataset_of_an_earlier_version_loses_the_rows_that_show_a_forgotten_text(tmp_path: Path) -> None:
    store = take_in(tmp_path, 0)
    curate_store(store, store_config([*FIXED, "pairs.mode=off"]), tmp_path / "dataset")
    as_before(tmp_path / "dataset")
    talks = ids_of_talks(store)
    lost = [
        talk
        for row in read(tmp_path / "dataset").to_dicts()
        for talk in talks_quoted(row, ("prompt", "completion"))
        if talk not in {talks[one] for one in row["source_event_ids"]}
    ]
    assert lost
    for talk in lost:
        store.forget(conversation=talk)
        assert words_left([int(talk.removeprefix("talk-"))], tmp_path / "dataset") == []
