"""Records that find each other in their own file give the same rows wherever they lie, and however it is cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.config import SourceConfig
from feedback.engine import LocalEngine, StagedEngine, read_rows
from feedback.formats import FORMATS
from feedback.ingest import groups, ingest, source_blocks, source_files
from feedback.ingest.groups import Groups, find_groups
from feedback.ingest.join_table import JoinTask, make_join_table
from schemas.errors import FormatMismatchError

pytestmark = pytest.mark.usefixtures("rater_key")

JOIN = FORMATS["librechat"].join
ROOT = "00000000-0000-0000-0000-000000000000"
ODD = ["", " ", "no json", "[1]", '{"conversationId": "c0", "messageId": "x", "messageId": "x"}', '{"a": 1}']
CHANGES: list[dict[str, Any]] = [
    {"conversationId": None},
    {"conversationId": "c0"},
    {"conversationId": " "},
    {"conversationId": 7},
    {"messageId": "a1"},
    {"messageId": None},
    {"parentMessageId": "gone"},
    {"parentMessageId": "q0"},
    {"content": [{"type": "text", "text": "said"}]},
    {"text": " "},
    {"error": True},
    {"feedback": None},
    {"feedback": {"rating": "ok"}},
    {"messages": []},
]


def message(chat: int, place: int, **fields: Any) -> dict[str, Any]:
    """The message at a place of a chat, questions and answers in turn; every other answer is judged."""
    is_user = place % 2 == 0
    said = {"messageId": f"{'qa'[place % 2]}{place}", "conversationId": f"c{chat}", "isCreatedByUser": is_user}
    said["parentMessageId"] = f"{'aq'[place % 2]}{place - 1}" if place else ROOT
    vote = {"feedback": {"rating": "thumbsUp"}} if place % 4 == 1 else {}
    return {**said, "text": f"{chat} {place}", "user": "u", "updatedAt": "2026-01-05T09:51:39.000Z", **vote, **fields}


def lines_of(records: Sequence[Any], end: str = "\n") -> str:
    return "\n".join(one if isinstance(one, str) else json.dumps(one) for one in records) + end


def cut(block_bytes: int) -> Groups:
    """Blocks cut between groups, whatever the first lines say."""
    assert JOIN is not None
    return Groups(block_bytes, partial(groups._behind_last_group, id_path=(JOIN.other,)))


def outcome(paths: Sequence[Path], out: Path, found: Groups | None, engine: Any = None) -> Any:
    """All that a run says, and the rows that it wrote; the error where there is one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source_blocks, "find_groups", lambda *_: found)
        try:
            sources = [SourceConfig(path=str(path), format="librechat") for path in paths]
            made = ingest(sources, out, max_rejected_share=1.0, engine=engine)
        except FormatMismatchError as error:
            return str(error)
    tables = [[row for path in getattr(made, name) for row in read_rows(path).to_dicts()] for name in TABLES]
    return made.report, made.rejected, made.source_files, made.counts, tables


TABLES = ("events", "event_keys", "quarantine")


@st.composite
def logs(draw: st.DrawFn) -> list[Any]:
    """Chats, most of them whole and behind each other, with lines and messages that are odd."""
    chats = [
        [message(chat, place) for place in range(draw(st.integers(1, 7)))] for chat in range(draw(st.integers(1, 6)))
    ]
    records: list[Any] = [one for chat in chats for one in chat]
    if draw(st.booleans()):
        records = draw(st.permutations(records))
    for place in draw(st.lists(st.integers(0, len(records) - 1), max_size=3)):
        records[place] = {**records[place], **draw(st.sampled_from(CHANGES))}
    for place in draw(st.lists(st.integers(0, len(records)), max_size=3)):
        records.insert(place, draw(st.sampled_from([*ODD, message(0, 3), {"conversationId": "c1", "messages": []}])))
    return records


