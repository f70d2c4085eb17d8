"""Phoenix: annotations with their span, from the REST API and from data frames; attributes in any shape."""

from __future__ import annotations

from typing import Any

import pytest

from feedback.formats import FORMATS, EventDraft
from feedback.formats.drafts import Join
from feedback.formats.parts.attributes import find_attribute, plain_attributes
from schemas.reasons import RejectReason
from tests.format_records import bot, user
from tests.scored import draft, ignored, reason_of, rejection

MAP = """
[scores.thumb]
labels = { thumbs-up = "up", thumbs-down = "down", 1 = "up", 0 = "down" }
rater_kind = "end_user"
[scores.quality]
up_from = 0.7
down_to = 0.2
"""
FLAT: dict[str, Any] = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "m-1",
    "session.id": "c1",
    "llm.input_messages.0.message.role": "system",
    "llm.input_messages.0.message.content": "s",
    "llm.input_messages.1.message.role": "user",
    "llm.input_messages.1.message.contents.0.message_content.type": "text",
    "llm.input_messages.1.message.contents.0.message_content.text": "q",
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": "a",
    "input.value": '{"messages": []}',
    "output.value": "other",
}
NESTED: dict[str, Any] = {
    "llm": {
        "model_name": "m-1",
        "input_messages": [
            {"message": {"role": "system", "content": "s"}},
            {"message": {"role": "user", "contents": [{"message_content": {"type": "text", "text": "q"}}]}},
        ],
        "output_messages": [{"message": {"role": "assistant", "content": "a"}}],
    },
    "session": {"id": "c1"},
}
SPAN: dict[str, Any] = {
    "id": "U3Bhbg==",
    "name": "ChatCompletion",
    "context": {"trace_id": "t" * 32, "span_id": "a" * 16},
    "span_kind": "LLM",
    "attributes": FLAT,
}
ANNOTATION: dict[str, Any] = {
    "id": "U3BhbkFubm90YXRpb246MQ==",
    "span_id": "a" * 16,
    "name": "thumb",
    "annotator_kind": "HUMAN",
    "result": {"label": "thumbs-up", "score": 1.0, "explanation": "nice"},
    "metadata": {},
    "identifier": "ui",
    "created_at": "2026-01-05T09:51:39+00:00",
    "updated_at": "2026-01-05T09:59:00+00:00",
    "source": "APP",
    "user_id": "VXNlcjox",
    "span": SPAN,
}
EVENT = EventDraft(
    prompt=[{"role": "system", "content": "s"}, user("q")],
    completion=[bot("a")],
    signal="thumb",
    raw_value="thumbs-up",
    label=True,
    record_id=f"{'a' * 16}/thumb/ui",
    rater="VXNlcjox",
    rater_kind="end_user",
    event_time="2026-01-05T09:51:39+00:00",
    updated_time="2026-01-05T09:59:00+00:00",
    model_id="m-1",
    conversation_id="c1",
    message_id="a" * 16,
    comment="nice",
)


def annotation(**changes: Any) -> dict[str, Any]:
    return {**ANNOTATION, **changes}


@pytest.mark.parametrize("attributes", [FLAT, NESTED], ids=["flat", "nested"])
def test_an_annotation_and_its_span_are_one_event(attributes: dict[str, Any]) -> None:
    assert draft("phoenix", MAP, annotation(span={**SPAN, "attributes": attributes})) == EVENT


def test_rows_of_data_frames_have_dots_in_their_keys() -> None:
    span = {"context.span_id": "a" * 16, **{f"attributes.{key}": value for key, value in FLAT.items() if "." in key}}
    messages = NESTED["llm"]["input_messages"]
    span = {key: value for key, value in span.items() if "input_messages" not in key}
    span["attributes.llm.input_messages"] = [
        {"message.role": one["message"]["role"], "message.content": text}
        for one, text in zip(messages, "sq", strict=True)
    ]
    row = {key: value for key, value in ANNOTATION.items() if key not in ("name", "result")}
    row |= {"annotation_name": "thumb", "result.label": "thumbs-up", "result.score": 1.0, "result.explanation": "nice"}
    assert draft("phoenix", MAP, {**row, "span": span}) == EVENT


def test_the_label_comes_first_and_the_score_where_there_is_none() -> None:
    for result, label in (
        ({"label": "thumbs-down", "score": 1}, False),
        ({"label": None, "score": 0.0}, False),
        ({"score": 1}, True),
    ):
        assert draft("phoenix", MAP, annotation(result=result)).label is label
    rated = [draft("phoenix", MAP, annotation(name="quality", result={"score": score})) for score in (0.9, 0.5, 0.1)]
    assert [one.label for one in rated] == [True, None, False]
    assert reason_of("phoenix", MAP, annotation(result={"label": "meh", "score": 0.5})) == RejectReason.UNKNOWN_LABEL
    assert reason_of("phoenix", MAP, annotation(result=None)) == RejectReason.MISSING_FIELD


@pytest.mark.parametrize(("kind", "rater_kind"), [("HUMAN", "end_user"), ("LLM", "llm_judge"), ("CODE", "code")])
def test_machines_are_marked(kind: str, rater_kind: str) -> None:
    assert draft("phoenix", MAP, annotation(annotator_kind=kind, user_id=None)).rater_kind == rater_kind


