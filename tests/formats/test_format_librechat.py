"""LibreChat: the thread behind a rated message, votes given and taken back, and both of its exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from feedback.config import SourceConfig
from feedback.formats import EventDraft, find_format
from feedback.ingest import ingest
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from schemas.errors import RecordRejectedError
from schemas.reasons import RejectReason
from tests.format_records import bot, left_out, parse, reason_of, user

ROOT = "00000000-0000-0000-0000-000000000000"
UP = {"rating": "thumbsUp"}


def message(name: str, parent: str | None, **fields: Any) -> dict[str, Any]:
    """A message whose text is its id; ids that begin with q are the user's."""
    return {
        "messageId": name,
        "conversationId": "c1",
        "parentMessageId": parent,
        "user": "u1",
        "isCreatedByUser": name.startswith("q"),
        "text": name,
        "createdAt": "2026-01-05T09:51:39.000Z",
        **fields,
    }


def chat(**changes: dict[str, Any]) -> list[dict[str, Any]]:
    """q1 -> (a1, b1), a1 -> q2 -> a2."""
    edges = [("q1", ROOT), ("a1", "q1"), ("b1", "q1"), ("q2", "a1"), ("a2", "q2")]
    return [message(name, parent, **changes.get(name, {})) for name, parent in edges]


def rated(name: str, feedback: Any = UP, **fields: Any) -> dict[str, Any]:
    """The document `name` with its vote, and what its lookup finds."""
    messages = chat(**{name: {"feedback": feedback, **fields}})
    return {**next(one for one in messages if one["messageId"] == name), "messages": messages}


def test_a_document_becomes_an_event_with_all_that_it_says() -> None:
    feedback = {"rating": "thumbsDown", "tag": "not_matched", "text": "No."}
    assert parse("librechat", rated("a2", feedback, model="m", updatedAt="2026-01-06T00:00:00.000Z")) == EventDraft(
        prompt=[user("q1"), bot("a1"), user("q2")],
        completion=[bot("a2")],
        signal="thumb",
        raw_value="thumbsDown",
        label=False,
        record_id="a2",
        rater="u1",
        updated_time="2026-01-06T00:00:00.000Z",
        model_id="m",
        conversation_id="c1",
        message_id="a2",
        reason_codes=("not_matched",),
        comment="No.",
    )


def test_later_turns_and_other_branches_are_not_in_the_prompt_and_siblings_share_it() -> None:
    first, second = parse("librechat", rated("a1")), parse("librechat", rated("b1", {"rating": "thumbsDown"}))
    assert first.prompt == second.prompt == [user("q1")]
    assert (first.completion, second.completion) == ([bot("a1")], [bot("b1")])


def test_a_tag_may_be_an_object() -> None:
    tag = {"key": "accurate_reliable", "label": "l", "direction": "thumbsUp", "icon": "i"}
    assert parse("librechat", rated("a1", {**UP, "tag": tag})).reason_codes == ("accurate_reliable",)


def test_words_lie_in_the_parts_where_there_are_any() -> None:
    parts = [
        {"type": "think", "think": "hm"},
        None,
        {"type": "text", "text": "Hello"},
        {"type": "text", "text": {"value": " there", "annotations": []}},
    ]
    assert parse("librechat", rated("a1", text="", content=parts)).completion == [bot("Hello there")]
    assert parse("librechat", rated("a1", content=[])).completion == [bot("a1")]