@given(logs(), st.integers(1, 3000), st.sampled_from(["\n", "", "\n \n"]))
@settings(max_examples=30, deadline=None)
def test_the_size_of_blocks_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, records: list[Any], block_bytes: int, end: str
) -> None:
    """Rows in their order, reasons, places, digests and counts are those of one block with a table."""
    folder = tmp_path_factory.mktemp("groups")
    path = folder / "in.jsonl"
    path.write_text(lines_of(records, end), "utf-8")
    expected = outcome([path], folder / "table", None)
    assert outcome([path], folder / "cut", cut(block_bytes)) == expected
    halves = [folder / "1.jsonl", folder / "2.jsonl"]
    for half, part in zip(halves, (records[: len(records) // 2], records[len(records) // 2 :]), strict=True):
        half.write_text(lines_of(part, end), "utf-8")
    assert outcome(halves, folder / "halves", cut(block_bytes)) == outcome(halves, folder / "tables", None)


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> list[JoinTask]:
    """The tables that are made."""
    made: list[JoinTask] = []

    def make(task: JoinTask) -> Any:
        made.append(task)
        return make_join_table(task)

    monkeypatch.setattr(source_files, "make_join_table", make)
    return made


CHATS = [message(chat, place) for chat in range(9) for place in range(6)]
LINE = len(json.dumps(CHATS[0])) + 1
CASES: dict[str, tuple[list[Any], bool]] = {
    "chats behind each other": (CHATS, False),
    "an answer before its question": ([*CHATS[:4], CHATS[5], CHATS[4], *CHATS[6:]], False),
    "a parent that is nowhere": ([*CHATS, message(9, 3), message(9, 5)], False),
    "siblings at the end of a block": (
        [one for at, one in enumerate(CHATS) for one in (one, {**one, "messageId": f"b{at}"})],
        False,
    ),
    "a part among them": ([*CHATS[:9], {**CHATS[9], "content": [{"type": "text", "text": "x"}]}, *CHATS[10:]], False),
    "lines that are odd": ([*ODD[:4], *CHATS[:12], *ODD[:4], *CHATS[12:]], False),
    "a parent in another block": ([CHATS[0], *CHATS[6:], *CHATS[1:6]], True),
    "an id in two blocks": ([*CHATS, {**CHATS[3], "text": "again"}], True),
    "an export of a chat in another block": ([*CHATS, {"conversationId": "c0", "messages": CHATS[:6]}], True),
    "a vote taken back later": ([*CHATS, {**CHATS[1], "feedback": None}], True),
}


@pytest.mark.parametrize("end", ["\n", ""])
@pytest.mark.parametrize("name", CASES)
def test_a_table_is_made_only_where_a_group_lies_in_two_blocks(
    name: str, end: str, tmp_path: Path, tables: list[JoinTask]
) -> None:
    """Some chats fit into a block, and a border lies within one."""
    records, needs_table = CASES[name]
    path = tmp_path / "in.jsonl"
    path.write_text(lines_of(records, end), "utf-8")
    found = outcome([path], tmp_path / "cut", cut(20 * LINE))
    assert len(tables) == needs_table
    assert found == outcome([path], tmp_path / "table", None)
    assert found[0].rows_kept > 10
    assert not (tmp_path / "cut" / "join").exists()


@pytest.mark.parametrize("name", ["chats behind each other", "a parent in another block"])
def test_a_plan_goes_on_with_what_it_found_out(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second run of a plan takes everything from the first, whether that needed a table or not."""
    path, found = tmp_path / "in.jsonl", cut(20 * LINE)
    path.write_text(lines_of(CASES[name][0]), "utf-8")
    engine = StagedEngine(LocalEngine(), tmp_path / "plans", "key")
    runs = [outcome([path], engine.folder("ingest"), found, engine)]
    seen: list[str] = []
    monkeypatch.setattr(
        LocalEngine, "run", lambda _, stage_name, kernel, tasks, **__: _spied(seen, stage_name, kernel, tasks)
    )
    runs.append(outcome([path], engine.folder("ingest"), found, engine))
    assert runs[0] == runs[1]
    assert {stage_name.removesuffix("-digest") for stage_name in seen} <= {"ingest", "join"}
    assert all(stage_name.endswith("-digest") for stage_name in seen)
    assert runs[0][:2] == outcome([path], tmp_path / "table", None)[:2]


def _spied(seen: list[str], name: str, kernel: Any, tasks: Any) -> list[Any]:
    seen.append(name)
    return [kernel(task) for task in tasks]


def test_a_block_that_could_not_hold_what_its_records_find_is_read_with_a_table(
    tmp_path: Path, tables: list[JoinTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first chats are short, and a later one is long: a block of the size that suits the first held too much."""
    monkeypatch.setattr("feedback.ingest.block_sizes.BLOCK_BYTES", 40 * LINE)
    monkeypatch.setattr("feedback.ingest.block_sizes._LEAST_RECORDS", 4)
    path = tmp_path / "in.jsonl"
    path.write_text(lines_of([*CHATS, *(message(9, place) for place in range(100))]), "utf-8")
    found = outcome([path], tmp_path / "cut", cut(200 * LINE))
    assert len(tables) == 1
    assert found == outcome([path], tmp_path / "table", None)


def test_first_lines_tell_whether_groups_stand_together(tmp_path: Path) -> None:
    assert JOIN is not None
    texts = {
        "together": lines_of(CHATS),
        "mixed": lines_of(CHATS[::2] + CHATS[1::2]),
        "without ids": lines_of([{"a": 1}] * 9),
        "nothing": "",
        "array": json.dumps(CHATS),
        "exports": lines_of([{"conversationId": f"c{chat}", "messages": []} for chat in range(9)]),
    }
    found = {}
    for name, text in texts.items():
        (tmp_path / name).write_text(text, "utf-8")
        found[name] = find_groups([tmp_path / name], JOIN) is not None
    assert found == {**dict.fromkeys(texts, False), "together": True, "exports": True}
    assert find_groups([tmp_path / "together", tmp_path / "mixed"], JOIN) is None
    assert find_groups([], JOIN) is None


def test_blocks_are_smaller_where_groups_are_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a table: of so many records that all they find, one in eight, is about the size of a usual block."""
    assert JOIN is not None
    monkeypatch.setattr("feedback.ingest.block_sizes.BLOCK_BYTES", 1 << 16)
    monkeypatch.setattr("feedback.ingest.block_sizes._LEAST_RECORDS", 1)
    sizes = []
    for count in (4, 40):
        path = tmp_path / f"{count}.jsonl"
        path.write_text(lines_of([message(chat, place) for chat in range(40) for place in range(count)]), "utf-8")
        found = find_groups([path], JOIN)
        assert found is not None
        sizes.append(found.block_bytes or 0)
    assert 7 < sizes[0] / sizes[1] < 13
