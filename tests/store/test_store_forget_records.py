"""Records of somebody are found by their ids in raw bytes, whatever else these hold and however they are broken off."""

from __future__ import annotations

import csv
import io
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedback.config import SourceConfig
from feedback.store import Store
from feedback.store.tombstones import Forgotten, subject_hash
from tests.canary import places_of
from tests.store_runs import KEY, run

CANARY = "zebrafinch"
USER, TALK = f"user-{CANARY}", f"talk-{CANARY}"
NAMES = ("prompt", "completion", "label", "user", "conversation", "comment")
LONG = "a text of more than two hundred and fifty-six letters, as most answers are, " * 5


@pytest.fixture(autouse=True)
def _own_rater_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THUMBLINE_RATER_KEY", KEY)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"user": "u7"}',
        b'{"comment": "", "user": "u7"}',
        b'{"a": "", "b": "", "user": "u7", "c": ""}',
        b'{"completion": "' + LONG.encode() + b'", "user": "u7", "id": 1}',
        b'{"a": "' + LONG.encode() + b'", "b": "' + LONG.encode() + b'", "user": "u7"}',
        b'{"completion": "he said \\"hi", "user": "u7"}',
        b'{"meta": "{\\"user\\": \\"u7\\"}"}',
        b'{"meta": "{\\"inner\\": \\"{\\\\\\"user\\\\\\": \\\\\\"u7\\\\\\"}\\"}"}',
        b'{"user": "u7", "completion": "cut o',
        b'"completion": "the end of it", "user": "u7"}',
        b'end of it", "user": "u7", "x',
        b'{"user": "\\u0075\\u0037"}',
        b"a question,an answer,maybe,u7,t1",
        b"a question\tan answer\tu7",
        b'"a, question";"an ""answer""";u7',
    ],
)
def test_an_id_is_found_in_the_bytes_of_a_record(raw: bytes) -> None:
    key = KEY.encode()
    assert Forgotten(frozenset({subject_hash("rater", "u7", key)}), key).in_bytes(raw)
    assert Forgotten(frozenset({subject_hash("conversation", "u7", key)}), key).in_bytes(raw)
    assert not Forgotten(frozenset({subject_hash("rater", "u", key)}), key).in_bytes(raw)


@pytest.mark.parametrize("name", ['a "great" one', "zoë/1", "back\\slash", "4711", "-", "auth0|" + "ab12" * 60])
@pytest.mark.parametrize("is_ascii", [True, False])
def test_an_id_of_any_letters_is_found(name: str, is_ascii: bool) -> None:
    key = KEY.encode()
    subject = Forgotten(frozenset({subject_hash("conversation", name, key)}), key)
    value = {"text": "", "talk": int(name) if name.isdigit() else name}
    raw = json.dumps(value, ensure_ascii=is_ascii).encode()
    assert subject.in_bytes(raw)
    assert subject.in_bytes(raw.replace(b"/", b"\\/"))
    assert not subject.in_bytes(json.dumps({"text": f"{name} and more", "half": "\ud800"}).encode())


def test_a_line_is_found_however_its_id_is_escaped(tmp_path: Path) -> None:
    """The same id, as three writers of JSON put it down, in records that are in the store already by other bytes."""
    name = f"{CANARY}/zoë"
    lines = as_lines([vote(number, conversation=name, id=f"r{number}") for number in range(3)]).decode().split("\n")
    written = (lines[0], lines[1].replace("/", "\\/").replace("\\u00eb", "\\u00EB"), lines[2].replace("\\u00eb", "ë"))
    store = Store.open(tmp_path / "store", create=True)
    for file, other in (("a.jsonl", vote(10)), ("b.jsonl", vote(11))):
        rows_of_file = "\n".join((*written, json.dumps(other)))
        text = rows_of_file if file == "a.jsonl" else rows_of_file.replace('"label"', '"seen": 1, "label"')
        (tmp_path / file).write_text(text, "utf-8")
        store.ingest([SourceConfig(path=str(tmp_path / file), format="thumbs")])
    assert store.events().collect().height == 5
    receipt = store.forget(conversation=name)
    assert receipt.rows == {"event": 3}
    assert receipt.raw is not None
    assert receipt.raw.records == 6
    assert places_of(CANARY, tmp_path / "store") == []


def vote(number: int, **more: Any) -> dict[str, Any]:
    label = "down" if number % 2 else "up"
    return {
        "prompt": f"q {number}",
        "completion": f"a {number}",
        "label": label,
        "user": f"u{number}",
        "conversation": f"talk-{number}",
        **more,
    }


def rows(theirs: dict[str, str]) -> list[dict[str, Any]]:
    """A good vote, and some that go to quarantine for one reason or another; their texts hold the canary."""
    long = f"{CANARY} {LONG}"
    return [
        *map(vote, range(20)),
        vote(100, prompt=f"{CANARY} asks", completion=long, **theirs),
        vote(101, prompt=f"{CANARY} asks", label="maybe", **theirs),
        vote(102, prompt=f"{CANARY} asks", completion="", **theirs),
        vote(103, prompt=long, completion="", **theirs),
        vote(104, prompt=long, completion=long, label=f"{CANARY} label", **theirs),
    ]


def as_lines(votes: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(one) + "\n" for one in votes).encode()


def as_broken_lines(votes: list[dict[str, Any]]) -> bytes:
    """And lines that are cut off behind the ids."""
    last = votes[-1]
    ids_first = {name: last[name] for name in ("conversation", "user", "prompt", "completion")}
    return as_lines(votes) + json.dumps(ids_first)[:-20].encode() + b"\n"


