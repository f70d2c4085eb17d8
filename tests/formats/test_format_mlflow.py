"""MLflow: assessments with their trace, in the two shapes of its entities, and traces that hold them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from feedback.formats import FORMATS, EventDraft
from feedback.formats.drafts import Join
from schemas.reasons import RejectReason
from tests.format_records import bot, user
from tests.scored import draft, drafts, ignored, mapped, reason_of, rejection

MAP = """
[scores.thumbs]
labels = { true = "up", false = "down" }
rater_kind = "end_user"
[scores.correctness]
labels = { yes = "up", no = "down", unknown = "none" }
[scores.score]
up_from = 4
down_to = 2
"""
SPAN_ID = "5b3f0a1c2d4e6f70"


def span(span_id: str, parent: str | None, asked: Any, answered: Any, **more: Any) -> dict[str, Any]:
    return {
        "span_id": base64.b64encode(bytes.fromhex(span_id)).decode(),
        "parent_span_id": parent,
        "name": "chat",
        "attributes": {"mlflow.spanInputs": json.dumps(asked), "mlflow.spanOutputs": json.dumps(answered)},
        **more,
    }


TRACE: dict[str, Any] = {
    "info": {
        "trace_id": "tr-1",
        "request_preview": "q...",
        "response_preview": "a...",
        "trace_metadata": {"mlflow.trace.session": "c1", "mlflow.trace.user": "u1"},
        "assessments": [],
    },
    "data": {
        "spans": [
            span("00f067aa0ba902b7", None, {"messages": [user("q")]}, {"choices": [{"message": bot("a")}]}),
            span(SPAN_ID, "APBnqguqkCt=", "inner", "b"),
        ]
    },
}
OLD: dict[str, Any] = {
    "assessment_id": "a1",
    "trace_id": "tr-1",
    "name": "thumbs",
    "source": {"source_type": "HUMAN", "source_id": "u1"},
    "create_time_ms": 1767606699000,
    "last_update_time_ms": 1767606799500,
    "expectation": None,
    "feedback": {"value": True},
    "rationale": "nice",
    "metadata": None,
    "error": None,
    "span_id": None,
    "trace": TRACE,
}
NEW: dict[str, Any] = {
    "assessment_id": "a1",
    "assessment_name": "thumbs",
    "trace_id": "tr-1",
    "source": {"source_type": "HUMAN", "source_id": "u1"},
    "create_time": "2026-01-05T09:51:39Z",
    "last_update_time": "2026-01-05T09:53:19.500Z",
    "feedback": {"value": True},
    "rationale": "nice",
    "valid": True,
}
EVENT = EventDraft(
    prompt=[user("q")],
    completion=[bot("a")],
    signal="thumbs",
    raw_value=True,
    label=True,
    record_id="a1",
    rater="u1",
    rater_kind="end_user",
    event_time=1767606699.0,
    updated_time=1767606799.5,
    conversation_id="c1",
    message_id="tr-1",
    comment="nice",
)


def test_an_assessment_and_its_trace_are_one_event_with_times_in_seconds() -> None:
    assert draft("mlflow", MAP, OLD) == EVENT


def test_assessments_inside_a_trace_are_read_one_by_one() -> None:
    judged = {**NEW, "assessment_id": "a2", "source": {"source_type": "LLM_JUDGE", "source_id": "judge"}}
    judged |= {"assessment_name": "correctness", "feedback": {"value": "no"}}
    expected = {
        "assessment_id": "a3",
        "assessment_name": "truth",
        "expectation": {"value": "a"},
        "source": NEW["source"],
    }
    failed = {**judged, "assessment_id": "a4", "feedback": {"error": {"error_code": "X", "error_message": "Boom"}}}
    unnamed = {**NEW, "assessment_name": "latency"}
    trace = {**TRACE, "info": {**TRACE["info"], "assessments": [NEW, judged, expected, failed, unnamed]}}
    first, second, *rest = drafts("mlflow", MAP, trace)
    assert isinstance(first, EventDraft)
    assert isinstance(second, EventDraft)
    assert (first.label, first.event_time, first.updated_time) == (True, NEW["create_time"], NEW["last_update_time"])
    assert (second.label, second.rater_kind, second.record_id) == (False, "llm_judge", "a2")
    assert [one.what for one in rest if not isinstance(one, EventDraft)] == [
        *("expectations", "assessments that failed", "scores 'latency', which the map does not name"),
    ]
    assert ignored("mlflow", MAP, TRACE) == ["traces without an assessment"]


def test_a_row_of_search_traces_is_a_trace() -> None:
    row = {
        "trace_id": "tr-1",
        "trace": json.dumps(TRACE),
        "request": {"messages": [user("q")]},
        "response": "a",
        "trace_metadata": {"mlflow.trace.session": "c1"},
        "spans": [],
        "assessments": [NEW],
    }
    event = draft("mlflow", MAP, row)
    assert (event.prompt, event.completion, event.conversation_id) == ([user("q")], [bot("a")], "c1")
    assert event.message_id == "tr-1"


def test_the_request_of_an_older_trace_is_json_in_text() -> None:
    older = {"info": {"request_id": "r1"}, "data": {"spans": [], "request": '"q"', "response": json.dumps([bot("a")])}}
    event = draft("mlflow", MAP, {**OLD, "trace": older})
    assert (event.prompt, event.completion, event.message_id) == ([user("q")], [bot("a")], "r1")


def test_an_assessment_of_a_span_is_about_that_span() -> None:
    event = draft("mlflow", MAP, {**OLD, "span_id": SPAN_ID})
    assert (event.prompt, event.completion, event.message_id) == ([user("inner")], [bot("b")], SPAN_ID)
    plain = {"context": {"span_id": "0x1"}, "parent_id": None, "inputs": "x", "outputs": "y", "attributes": {}}
    trace = {**TRACE, "data": {"spans": [plain]}}
    assert draft("mlflow", MAP, {**OLD, "span_id": "0x1", "trace": trace}).completion == [bot("y")]
    assert reason_of("mlflow", MAP, {**OLD, "span_id": "ffffffffffffffff"}) == RejectReason.BROKEN_THREAD


def test_a_map_finds_texts_in_the_decoded_request() -> None:
    spans = [span("00f067aa0ba902b7", None, {"question": "q", "k": 3}, {"answer": "a"})]
    trace = {"info": {"trace_id": "tr-1"}, "data": {"spans": spans}}
    assert reason_of("mlflow", MAP, {**OLD, "trace": trace}) == RejectReason.WRONG_TYPE
    known = f'{MAP}[texts]\nprompt = "request.question"\ncompletion = "response.answer"\n'
    assert draft("mlflow", known, {**OLD, "trace": trace}).completion == [bot("a")]


def test_previews_are_never_read() -> None:
    trace = {"info": TRACE["info"], "data": {"spans": []}}
    assert reason_of("mlflow", MAP, {**OLD, "trace": trace}) == RejectReason.MISSING_FIELD


@pytest.mark.parametrize(
    ("kind", "rater_kind"),
    [
        ("HUMAN", "end_user"),
        ("human", "end_user"),
        ("LLM_JUDGE", "llm_judge"),
        ("AI_JUDGE", "llm_judge"),
        ("CODE", "code"),
        ("SOURCE_TYPE_UNSPECIFIED", "end_user"),
    ],
)
def test_machines_are_machines_whatever_the_map_says_of_people(kind: str, rater_kind: str) -> None:
    event = draft("mlflow", MAP, {**OLD, "source": {"source_type": kind, "source_id": "default"}})
    assert (event.rater_kind, event.rater) == (rater_kind, None)


def test_an_assessment_that_another_overrides_is_retracted() -> None:
    """The other one has an id of its own, so this one has to be taken back."""
    event = draft("mlflow", MAP, {**OLD, **NEW, "valid": False, "trace": TRACE})
    assert (event.op, event.label, event.record_id) == ("retract", None, "a1")


def test_numbers_have_thresholds() -> None:
    rated = [draft("mlflow", MAP, {**OLD, "name": "score", "feedback": {"value": value}}) for value in (5.0, 3, 1)]
    assert [(one.label, one.strength) for one in rated] == [(True, 5.0), (None, 3.0), (False, 1.0)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": None}, RejectReason.MISSING_FIELD),
        ({"feedback": None}, RejectReason.MISSING_FIELD),
        ({"feedback": True}, RejectReason.WRONG_TYPE),
        ({"feedback": {"value": None}}, RejectReason.MISSING_FIELD),
        ({"feedback": {"value": "yes"}}, RejectReason.UNKNOWN_LABEL),
        ({"feedback": {"value": [True]}}, RejectReason.UNKNOWN_LABEL),
        ({"source": None}, RejectReason.MISSING_FIELD),
        ({"source": {"source_type": "ORACLE"}}, RejectReason.RULE_VIOLATION),
        ({"source": "HUMAN"}, RejectReason.WRONG_TYPE),
        ({"trace": None}, RejectReason.MISSING_FIELD),
        ({"trace": 3}, RejectReason.WRONG_TYPE),
        ({"assessments": 3}, RejectReason.WRONG_TYPE),
        ({"assessments": [3]}, RejectReason.WRONG_TYPE),
        ({"rationale": 3}, RejectReason.WRONG_TYPE),
    ],
)
def test_an_assessment_that_is_not_in_the_format_is_rejected(change: dict[str, Any], reason: str) -> None:
    assert reason_of("mlflow", MAP, {**OLD, **change}) == reason


def test_an_assessment_that_failed_is_left_out_in_either_shape() -> None:
    for change in ({"error": {"error_code": "X"}, "feedback": None}, {"feedback": {"value": True, "error": {"a": 1}}}):
        assert ignored("mlflow", MAP, {**OLD, **change}) == ["assessments that failed"]


def test_an_assessment_alone_says_which_file_it_lacks_and_how_it_joins() -> None:
    _, detail = rejection("mlflow", MAP, {**OLD, "trace": None})
    assert "the export of the traces; --join FILE names it" in detail
    assert FORMATS["mlflow"].join == Join(
        what="traces", key="trace_id", other="info.trace_id", into="trace", whole=("info", "assessments")
    )
    joined = mapped("mlflow", f'{MAP}[join]\nother = "trace_id"\n').join
    assert joined is not None
    assert (joined.key, joined.other) == ("trace_id", "trace_id")