def test_thoughts_in_a_text_are_no_part_of_what_is_said() -> None:
    thought = ":::thinking\nhm\n:::\n\n"
    record = rated("a2", text=f"{thought}Yes.")
    record["messages"][0]["text"] = "What does :::thinking::: do?"
    record["messages"][1]["text"] = f"{thought}It thinks."
    draft = parse("librechat", record)
    assert draft.prompt[:2] == [user("What does :::thinking::: do?"), bot("It thinks.")]
    assert draft.completion == [bot("Yes.")]
    assert parse("librechat", rated("a1", text=f"{thought}Yes.", content=[])).completion == [bot("Yes.")]
    assert parse("librechat", rated("a1", text=":::thinking\nhm")).completion == [bot("")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("LibreChat wraps thoughts in :::thinking markers. Then comes the text.", None),
        ("Write :::thinking and ::: on lines of their own.", None),
        ("It begins with\n:::thinking\nand has no end.", None),
        (":::thinking\nhm\n:::note of mine\nhm\n:::\nYes.", "Yes."),
        (":::thinking\r\nhm\r\n:::\r\nYes.", "Yes."),
        ("First.\n:::thinking\nhm\n:::\nThen.", "First.\nThen."),
        ("\n:::thinking\nhm\n:::note\n", ""),
    ],
)
def test_only_whole_lines_begin_and_end_a_thought(text: str, said: str | None) -> None:
    assert parse("librechat", rated("a1", text=text)).completion == [bot(text if said is None else said)]


def test_the_instructions_of_an_export_are_its_first_turn() -> None:
    export = {"conversationId": "c1", "options": {"promptPrefix": "Be kind."}, "messages": chat(a1={"feedback": UP})}
    assert parse("librechat", export).prompt == [{"role": "system", "content": "Be kind."}, user("q1")]
    for options in (None, {}, {"promptPrefix": " "}):
        assert parse("librechat", {**export, "options": options}).prompt == [user("q1")]


@pytest.mark.parametrize("part", [{"type": "tool_call", "tool_call": {}}, {"type": "image_file"}, {"type": "error"}, 3])
def test_a_thread_with_what_is_no_text_is_rejected(part: Any) -> None:
    assert reason_of("librechat", rated("a1", content=[part])) == RejectReason.WRONG_TYPE
    record = rated("a1")
    record["messages"][0]["content"] = [part]
    assert reason_of("librechat", record) == RejectReason.WRONG_TYPE


def test_a_vote_that_is_null_was_taken_back_and_one_that_is_absent_never_given() -> None:
    draft = parse("librechat", rated("a1", None))
    assert (draft.op, draft.label, draft.raw_value, draft.record_id) == ("retract", None, None, "a1")
    assert left_out("librechat", message("a1", "q1")) == ["the message has no feedback"]
    assert left_out("librechat", message("q1", ROOT, feedback=None)) == ["the message has no feedback"]


@pytest.mark.parametrize("rating", ["thumbsup", "up", 1, True, "", [], {}])
def test_any_other_rating_is_unknown(rating: object) -> None:
    assert reason_of("librechat", rated("a1", {"rating": rating})) == RejectReason.UNKNOWN_LABEL


def test_a_document_without_its_conversation_says_which_file_is_needed() -> None:
    with pytest.raises(RecordRejectedError) as caught:
        list(find_format("librechat").parse(message("a1", "q1", feedback=UP)))
    assert caught.value.reason == RejectReason.MISSING_FIELD
    assert caught.value.detail == (
        "field 'messages' is absent or null: the messages of the conversation, by 'conversationId', lie in the same "
        "file, or in one that --join FILE names"
    )


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"title": "t"}, RejectReason.MISSING_FIELD),
        ({**rated("a1"), "messages": 3}, RejectReason.WRONG_TYPE),
        ({**rated("a1"), "messages": [3]}, RejectReason.WRONG_TYPE),
        ({**rated("a1"), "messages": []}, RejectReason.BROKEN_THREAD),
        (rated("a1", parentMessageId="a1"), RejectReason.BROKEN_THREAD),
        (rated("a1", {}), RejectReason.MISSING_FIELD),
        (rated("a1", {"tag": "t"}), RejectReason.MISSING_FIELD),
        (rated("a1", "thumbsUp"), RejectReason.WRONG_TYPE),
        (rated("a1", error=True), RejectReason.RULE_VIOLATION),
        (rated("q2"), RejectReason.BAD_ROLES),
        (rated("a1", isCreatedByUser=None), RejectReason.MISSING_FIELD),
        (rated("a1", user=[1]), RejectReason.WRONG_TYPE),
        (rated("a1", updatedAt={"$date": {"$numberLong": "x"}}), RejectReason.BAD_TIME),
    ],
)
def test_a_record_that_breaks_a_rule_is_rejected(record: dict[str, Any], reason: str) -> None:
    assert reason_of("librechat", record) == reason


