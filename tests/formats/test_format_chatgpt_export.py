"""A ChatGPT export: feedback beside its conversation, walked by parent, and what in the tree is a turn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from feedback.config import SourceConfig
from feedback.engine import read_rows
from feedback.formats import EventDraft, find_format
from feedback.ingest import ingest
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from schemas.errors import RecordRejectedError
from schemas.reasons import RejectReason
from tests.format_records import bot, parse, reason_of, user


def node(name: str, parent: str | None, role: str | None, **fields: Any) -> dict[str, Any]:
    """A node whose text is its id; without a role, one without a message."""
    message = {
        "id": name,
        "author": {"role": role, "name": None, "metadata": {}},
        "content": {"content_type": "text", "parts": [name]},
        "recipient": "all",
        "metadata": {"model_slug": "m"},
        **fields,
    }
    return {"id": name, "parent": parent, "children": [], "message": None if role is None else message}


def mapping(**changes: dict[str, Any]) -> dict[str, Any]:
    """root -> system -> q1 -> (a1, b1), a1 -> q2 -> call -> output -> a2."""
    nodes = [
        node("root", None, None),
        node("sys", "root", "system", content={"content_type": "text", "parts": [""]}),
        node("q1", "sys", "user"),
        node("a1", "q1", "assistant"),
        node("b1", "q1", "assistant"),
        node("q2", "a1", "user"),
        node("call", "q2", "assistant", recipient="python", content={"content_type": "code", "text": "1 + 1"}),
        node("output", "call", "tool", content={"content_type": "execution_output", "text": "2"}),
        node("a2", "output", "assistant"),
    ]
    made = {one["id"]: one for one in nodes}
    for name, fields in changes.items():
        made[name]["message"] |= fields
    return made


def rated(message_id: str = "a1", rating: Any = "thumbsUp", **fields: Any) -> dict[str, Any]:
    conversation = {"title": "t", "conversation_id": "c1", "id": "c1", "mapping": fields.pop("mapping", mapping())}
    return {
        "message_id": message_id,
        "conversation_id": "c1",
        "user_id": "user-1",
        "rating": rating,
        "content": "{}",
        "conversation": conversation,
        **fields,
    }


def test_feedback_beside_its_conversation_becomes_an_event() -> None:
    content = json.dumps({"tags": ["not-helpful", "false"], "text": "No."})
    record = rated("a1", "thumbsDown", content=content, create_time="2026-01-05T09:51:39+00:00", update_time=1767606700)
    assert parse("chatgpt_export", record) == EventDraft(
        prompt=[user("q1")],
        completion=[bot("a1")],
        signal="thumb",
        raw_value="thumbsDown",
        label=False,
        record_id="a1",
        rater="user-1",
        event_time="2026-01-05T09:51:39+00:00",
        updated_time=1767606700,
        model_id="m",
        conversation_id="c1",
        message_id="a1",
        reason_codes=("not-helpful", "false"),
        comment="No.",
    )


def test_a_new_answer_has_the_prompt_of_the_old_one_and_later_turns_are_not_read() -> None:
    first, second = parse("chatgpt_export", rated("a1")), parse("chatgpt_export", rated("b1", "thumbsDown"))
    assert first.prompt == second.prompt == [user("q1")]
    assert second.completion == [bot("b1")]


def test_calls_of_tools_are_no_turns_and_flagged() -> None:
    draft = parse("chatgpt_export", rated("a2"))
    assert draft.prompt == [user("q1"), bot("a1"), user("q2")]
    assert (draft.completion, draft.flags) == ([bot("a2")], ("tool_steps",))


def test_parts_of_an_answer_between_calls_are_one_answer() -> None:
    nodes = mapping()
    nodes["say"] = node("say", "q2", "assistant")
    nodes["call"]["parent"] = "say"
    assert parse("chatgpt_export", rated("a2", mapping=nodes)).completion == [bot("say"), bot("a2")]


def test_instructions_thoughts_and_hidden_messages_are_no_turns() -> None:
    nodes = mapping()
    extra = [
        node("ci", "sys", "user", content={"content_type": "user_editable_context", "user_profile": "p"}),
        node("hid", "ci", "user", metadata={"is_visually_hidden_from_conversation": True}),
        node("th", "q1", "assistant", content={"content_type": "thoughts", "thoughts": []}),
    ]
    nodes |= {one["id"]: one for one in extra}
    nodes["q1"]["parent"], nodes["a1"]["parent"] = "hid", "th"
    draft = parse("chatgpt_export", rated("a1", mapping=nodes))
    assert (draft.prompt, draft.completion, draft.flags) == ([user("q1")], [bot("a1")], ("custom_instructions",))


@pytest.mark.parametrize(
    ("content", "tags", "comment"),
    [
        ('{"tags": ["a"]}', ("a",), None),
        ('{"text": "t"}', (), "t"),
        ("Very good.", (), "Very good."),
        ('"Very good."', (), '"Very good."'),
        (None, (), None),
        ("", (), None),
    ],
)
def test_content_is_json_in_a_text_or_else_a_comment(
    content: str | None, tags: tuple[str, ...], comment: str | None
) -> None:
    draft = parse("chatgpt_export", rated(content=content))
    assert (draft.reason_codes, draft.comment) == (tags, comment)


@pytest.mark.parametrize(
    ("rating", "label"), [("thumbsUp", True), ("thumbs_up", True), ("thumbsDown", False), ("thumbs_down", False)]
)
def test_a_rating_is_one_of_two_words_in_two_spellings(rating: str, label: bool) -> None:
    assert parse("chatgpt_export", rated(rating=rating)).label is label


@pytest.mark.parametrize("rating", ["up", "ThumbsUp", 1, True, "", [], {}])
def test_any_other_rating_is_unknown(rating: object) -> None:
    assert reason_of("chatgpt_export", rated(rating=rating)) == RejectReason.UNKNOWN_LABEL


def test_an_id_stands_in_for_the_message_id_of_other_versions() -> None:
    assert parse("chatgpt_export", rated(message_id=None, id="b1")).message_id == "b1"


def test_feedback_without_its_conversation_says_which_file_is_needed() -> None:
    with pytest.raises(RecordRejectedError) as caught:
        list(find_format("chatgpt_export").parse(rated(conversation=None)))
    assert caught.value.reason == RejectReason.MISSING_FIELD
    assert (
        "conversations (conversations.json), by 'conversation_id', lie in another file, which --join"
        in caught.value.detail
    )


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"title": "t"}, RejectReason.MISSING_FIELD),
        (rated(message_id=None), RejectReason.MISSING_FIELD),
        (rated(conversation={}), RejectReason.MISSING_FIELD),
        (rated(conversation={"title": "t"}), RejectReason.MISSING_FIELD),
        (rated(conversation=[1]), RejectReason.WRONG_TYPE),
        (rated(mapping={"a1": 3}), RejectReason.BROKEN_THREAD),
        (rated("zz"), RejectReason.BROKEN_THREAD),
        (rated(mapping={"a1": node("a1", "zz", "assistant")}), RejectReason.BROKEN_THREAD),
        (rated("q1"), RejectReason.BAD_ROLES),
        (rated("call"), RejectReason.BAD_ROLES),
        (rated("root"), RejectReason.BAD_ROLES),
        (rated(mapping=mapping(a1={"content": {"content_type": "text"}})), RejectReason.MISSING_FIELD),
        (rated(mapping=mapping(a1={"content": {"content_type": "text", "parts": "x"}})), RejectReason.WRONG_TYPE),
        (
            rated(mapping=mapping(q1={"content": {"content_type": "multimodal_text", "parts": [{"a": 1}, "x"]}})),
            RejectReason.WRONG_TYPE,
        ),
        (rated(mapping=mapping(a1={"author": "assistant"})), RejectReason.WRONG_TYPE),
        (rated(content='{"tags": 3}'), RejectReason.WRONG_TYPE),
        (rated(user_id=[1]), RejectReason.WRONG_TYPE),
    ],
)
def test_a_record_that_breaks_a_rule_is_rejected(record: dict[str, Any], reason: str) -> None:
    assert reason_of("chatgpt_export", record) == reason


def test_a_file_of_feedback_is_accounted_for_and_no_user_id_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    records = [rated("a1"), rated("b1", "thumbsDown"), rated("a2", "meh"), rated("zz")]
    path = tmp_path / "message_feedback.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    result = ingest([SourceConfig(path=str(path), format="chatgpt_export")], tmp_path / "out", max_rejected_share=0.5)
    assert (result.report.rows_in, result.report.rows_kept) == (4, 2)
    assert result.rejected == {"broken_thread": 1, "unknown_label": 1}
    events = pl.concat(map(read_rows, result.events))
    assert events["prompt_hash"].n_unique() == 1
    assert events["rater_key"].n_unique() == 1
    assert b"user-1" not in b"".join(file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file())
