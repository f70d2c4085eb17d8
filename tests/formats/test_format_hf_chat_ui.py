"""Hugging Face's chat-ui: every scored answer of a conversation, with its branch where the tree was kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedback.config import SourceConfig
from feedback.engine import read_rows
from feedback.formats import EventDraft, find_format
from feedback.ingest import ingest
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from schemas.reasons import RejectReason
from tests.format_records import bot, left_out, parse, reason_of, user


def said(speaker: str, text: str, score: Any = None, **fields: Any) -> dict[str, Any]:
    return {"from": speaker, "content": text, **({} if score is None else {"score": score}), **fields}


def export(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"title": "t", "created_at": "2026-01-05T09:00:00Z", "updated_at": "2026-01-05T10:00:00Z", **fields} | {
        "messages": list(messages)
    }


def drafts(record: dict[str, Any]) -> list[EventDraft]:
    return [draft for draft in find_format("hf_chat_ui").parse(record) if isinstance(draft, EventDraft)]


def test_every_scored_answer_is_an_event_about_its_own_turn() -> None:
    record = export(said("user", "q1"), said("assistant", "a1", 1), said("user", "q2"), said("assistant", "a2", -1))
    first, second = drafts(record)
    assert first == EventDraft(
        prompt=[user("q1")],
        completion=[bot("a1")],
        signal="thumb",
        raw_value=1,
        label=True,
        updated_time="2026-01-05T10:00:00Z",
    )
    assert (second.prompt, second.label) == ([user("q1"), bot("a1"), user("q2")], False)


def test_chats_of_other_makers_are_not_taken_for_ones_without_a_vote() -> None:
    """Whose messages have a role where those of chat-ui have `from`."""
    assert reason_of("hf_chat_ui", {"messages": [user("q"), bot("a")]}) == RejectReason.MISSING_FIELD
    assert left_out("hf_chat_ui", export(said("user", "q"))) == left_out("hf_chat_ui", export())


def test_answers_in_a_row_are_answers_to_one_prompt() -> None:
    """The export writes a new answer to the same question behind the old one."""
    first, second = drafts(export(said("user", "q"), said("assistant", "a", -1), said("assistant", "b", 1)))
    assert first.prompt == second.prompt == [user("q")]
    assert (first.completion, second.completion) == ([bot("a")], [bot("b")])


def test_a_vote_behind_two_answers_of_which_one_was_gone_on_from_is_rejected() -> None:
    record = export(
        said("user", "q"), said("assistant", "a"), said("assistant", "b"), said("user", "r"), said("assistant", "c", 1)
    )
    assert reason_of("hf_chat_ui", record) == RejectReason.BROKEN_THREAD


def tree(**fields: Any) -> dict[str, Any]:
    """system -> q1 -> (a1, b1), a1 -> q2 -> a2; b1 and a2 are scored."""
    edges = {
        "s": (),
        "q1": ("s",),
        "a1": ("s", "q1"),
        "b1": ("s", "q1"),
        "q2": ("s", "q1", "a1"),
        "a2": ("s", "q1", "a1", "q2"),
    }
    speakers = {"s": "system", "q": "user", "a": "assistant", "b": "assistant"}
    messages = [
        said(speakers[name[0]], "" if name == "s" else name, id=name, ancestors=list(above), children=[])
        for name, above in edges.items()
    ]
    messages[3]["score"], messages[5]["score"] = 1, -1
    head = {
        "_id": {"$oid": "c1"},
        "model": "m",
        "userId": {"$oid": "u1"},
        "updatedAt": {"$date": "2026-01-05T10:00:00Z"},
    }
    return {**head, "messages": messages, **fields}


def test_the_database_keeps_the_tree_and_the_prompt_is_the_way_down_to_the_answer() -> None:
    sibling, later = drafts(tree())
    assert sibling == EventDraft(
        prompt=[user("q1")],
        completion=[bot("b1")],
        signal="thumb",
        raw_value=1,
        label=True,
        record_id="b1",
        rater="u1",
        updated_time="2026-01-05T10:00:00Z",
        model_id="m",
        conversation_id="c1",
        message_id="b1",
    )
    assert (later.prompt, later.completion, later.label) == ([user("q1"), bot("a1"), user("q2")], [bot("a2")], False)


def test_instructions_are_kept_where_there_are_any_and_files_and_stops_flagged() -> None:
    record = tree()
    record["messages"][0]["content"] = "Be short."
    record["messages"][1]["files"] = [{"type": "hash", "name": "n", "value": "v", "mime": "image/png"}]
    record["messages"][3]["interrupted"] = True
    draft = drafts(record)[0]
    assert draft.prompt == [{"role": "system", "content": "Be short."}, user("q1")]
    assert draft.flags == ("attachment", "unfinished")


def test_a_score_of_zero_is_a_vote_taken_back() -> None:
    draft = parse("hf_chat_ui", export(said("user", "q"), said("assistant", "a", 0, id="m1")))
    assert (draft.op, draft.label, draft.record_id) == ("retract", None, "m1")


@pytest.mark.parametrize("score", [2, -2, 0.5, 1.0, True, "1", [], {}])
def test_any_other_score_is_unknown(score: object) -> None:
    record = export(said("user", "q"), said("assistant", "a", score))
    assert reason_of("hf_chat_ui", record) == RejectReason.UNKNOWN_LABEL


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"title": "t"}, RejectReason.MISSING_FIELD),
        (export(said("user", "q", 1)), RejectReason.BAD_ROLES),
        (export(said("robot", "q"), said("assistant", "a", 1)), RejectReason.BAD_ROLES),
        (export(said("user", "q"), said("assistant", "a", 1, ancestors=["zz"])), RejectReason.BROKEN_THREAD),
        (export(said("user", "q"), said("assistant", "a", 1, ancestors="zz")), RejectReason.WRONG_TYPE),
        ({"messages": "x"}, RejectReason.WRONG_TYPE),
        ({"messages": [1]}, RejectReason.WRONG_TYPE),
    ],
)
def test_a_record_that_breaks_a_rule_is_rejected(record: dict[str, Any], reason: str) -> None:
    assert reason_of("hf_chat_ui", record) == reason


def test_the_parquet_export_and_lines_of_it_give_the_same_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    records = [
        export(said("user", "q1"), said("assistant", "a1", 1), said("user", "q2"), said("assistant", "a2", -1)),
        export(said("user", "q3"), said("assistant", "a3")),
    ]
    message = pa.struct([("from", pa.string()), ("content", pa.string()), ("score", pa.int8())])
    time = pa.timestamp("ms", tz="UTC")
    schema = pa.schema(
        [("title", pa.string()), ("created_at", time), ("updated_at", time), ("messages", pa.list_(message))]
    )
    rows = [
        {**one, **{key: datetime.fromisoformat(one[key]) for key in ("created_at", "updated_at")}} for one in records
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "in.parquet")
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    frames = []
    for name in ("in.parquet", "in.jsonl"):
        result = ingest([SourceConfig(path=str(tmp_path / name), format="hf_chat_ui")], tmp_path / f"out-{name}")
        assert (result.report.rows_in, result.report.rows_kept) == (2, 2)
        assert result.rejected == {}
        assert result.report.dropped == {"ignored": 1}
        frames.append(
            pl.concat(map(read_rows, result.events)).select("prompt", "completion", "label", "updated_ts", "ts_quality")
        )
    assert frames[0].equals(frames[1])
    assert frames[0]["updated_ts"].to_list() == [datetime(2026, 1, 5, 10, tzinfo=UTC)] * 2
    assert frames[0]["ts_quality"].to_list() == ["exact", "exact"]


def test_a_conversation_without_a_score_is_left_out() -> None:
    record = export(said("user", "q"), said("assistant", "a"))
    assert left_out("hf_chat_ui", record) == ["no message of the conversation has a score"]
