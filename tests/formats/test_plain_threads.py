"""Messages that are records, read by column: the threads and digests that they have when they are read one by one."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from feedback.config import SourceConfig
from feedback.engine import read_rows
from feedback.formats import FORMATS
from feedback.ingest import block, ingest
from feedback.ingest.known_by import KnownDigests
from feedback.records.json_columns import split_lines
from feedback.records.line_kernels import count_in_lines, mark_lines
from schemas.errors import InputError
from tests.formats.test_plain_formats import damaged, records_of

pytestmark = pytest.mark.usefixtures("rater_key")

LIBRECHAT = FORMATS["librechat"]
ROOT = "00000000-0000-0000-0000-000000000000"
UP = {"rating": "thumbsUp"}
TIME = {"$date": "2026-01-05T09:51:39.000Z"}


def message(name: str, parent: str | None, **fields: Any) -> dict[str, Any]:
    """A message whose text is its id; ids that begin with q are the user's."""
    said = {"messageId": name, "conversationId": "c1", "parentMessageId": parent, "isCreatedByUser": name[0] == "q"}
    return {**said, "text": name, "user": "u1", "updatedAt": TIME, **fields}


def chat(**changes: dict[str, Any]) -> list[dict[str, Any]]:
    """q1 -> (a1, b1), a1 -> q2 -> a2 -> a3; a1 and a3 are judged."""
    edges = [("q1", ROOT), ("a1", "q1"), ("b1", "q1"), ("q2", "a1"), ("a2", "q2"), ("a3", "a2")]
    judged = {"a1": {"feedback": {"rating": "thumbsDown", "tag": "not_matched"}}, "a3": {"feedback": UP}}
    return [message(name, parent, **{**judged.get(name, {}), **changes.get(name, {})}) for name, parent in edges]


def long_chat(turns: int) -> list[dict[str, Any]]:
    names = [f"{'qa'[place % 2]}{place}" for place in range(turns)]
    pairs = zip(names, [ROOT, *names], strict=False)
    return [message(name, before, **({"feedback": UP} if name == names[-1] else {})) for name, before in pairs]


CHATS: dict[str, list[dict[str, Any]]] = {
    "sound": chat(),
    "the answers before their questions": chat()[::-1],
    "a vote taken back": chat(a1={"feedback": None}),
    "nothing at a question": chat(q2={"feedback": None}),
    "a judged question": chat(q2={"feedback": UP}),
    "no parent": chat(q1={"parentMessageId": None}),
    "a parent that is not there": chat(q1={"parentMessageId": "q0"}),
    "a blank parent": chat(q1={"parentMessageId": ""}),
    "its own ancestor": chat(q1={"parentMessageId": "a2"}),
    "its own parent": chat(a1={"parentMessageId": "a1"}),
    "two with one id": [*chat(), message("q2", "a1", text="another")],
    "a blank text on the way": chat(q1={"text": " \n"}),
    "a blank answer": chat(a3={"text": "\u2003"}),
    "no text": chat(a2={"text": None}),
    "parts": chat(a2={"content": [{"type": "text", "text": "said"}]}),
    "a thought": chat(a2={"text": ":::thinking\nhm\n:::\n\nsaid"}, a3={"text": ":::thinking\nhm\n:::\n"}),
    "an answer about thoughts": chat(a2={"text": "It is :::thinking here"}, a3={"text": "so\n:::thinking\nhm"}),
    "a question about thoughts": chat(q1={"text": "What is :::thinking\nhm\n:::?"}),
    "no parts": chat(a2={"content": []}),
    "a file": chat(q1={"files": [{"name": "f"}]}),
    "an error": chat(a1={"error": True}),
    "cut off": chat(a3={"unfinished": True}),
    "a label that nobody knows": chat(a1={"feedback": {"rating": "ok"}}),
    "feedback that says nothing": chat(a1={"feedback": {}}),
    "a tag that is an object": chat(a1={"feedback": {**UP, "tag": {"key": "k"}}}),
    "blank words": chat(a1={"feedback": {**UP, "tag": " ", "text": ""}}),
    "no time": chat(a1={"updatedAt": None}),
    "an empty time": chat(a1={"updatedAt": {}}),
    "a time without a zone": chat(a1={"updatedAt": {"$date": "2026-01-05T09:51:39"}}),
    "a time that is none": chat(a1={"updatedAt": {"$date": "yesterday"}}),
    "messages already there": chat(a1={"messages": chat()}),
    "a blank chat": chat(b1={"conversationId": " "}),
    "no chat": chat(b1={"conversationId": None}),
    "a message without an id": chat(b1={"messageId": None}),
    "words for a time": [{**one, "updatedAt": "2026-01-05T09:51:39.000Z"} for one in chat()],
    "only questions before": [message("a1", ROOT, feedback=UP)],
    "fields of ours": chat(a1={"prompt turns": [], "answer turns": "x"}),
    "a long thread": long_chat(300),
    "several chats": [
        one | {"conversationId": f"c{number % 3}", "messageId": one["messageId"]}
        for number in range(3)
        for one in chat()
    ],
}


