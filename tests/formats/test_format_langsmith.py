"""LangSmith: feedback with its run, comparisons, corrections, and who gave it."""

from __future__ import annotations

from typing import Any

import pytest

from feedback.formats import FORMATS, EventDraft, PairDraft
from feedback.formats.drafts import Join
from schemas.reasons import RejectReason
from tests.format_records import bot, user
from tests.scored import draft, drafts, ignored, reason_of, rejection

MAP = """
[scores.user_score]
labels = { 1 = "up", 0 = "down", true = "up", false = "down", null = "none" }
rater_kind = "end_user"
[scores.preference]
labels = { 1 = "up", 0 = "down", "0.5" = "none" }
[scores.verdict]
labels = { correct = "up", incorrect = "down" }
[scores.note]
corrections = true
"""
RUN: dict[str, Any] = {
    "id": "r1",
    "name": "ChatOpenAI",
    "run_type": "llm",
    "inputs": {
        "messages": [[{"lc": 1, "type": "constructor", "id": ["x", "HumanMessage"], "kwargs": {"content": "q"}}]]
    },
    "outputs": {
        "generations": [[{"text": "a", "message": {"lc": 1, "id": ["AIMessage"], "kwargs": {"content": "a"}}}]]
    },
    "error": None,
    "trace_id": "t1",
    "extra": {"metadata": {"ls_model_name": "m-1"}},
}
FEEDBACK: dict[str, Any] = {
    "id": "f1",
    "created_at": "2026-01-05T09:51:39.123456+00:00",
    "modified_at": "2026-01-05T09:59:00+00:00",
    "key": "user_score",
    "score": 1.0,
    "value": None,
    "comment": "nice",
    "correction": None,
    "run_id": "r1",
    "trace_id": "t1",
    "feedback_source": {"type": "api", "metadata": {"__run": {"run_id": "x"}}, "user_id": None},
    "feedback_group_id": None,
    "run": RUN,
}


def feedback(**changes: Any) -> dict[str, Any]:
    return {**FEEDBACK, **changes}


def test_feedback_and_its_run_are_one_event() -> None:
    assert draft("langsmith", MAP, FEEDBACK) == EventDraft(
        prompt=[user("q")],
        completion=[bot("a")],
        signal="user_score",
        raw_value=1.0,
        label=True,
        record_id="f1",
        rater_kind="end_user",
        event_time="2026-01-05T09:51:39.123456+00:00",
        updated_time="2026-01-05T09:59:00+00:00",
        model_id="m-1",
        conversation_id="t1",
        message_id="r1",
        comment="nice",
    )


@pytest.mark.parametrize(
    ("score", "label"), [(1, True), (True, True), (0, False), (0.0, False), (False, False), (None, None)]
)
def test_a_score_may_be_a_boolean_a_number_or_null(score: Any, label: bool | None) -> None:
    assert draft("langsmith", MAP, feedback(score=score)).label is label


def test_the_word_that_was_chosen_counts_as_well_as_its_number() -> None:
    assert draft("langsmith", MAP, feedback(key="verdict", value="incorrect", score=0)).label is False
    assert reason_of("langsmith", MAP, feedback(key="verdict", value="partly", score=0.5)) == RejectReason.UNKNOWN_LABEL
    assert reason_of("langsmith", MAP, feedback(key="verdict", score=None)) == RejectReason.MISSING_FIELD
    assert reason_of("langsmith", MAP, feedback(value={"rating": 1}, score=7)) == RejectReason.UNKNOWN_LABEL


@pytest.mark.parametrize(
    ("kind", "rater_kind"),
    [("app", "annotator"), ("api", "end_user"), ("model", "llm_judge"), ("auto_eval", "llm_judge"), (None, "end_user")],
)
def test_who_gave_feedback_is_what_the_tool_says_before_what_the_map_says(kind: str | None, rater_kind: str) -> None:
    event = draft("langsmith", MAP, feedback(feedback_source={"type": kind, "user_id": "u1"}))
    assert (event.rater_kind, event.rater) == (rater_kind, "u1")
    assert draft("langsmith", MAP, feedback(feedback_source=None)).rater is None


def test_the_runs_of_a_comparison_get_their_labels_and_a_mark() -> None:
    """They share their prompt, by which `convert` pairs the preferred with the other."""
    first = feedback(key="preference", feedback_group_id="g1", score=1)
    second = feedback(key="preference", feedback_group_id="g1", score=0, run={**RUN, "id": "r2", "outputs": "b"})
    won, lost = (draft("langsmith", MAP, one) for one in (first, second))
    assert (won.label, lost.label, won.flags, lost.flags) == (True, False, ("comparison",), ("comparison",))
    assert won.prompt == lost.prompt
    assert lost.completion == [bot("b")]
    assert draft("langsmith", MAP, {**first, "score": 0.5}).label is None