def test_extended_json_of_mongodb_is_read() -> None:
    times = {"$date": "2026-01-06T00:00:00Z"}, {"$date": {"$numberLong": "1767657600000"}}
    drafts = [parse("librechat", rated("a1", user={"$oid": "65a1"}, updatedAt=time)) for time in times]
    assert [draft.rater for draft in drafts] == ["65a1", "65a1"]
    assert [draft.updated_time for draft in drafts] == ["2026-01-06T00:00:00Z", 1767657600.0]


def nested(messages: list[dict[str, Any]], parent: str) -> list[dict[str, Any]]:
    below = [one for one in messages if one["parentMessageId"] == parent]
    return [{**one, "children": nested(messages, one["messageId"])} for one in below]


def test_a_conversation_export_gives_an_event_for_each_vote_flat_or_as_a_tree() -> None:
    messages = chat(a1={"feedback": UP}, b1={"feedback": {"rating": "thumbsDown"}}, a2={"feedback": UP})
    head = {"conversationId": "c1", "endpoint": "e", "title": "t", "branches": True}
    shapes = [
        {**head, "messages": messages},
        {**head, "messages": nested(messages, ROOT)},
        {**head, "messagesTree": nested(messages, ROOT)},
    ]
    for shape in shapes:
        drafts: list[Any] = list(find_format("librechat").parse(shape))
        assert {draft.record_id: (draft.label, len(draft.prompt)) for draft in drafts} == {
            "a1": (True, 1),
            "b1": (False, 1),
            "a2": (True, 3),
        }
    assert left_out("librechat", {**head, "messages": chat()}) == ["no message of the conversation has feedback"]


def test_chats_of_other_makers_are_not_taken_for_ones_without_a_vote() -> None:
    """Whose messages have no `messageId`, which all of LibreChat's have."""
    assert reason_of("librechat", {"messages": [user("q"), bot("a")]}) == RejectReason.MISSING_FIELD
    assert left_out("librechat", {"messages": []}) == ["no message of the conversation has feedback"]
    blank = {"messages": [message("q", ROOT), message("a", "q", messageId=" ", feedback=UP)]}
    assert reason_of("librechat", blank) == RejectReason.MISSING_FIELD


def test_files_quotes_and_answers_that_were_cut_off_are_flagged() -> None:
    record = rated("a1", unfinished=True)
    record["messages"][0]["files"] = [{"file_id": "f"}]
    assert parse("librechat", record).flags == ("attachment", "unfinished")


def test_every_record_is_accounted_for_and_no_user_id_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vote changed from one export to the next, one taken back, messages without votes, and a wrong rating."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    records = [
        rated("a1", user="u-canary", updatedAt="2026-01-05T00:00:00Z"),
        rated("a1", {"rating": "thumbsDown"}, user="u-canary", updatedAt="2026-01-06T00:00:00Z"),
        rated("a2", None, user="u-canary", updatedAt="2026-01-06T00:00:00Z"),
        message("q1", ROOT, user="u-canary"),
        rated("b1", {"rating": "meh"}, user="u-canary"),
    ]
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    result = ingest([SourceConfig(path=str(path), format="librechat")], tmp_path / "out", max_rejected_share=0.25)
    assert (result.report.rows_in, result.report.rows_kept) == (5, 3)
    assert result.rejected == {"unknown_label": 1}
    assert result.report.dropped == {"quarantined": 1, "ignored": 1}
    written = b"".join(file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file())
    assert b"u-canary" not in written