def lines_of(records: Iterable[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(one, ensure_ascii=place % 2 == 0)}\n" for place, one in enumerate(records))


def outcome(files: Path, out: Path, *, is_plain: bool) -> Any:
    """The report, or the error, and all tables."""
    made = LIBRECHAT if is_plain else replace(LIBRECHAT, plain=())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block, "open_format", lambda *_: made)
        try:
            result = ingest([SourceConfig(path=str(files), format="librechat")], out, max_rejected_share=1.0)
        except InputError as error:
            return str(error)
    tables = {name: getattr(result, name) for name in ("events", "quarantine")}
    return result.report, {name: [read_rows(path).to_dicts() for path in paths] for name, paths in tables.items()}


def agree(folder: Path, *texts: str) -> None:
    files = folder / "files"
    files.mkdir(parents=True)
    for number, text in enumerate(texts):
        (files / f"{number}.jsonl").write_text(text, "utf-8", errors="surrogatepass")
    assert outcome(files, folder / "fast", is_plain=True) == outcome(files, folder / "slow", is_plain=False)


@pytest.mark.parametrize("name", CHATS)
def test_a_chat_gives_the_same_either_way(name: str, tmp_path: Path) -> None:
    agree(tmp_path, lines_of([*CHATS[name], *(one | {"conversationId": "other"} for one in chat())]))


def test_a_chat_in_two_files_gives_the_same_either_way(tmp_path: Path) -> None:
    """Its messages are not all in one block, so what the block has of it is not all that was said."""
    agree(tmp_path, lines_of(chat()[:4]), lines_of(chat()[4:]))


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_message_is_known_by_its_own_bytes_and_its_words(is_plain: bool, tmp_path: Path) -> None:
    """So the line that a row came from is found by its digest, and a chat that grew behind it is no other revision."""
    chats = {"before": chat()[:3], "grown": chat(), "another question": chat(q1={"text": "another"})}
    rows = {}
    for name, records in chats.items():
        (tmp_path / f"{name}.jsonl").write_text(lines_of(records), "utf-8")
        _, tables = outcome(tmp_path / f"{name}.jsonl", tmp_path / f"out {name}", is_plain=is_plain)
        rows[name] = {row["source_record_id"]: row for row in tables["events"][0]}["a1"]
    line = lines_of(chat()).splitlines()[1].encode()
    assert {row["raw_sha256"] for row in rows.values()} == {hashlib.sha256(line).hexdigest()}
    assert rows["before"] == {**rows["grown"], "source": rows["before"]["source"]}
    assert rows["grown"]["event_id"] != rows["another question"]["event_id"]


def test_a_key_in_escapes_is_seen(tmp_path: Path) -> None:
    """`feedback: null` is a vote taken back, and by column an absent key is null too."""
    text = lines_of(chat(b1={"feedback": None})).replace('"feedback": null', '"feedb\\u0061ck": null')
    assert "\\u0061" in text
    agree(tmp_path, text)


def test_damaged_messages_give_the_same_either_way(tmp_path: Path) -> None:
    for seed in range(25):
        records = list(records_of("librechat"))[:40]
        broken = iter(damaged(tuple(records), "librechat", random.Random(seed)))
        chosen = random.Random(-seed).sample(range(len(records)), 12)
        agree(tmp_path / str(seed), lines_of(next(broken) if at in chosen else one for at, one in enumerate(records)))


def test_sound_messages_are_read_by_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So what the others compare is not one way with itself."""
    monkeypatch.setattr("feedback.ingest.drafted.Drafted._read_piece", pytest.fail)
    (tmp_path / "in.jsonl").write_text(lines_of([*records_of("librechat"), *chat()]), "utf-8")
    ingest([SourceConfig(path=str(tmp_path / "in.jsonl"), format="librechat")], tmp_path / "out")


def test_what_records_without_an_id_are_known_by_hashes_all_that_they_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """sha256 of the own digest and of each text behind its size; of the own bytes alone where nothing was found."""
    own = ["0f" * 32, "a1" * 32, "00" * 32]
    found = {0: [b"ab", b""], 2: [b"x" * 3000]}
    expected = list(own)
    for number, texts in found.items():
        parts = [bytes.fromhex(own[number]), *(b"%d:%b" % (len(text), text) for text in texts)]
        expected[number] = hashlib.sha256(b"".join(parts)).hexdigest()
    for most in (1, 1 << 20):
        monkeypatch.setattr("feedback.ingest.known_by._MOST_BYTES", most)
        known = KnownDigests(pl.Series(own))
        for number, texts in found.items():
            known.add(number, [memoryview(text) for text in texts])
        assert known.digests().to_list() == expected


@pytest.mark.parametrize("before", [0, 1, 126, 127, 128, 129, 300])
def test_lines_that_hold_some_bytes_are_marked(before: int) -> None:
    """Wherever they stand among the bytes that are looked at together."""
    text = b"a" * before + b'"fe"\n' + b"b" * 200 + b'\n"f\n"fe"'
    lines, found = split_lines(text), np.zeros(4, dtype=np.bool_)
    sought, other, third = (np.frombuffer(sign, np.uint8) for sign in (b'"fe"', b"no", b'"fx'))
    for signs in ((sought, other, other), (other, sought, third), (other, third, sought)):
        found[:] = False
        mark_lines(np.frombuffer(text, np.uint8), lines.ends, *signs, found)
        assert found.tolist() == [True, False, False, True]
    counts = np.zeros(4, np.int64)
    count_in_lines(np.frombuffer(text, np.uint8), lines.ends, sought, counts)
    assert counts.tolist() == [1, 0, 0, 1]