def as_csv(votes: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, NAMES)
    writer.writeheader()
    writer.writerows(votes)
    return text.getvalue().encode()


def as_excel_csv(votes: list[dict[str, Any]]) -> bytes:
    """The delimiter is named first, and a name of the header has a line break."""
    text = io.StringIO("sep=;\r\n")
    text.seek(0, io.SEEK_END)
    names = [*NAMES, "a name\nof two lines"]
    writer = csv.DictWriter(text, names, delimiter=";")
    writer.writeheader()
    writer.writerows(votes)
    return text.getvalue().encode()


def as_csv_without_users(votes: list[dict[str, Any]]) -> bytes:
    return as_csv([{**one, "user": None} for one in votes])


def as_parquet(votes: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([{name: one.get(name) for name in NAMES} for one in votes]), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def as_array(votes: list[dict[str, Any]]) -> bytes:
    return json.dumps(votes, indent=1).encode()


KINDS: dict[str, tuple[str, Callable[[list[dict[str, Any]]], bytes], int]] = {
    "lines": ("a.jsonl", as_lines, 4),
    "broken": ("a.jsonl", as_broken_lines, 5),
    "csv": ("a.csv", as_csv, 4),
    "excel": ("a.csv", as_excel_csv, 4),
    "no users": ("a.csv", as_csv_without_users, 4),
    "table": ("a.parquet", as_parquet, 4),
    "array": ("a.json", as_array, 4),
}


@pytest.mark.parametrize("who", ["rater", "conversation"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_record_of_the_forgotten_stays_in_quarantine_or_raw_copies(kind: str, who: str, tmp_path: Path) -> None:
    if (kind, who) == ("no users", "rater"):
        return
    name, write, refused = KINDS[kind]
    theirs = {"user": USER} if who == "rater" else {"conversation": TALK}
    (tmp_path / name).write_bytes(write(rows(theirs)))
    store = Store.open(tmp_path / "store", create=True)
    store.ingest([SourceConfig(path=str(tmp_path / name), format="thumbs")])
    assert places_of(CANARY, tmp_path / "store")
    receipt = store.forget(rater=USER) if who == "rater" else store.forget(conversation=TALK)
    assert places_of(CANARY, tmp_path / "store") == []
    assert receipt.rows == {"event": 1, "quarantine": refused}
    assert receipt.raw is not None
    assert (receipt.raw.records, receipt.raw.removed) == (refused + 1, ())
    assert store.events().collect().height == 20
    assert store.doctor().is_well
    # They come with another file, among other votes, and do not come back.
    more = [*rows(theirs), *map(vote, range(200, 204))]
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / name).write_bytes(write(more))
    assert store.ingest([SourceConfig(path=str(tmp_path / "more" / name), format="thumbs")]).new == 4
    assert places_of(CANARY, tmp_path / "store") == []


def message(talk: int, said: str, **more: Any) -> dict[str, Any]:
    """A message of LibreChat; the question does not say who asked."""
    return {
        "conversationId": f"t{talk}",
        "parentMessageId": "00000000-0000-0000-0000-000000000000",
        "text": f"{said} of {talk}",
        "isCreatedByUser": True,
        "createdAt": "2026-01-01T00:00:00Z",
        **more,
    }


def conversation(talk: int, said: str, user: str) -> list[dict[str, Any]]:
    answer = {"isCreatedByUser": False, "user": user, "feedback": {"rating": "thumbsUp"}}
    return [
        message(talk, f"{said} question", messageId=f"q{talk}"),
        message(talk, f"{said} answer", messageId=f"a{talk}", parentMessageId=f"q{talk}", **answer),
    ]


def forget(store: Path) -> None:
    """Forget the one."""
    Store.open(store).forget(rater=USER)


@pytest.mark.parametrize("files", [1, 2])
@pytest.mark.parametrize("fault", [None, "erase.raw.rename.after", "erase.raw.rename.after@2"])
def test_what_a_vote_is_about_goes_from_the_file_that_both_are_in(
    files: int, fault: str | None, tmp_path: Path
) -> None:
    """A message does not name who voted: its conversation does, also where it lies in another file of the source.

    Where the call is killed between both, the next one still finds what is left.
    """
    kept = [row for talk in range(6) for row in conversation(talk, "a long", f"u{talk}")]
    theirs = conversation(50, CANARY, USER)
    parts = [[*kept, *theirs]] if files == 1 else [[*kept[:4], theirs[1]], [*kept[4:], theirs[0]]]
    (tmp_path / "log").mkdir()
    for number, part in enumerate(parts):
        (tmp_path / "log" / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    store = Store.open(tmp_path / "store", create=True)
    summary = store.ingest([SourceConfig(path=str(tmp_path / "log"), format="librechat")])
    assert summary.new == 7
    if fault is not None:
        assert run(forget, tmp_path / "store", fault=f"{fault}:kill") == -signal.SIGKILL
        assert run(forget, tmp_path / "store") == 0
    else:
        receipt = store.forget(rater=USER)
        assert receipt.raw is not None
        assert (receipt.raw.records, receipt.raw.removed) == (2, ())
    store = Store.open(tmp_path / "store")
    assert places_of(CANARY, tmp_path / "store") == []
    assert store.events().collect().height == 6
    assert store.doctor().is_well
    left = b"".join(path.read_bytes() for path in (tmp_path / "store" / "raw").rglob("*.jsonl"))
    lines = [json.loads(line) for line in left.splitlines() if line]
    assert sorted(line["messageId"] for line in lines) == sorted(row["messageId"] for row in kept)