def test_the_same_span_name_and_identifier_are_one_record() -> None:
    """So that the later of two is its revision, and another identifier is another judgement."""
    ids = [
        draft("phoenix", MAP, annotation(**change)).record_id
        for change in ({"id": "x", "updated_at": "2026-02-01"}, {"identifier": ""}, {"identifier": "bot"}, {})
    ]
    assert ids == [EVENT.record_id, f"{'a' * 16}/thumb/", f"{'a' * 16}/thumb/bot", EVENT.record_id]


def test_values_are_read_where_there_are_no_messages() -> None:
    for attributes in (
        {"input.value": "q", "output.value": "a"},
        {"input": {"value": '{"messages": [{"role": "user", "content": "q"}]}', "mime_type": "application/json"}}
        | {"output": {"value": '{"choices": [{"message": {"role": "assistant", "content": "a"}}]}'}},
    ):
        event = draft("phoenix", MAP, annotation(span={**SPAN, "attributes": attributes}))
        assert (event.prompt, event.completion) == ([user("q")], [bot("a")])
    odd = {**SPAN, "attributes": {"input.value": '{"question": "q"}', "output.value": "a"}}
    assert reason_of("phoenix", MAP, annotation(span=odd)) == RejectReason.WRONG_TYPE
    known = f"{MAP}[texts]\nprompt = 'attributes[\"input.value\"].question'\n"
    assert draft("phoenix", known, annotation(span=odd)).prompt == [user("q")]


def test_annotations_of_documents_and_sessions_are_of_no_answer() -> None:
    for change in ({"document_position": 0}, {"span_id": None, "session_id": "c1"}):
        assert ignored("phoenix", MAP, annotation(**change)) == ["annotations of documents or sessions"]


def test_an_annotation_of_a_trace_is_read_with_the_span_that_the_map_joins() -> None:
    event = draft("phoenix", MAP, annotation(span_id=None, trace_id="t" * 32))
    assert (event.label, event.record_id) == (True, f"{'t' * 32}/thumb/ui")


TOOL = {"llm": {"input_messages": [{"message": {"role": "assistant", "tool_calls": [{"tool_call": {"id": "1"}}]}}]}}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"annotator_kind": None}, RejectReason.MISSING_FIELD),
        ({"annotator_kind": "ALIEN"}, RejectReason.RULE_VIOLATION),
        ({"name": None}, RejectReason.MISSING_FIELD),
        ({"span_id": None, "span": None}, RejectReason.MISSING_FIELD),
        ({"span": None}, RejectReason.MISSING_FIELD),
        ({"span": "x"}, RejectReason.WRONG_TYPE),
        ({"span": {}}, RejectReason.MISSING_FIELD),
        ({"span": {"attributes": {**TOOL, "output.value": "a"}}}, RejectReason.WRONG_TYPE),
        ({"user_id": 1.5}, RejectReason.WRONG_TYPE),
        ({"result": {"label": "thumbs-up", "explanation": 3}}, RejectReason.WRONG_TYPE),
    ],
)
def test_an_annotation_that_is_not_in_the_format_is_rejected(change: dict[str, Any], reason: str) -> None:
    assert reason_of("phoenix", MAP, annotation(**change)) == reason


def test_an_annotation_alone_says_which_file_it_lacks() -> None:
    assert "the export of the spans; --join FILE names it" in rejection("phoenix", MAP, annotation(span=None))[1]
    assert FORMATS["phoenix"].join == Join(what="spans", key="span_id", other="context.span_id", into="span")


def test_attributes_are_found_in_every_way_to_write_them() -> None:
    assert find_attribute({"a": {"b": {"c": 1}}}, "a.b.c") == 1
    assert find_attribute({"a.b": {"c": 1}}, "a.b.c") == 1
    assert find_attribute({"a": {"b.c": 1}}, "a.b.c") == 1
    assert find_attribute({"a.b.10": "z", "a.b.9": "y"}, "a.b") == ["y", "z"]
    assert find_attribute({"a.b": None, "a.b.c": 1}, "a.b") == {"c": 1}
    assert find_attribute({"x.a": 1, "x.a.b": 2}, "x") == {"a": {"b": 2}}
    assert find_attribute({"a": 1}, "a.b") is None
    assert find_attribute({}, "a") is None
    values = [
        ("s", {"stringValue": "x"}),
        ("b", {"boolValue": False}),
        ("f", {"double_value": 0.5}),
        ("i", {"intValue": "-7"}),
        ("l", {"arrayValue": {"values": [{"stringValue": "x"}, {"intValue": 1}]}}),
        ("o", {"kvlistValue": {"values": [{"key": "k", "value": {"boolValue": True}}]}}),
        ("n", {}),
        ("e", {"arrayValue": {}}),
    ]
    assert plain_attributes([{"key": key, "value": value} for key, value in values]) == {
        "s": "x",
        "b": False,
        "f": 0.5,
        "i": -7,
        "l": ["x", 1],
        "o": {"k": True},
        "n": None,
        "e": [],
    }
    assert plain_attributes("x") == plain_attributes([1, {"key": 3}]) == {}