@pytest.mark.parametrize("correction", ["better", {"output": "better"}, {"role": "ai", "content": "better"}])
def test_a_correction_is_gold_text(correction: Any) -> None:
    pair = draft("langsmith", MAP, feedback(key="note", score=None, correction=correction))
    assert isinstance(pair, PairDraft)
    assert (pair.response_a, pair.response_b, pair.outcome) == ([bot("better")], [bot("a")], "a")
    assert (pair.model_b, pair.event_time) == ("m-1", "2026-01-05T09:59:00+00:00")
    odd = feedback(key="note", score=None, correction={"answer": "better"})
    assert reason_of("langsmith", MAP, odd) == RejectReason.WRONG_TYPE


def test_results_under_the_keys_of_the_sdk_are_read_and_other_keys_by_the_map() -> None:
    traced = {**RUN, "inputs": {"question": "q", "user": "x"}, "outputs": {"output": "a"}}
    assert reason_of("langsmith", MAP, feedback(run=traced)) == RejectReason.WRONG_TYPE
    known = f'{MAP}[texts]\nprompt = "inputs.question"\n'
    event = draft("langsmith", known, feedback(run=traced))
    assert (event.prompt, event.completion) == ([user("q")], [bot("a")])
    graph = {**RUN, "inputs": {"messages": [user("q")]}, "outputs": {"messages": [user("q"), bot("a")]}}
    assert draft("langsmith", MAP, feedback(run=graph)).completion == [bot("a")]


def test_feedback_that_failed_or_is_of_a_session_is_left_out() -> None:
    assert ignored("langsmith", MAP, feedback(error=True)) == ["feedback that failed"]
    assert ignored("langsmith", MAP, feedback(run_id=None, run=None, session_id="p1")) == ["feedback of sessions"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"key": None}, RejectReason.MISSING_FIELD),
        ({"run": None}, RejectReason.MISSING_FIELD),
        ({"run": None, "run_id": None}, RejectReason.MISSING_FIELD),
        ({"run": []}, RejectReason.WRONG_TYPE),
        ({"run": {**RUN, "outputs": None}}, RejectReason.MISSING_FIELD),
        ({"run": {**RUN, "outputs": None, "error": "Boom"}}, RejectReason.EMPTY_COMPLETION),
        ({"feedback_source": "api"}, RejectReason.WRONG_TYPE),
        ({"feedback_source": {"type": "cosmic"}}, RejectReason.RULE_VIOLATION),
        ({"error": "yes"}, RejectReason.WRONG_TYPE),
        ({"comment": []}, RejectReason.WRONG_TYPE),
    ],
)
def test_feedback_that_is_not_in_the_format_is_rejected(change: dict[str, Any], reason: str) -> None:
    assert reason_of("langsmith", MAP, feedback(**change)) == reason


def test_a_record_without_any_value_is_no_feedback() -> None:
    record = {key: value for key, value in FEEDBACK.items() if key not in ("score", "value", "correction")}
    assert reason_of("langsmith", MAP, record) == RejectReason.MISSING_FIELD
    _, detail = rejection("langsmith", MAP, feedback(run=None))
    assert "the export of the runs; --join FILE names it" in detail
    assert FORMATS["langsmith"].join == Join(what="runs", key="run_id", other="id", into="run")
    assert len(drafts("langsmith", MAP, FEEDBACK)) == 1


@pytest.mark.parametrize("key", ["session_id", "thread_id", "conversation_id"])
def test_the_thread_of_a_run_is_what_its_metadata_name(key: str) -> None:
    """A trace is one turn of it."""
    metadata = {**RUN["extra"]["metadata"], key: "thread-1"}
    assert draft("langsmith", MAP, feedback(run={**RUN, "extra": {"metadata": metadata}})).conversation_id == "thread-1"
    named = {**RUN, "thread_id": "thread-2", "extra": {"metadata": metadata}}
    assert draft("langsmith", MAP, feedback(run=named)).conversation_id == "thread-2"
    odd = {**RUN, "extra": {"metadata": {key: ["thread-1"]}}}
    assert draft("langsmith", MAP, feedback(run=odd)).conversation_id == "t1"
