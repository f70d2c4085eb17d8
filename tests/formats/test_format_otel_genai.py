"""OpenTelemetry: evaluation events alone, in their span and in OTLP envelopes, with messages as parts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from feedback.formats import FORMATS, EventDraft
from feedback.formats.drafts import Join
from schemas.reasons import RejectReason
from tests.format_records import bot, user
from tests.scored import draft, drafts, ignored, reason_of, rejection

MAP = """
[scores.Relevance]
labels = { relevant = "up", not_relevant = "down" }
rater_kind = "llm_judge"
[scores.user_feedback]
up_from = 1
down_to = 0
rater_kind = "end_user"
"""
INPUT = [{"role": "user", "parts": [{"type": "text", "content": "q"}]}]
OUTPUT = [{"role": "assistant", "parts": [{"type": "text", "content": "a"}], "finish_reason": "stop"}]
CONTENT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "m",
    "gen_ai.response.model": "m-1",
    "gen_ai.response.id": "resp-1",
    "gen_ai.conversation.id": "c1",
    "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "s"}]),
    "gen_ai.input.messages": json.dumps(INPUT),
    "gen_ai.output.messages": json.dumps(OUTPUT),
}
SPAN: dict[str, Any] = {"name": "chat m", "traceId": "t1", "spanId": "s1", "attributes": CONTENT}
RESULT: dict[str, Any] = {
    "gen_ai.evaluation.name": "Relevance",
    "gen_ai.evaluation.score.value": 0.9,
    "gen_ai.evaluation.score.label": "relevant",
    "gen_ai.evaluation.explanation": "on topic",
    "gen_ai.response.id": "resp-1",
}
LOG: dict[str, Any] = {
    "timeUnixNano": "1767606699000000000",
    "eventName": "gen_ai.evaluation.result",
    "severityNumber": 9,
    "traceId": "t1",
    "spanId": "s9",
    "attributes": RESULT,
    "span": SPAN,
}
EVENT = EventDraft(
    prompt=[{"role": "system", "content": "s"}, user("q")],
    completion=[bot("a")],
    signal="Relevance",
    raw_value="relevant",
    label=True,
    rater_kind="llm_judge",
    event_time=1767606699.0,
    model_id="m-1",
    conversation_id="c1",
    message_id="resp-1",
    comment="on topic",
)


def log(**changes: Any) -> dict[str, Any]:
    return {**LOG, **changes}


def otlp(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    """Attributes as OTLP JSON writes them."""
    kinds = {str: "stringValue", float: "doubleValue", bool: "boolValue"}
    return [{"key": key, "value": {kinds[type(value)]: value}} for key, value in attributes.items()]


def test_an_evaluation_and_its_span_are_one_event() -> None:
    assert draft("otel_genai", MAP, LOG) == EVENT
    assert draft("otel_genai", MAP, log(attributes=otlp(RESULT), span={**SPAN, "attributes": otlp(CONTENT)})) == EVENT


def test_messages_may_be_structured_and_attributes_nested() -> None:
    nested = {
        "gen_ai": {
            "input": {"messages": INPUT},
            "output": {"messages": OUTPUT},
            "system_instructions": [{"type": "text", "content": "s"}],
            "response": {"id": "resp-1", "model": "m-1"},
            "conversation": {"id": "c1"},
        }
    }
    assert draft("otel_genai", MAP, log(span={**SPAN, "attributes": nested})) == EVENT


def test_a_table_of_log_records_has_the_attributes_for_columns() -> None:
    row = {**RESULT, "event.type": "gen_ai.evaluation.result", "timestamp": "2026-01-05T09:51:39Z", "span": SPAN}
    event = draft("otel_genai", MAP, row)
    assert (event.label, event.event_time, event.completion) == (True, "2026-01-05T09:51:39Z", [bot("a")])


def test_older_instrumentations_number_their_messages() -> None:
    older = {
        "gen_ai.prompt.0.role": "user",
        "gen_ai.prompt.0.content": "q",
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": "a",
        "gen_ai.completion.0.finish_reason": "stop",
    }
    event = draft("otel_genai", MAP, log(span={**SPAN, "attributes": older}))
    assert (event.prompt, event.completion) == ([user("q")], [bot("a")])


def test_events_of_a_span_judge_that_span_each() -> None:
    thumb = {"gen_ai.evaluation.name": "user_feedback", "gen_ai.evaluation.score.value": 0}
    events = [
        {"name": "gen_ai.evaluation.result", "timeUnixNano": 1767606699000000000, "attributes": RESULT},
        {"name": "gen_ai.evaluation.result", "attributes": otlp({**thumb, "gen_ai.evaluation.score.value": 0.0})},
        {"name": "exception", "attributes": {"exception.type": "X"}},
        {"name": "gen_ai.evaluation.result", "attributes": {"gen_ai.evaluation.name": "Toxicity"}},
    ]
    first, second, third = drafts("otel_genai", MAP, {**SPAN, "events": events})
    assert first == EVENT
    assert isinstance(second, EventDraft)
    assert (second.label, second.rater_kind, second.signal) == (False, "end_user", "user_feedback")
    assert not isinstance(third, EventDraft)
    assert ignored("otel_genai", MAP, SPAN) == ["spans and log records without an evaluation"]


def envelope(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"scope": {}, "spans": list(spans)}]}]}


def test_an_envelope_finds_the_span_by_the_response_else_by_the_span_id() -> None:
    raw = {key: value for key, value in LOG.items() if key != "span"}
    wire = {**raw, "attributes": otlp(RESULT)}
    other = {**SPAN, "spanId": "s2", "attributes": {**CONTENT, "gen_ai.response.id": "resp-2"}}
    other["attributes"] |= {
        "gen_ai.output.messages": json.dumps([{**OUTPUT[0], "parts": [{"type": "text", "content": "b"}]}])
    }
    spans = [{**one, "attributes": otlp(one["attributes"])} for one in (other, SPAN)]
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [wire]}]}]}
    assert drafts("otel_genai", MAP, {**envelope(*spans), **logs}) == [EVENT]
    unnamed = {key: value for key, value in RESULT.items() if key != "gen_ai.response.id"}
    by_span = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{**raw, "spanId": "s2", "attributes": unnamed}]}]}]}
    (found,) = drafts("otel_genai", MAP, {**envelope(*spans), **by_span})
    assert isinstance(found, EventDraft)
    assert found.completion == [bot("b")]
    assert reason_of("otel_genai", MAP, logs) == RejectReason.MISSING_FIELD
    assert ignored("otel_genai", MAP, envelope(SPAN)) == ["spans and log records without an evaluation"]
    assert ignored("otel_genai", MAP, {"resourceLogs": []}) == ["spans and log records without an evaluation"]


def test_of_spans_with_one_response_the_first_with_texts_is_judged() -> None:
    silent = {**SPAN, "attributes": {"gen_ai.response.id": RESULT["gen_ai.response.id"]}}
    later = {**SPAN, "attributes": {**SPAN["attributes"], "gen_ai.output.messages": json.dumps([bot("later")])}}
    raw = {**{key: value for key, value in LOG.items() if key != "span"}, "attributes": RESULT}
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [raw]}]}]}
    assert drafts("otel_genai", MAP, {**envelope(silent, SPAN, later), **logs}) == [EVENT]


def test_an_evaluation_in_the_events_of_another_span_follows_the_response() -> None:
    judge = {"name": "evaluate", "spanId": "s3", "attributes": {}, "events": [{"attributes": RESULT}]}
    (found,) = drafts("otel_genai", MAP, envelope(judge, SPAN))
    assert isinstance(found, EventDraft)
    assert found.completion == [bot("a")]


def test_details_of_an_operation_hold_the_texts_as_well_as_a_span() -> None:
    details = {"eventName": "gen_ai.client.inference.operation.details", "attributes": CONTENT}
    assert draft("otel_genai", MAP, log(span=details)) == EVENT


def test_an_evaluation_that_failed_is_left_out() -> None:
    assert ignored("otel_genai", MAP, log(attributes={**RESULT, "error.type": "timeout"})) == [
        "evaluations that failed"
    ]


def without(*names: str) -> dict[str, Any]:
    return {**SPAN, "attributes": {key: value for key, value in CONTENT.items() if key not in names}}


def with_output(*messages: Any) -> dict[str, Any]:
    return {**SPAN, "attributes": {**CONTENT, "gen_ai.output.messages": json.dumps(messages)}}


CALL = {"role": "assistant", "parts": [{"type": "tool_call", "id": "1", "name": "f", "arguments": {}}]}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"attributes": None, "eventName": "other"}, RejectReason.MISSING_FIELD),
        ({"attributes": {"x": 1}, "spanId": None}, RejectReason.MISSING_FIELD),
        ({"attributes": {**RESULT, "gen_ai.evaluation.score.label": "meh"}}, RejectReason.UNKNOWN_LABEL),
        ({"attributes": {"gen_ai.evaluation.name": "Relevance"}}, RejectReason.MISSING_FIELD),
        ({"attributes": {**RESULT, "gen_ai.evaluation.explanation": 3}}, RejectReason.WRONG_TYPE),
        ({"span": None}, RejectReason.MISSING_FIELD),
        ({"span": [SPAN]}, RejectReason.WRONG_TYPE),
        ({"span": without("gen_ai.output.messages")}, RejectReason.MISSING_FIELD),
        ({"span": without("gen_ai.input.messages", "gen_ai.output.messages")}, RejectReason.MISSING_FIELD),
        ({"span": with_output(*OUTPUT, *OUTPUT)}, RejectReason.WRONG_TYPE),
        ({"span": with_output(CALL)}, RejectReason.WRONG_TYPE),
        ({"span": with_output({"role": "oracle", "parts": []})}, RejectReason.BAD_ROLES),
        ({"resourceSpans": 3}, RejectReason.WRONG_TYPE),
    ],
)
def test_an_evaluation_that_cannot_be_read_is_rejected(change: dict[str, Any], reason: str) -> None:
    assert reason_of("otel_genai", MAP, log(**change)) == reason


def test_an_evaluation_alone_says_which_file_it_lacks() -> None:
    assert "the export of the spans" in rejection("otel_genai", MAP, log(span=None))[1]
    key = 'attributes["gen_ai.response.id"]'
    whole = ("resourceSpans", "resource_spans", "resourceLogs", "resource_logs")
    assert FORMATS["otel_genai"].join == Join(what="spans", key=key, other=key, into="span", whole=whole)
