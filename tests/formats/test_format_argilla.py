"""Argilla 2: responses by question and user, nested and flattened; ratings, labels, rankings and texts."""

from __future__ import annotations

from typing import Any

import pytest

from feedback.formats import EventDraft, PairDraft
from schemas.reasons import RejectReason
from tests.format_records import bot, user
from tests.scored import draft, drafts, ignored, reason_of, rejection

MAP = """
[scores.quality]
up_from = 4
down_to = 2
[scores.correct]
labels = { yes = "up", no = "down" }
[scores.better]
outcomes = { first = "a", second = "b", both = "tie", neither = "both_bad" }
texts = { response_a = "answer_1", response_b = "answer_2" }
[scores.order]
answers = { one = "answer_1", two = "answer_2", three = "answer_3" }
[scores.rewrite]
corrections = true
[texts]
prompt = "instruction"
completion = "answer_1"
"""
FIELDS = {"instruction": "q", "answer_1": "a", "answer_2": "b", "answer_3": "c"}


def record(**responses: Any) -> dict[str, Any]:
    return {
        "id": "rec-1",
        "fields": FIELDS,
        "metadata": {"split": "x"},
        "suggestions": {"quality": {"value": 1, "score": 0.9, "agent": "gpt"}},
        "responses": responses,
        "vectors": {},
        "_server_id": "00000000-0000-0000-0000-000000000001",
    }


def response(value: Any, user_id: str = "u1", **more: Any) -> dict[str, Any]:
    return {"value": value, "user_id": user_id, **more}


def test_a_rating_is_an_event_and_a_suggestion_is_none() -> None:
    assert draft("argilla", MAP, record(quality=[response(5)])) == EventDraft(
        prompt=[user("q")],
        completion=[bot("a")],
        signal="quality",
        raw_value=5,
        label=True,
        record_id="rec-1/quality/u1",
        rater="u1",
        rater_kind="annotator",
        conversation_id="rec-1",
        strength=5.0,
    )
    assert ignored("argilla", MAP, record()) == ["records without a response"]
    assert ignored("argilla", MAP, {**record(), "responses": None}) == ["records without a response"]


def test_each_user_answers_each_question() -> None:
    told = drafts(
        "argilla",
        MAP,
        record(
            quality=[response(5), response(1, "u2")],
            correct=[response("no"), response(["yes"], "u2")],
            topic=[response("x")],
        ),
    )
    assert [(one.record_id, one.label) for one in told if isinstance(one, EventDraft)] == [
        ("rec-1/quality/u1", True),
        ("rec-1/quality/u2", False),
        ("rec-1/correct/u1", False),
        ("rec-1/correct/u2", True),
    ]
    assert not isinstance(told[-1], EventDraft | PairDraft)


@pytest.mark.parametrize(
    ("value", "outcome"), [("first", "a"), ("second", "b"), ("both", "tie"), ("neither", "both_bad")]
)
def test_a_choice_between_two_answers_is_a_pair(value: str, outcome: str) -> None:
    pair = draft("argilla", MAP, record(better=[response(value)]))
    assert isinstance(pair, PairDraft)
    assert (pair.response_a, pair.response_b, pair.outcome) == ([bot("a")], [bot("b")], outcome)


def ranking(**ranks: int | None) -> list[dict[str, Any]]:
    return [{"value": name, "rank": rank} for name, rank in ranks.items()]


def test_a_ranking_sets_the_best_against_the_worst() -> None:
    (pair,) = drafts("argilla", MAP, record(order=[response(ranking(one=2, two=1, three=3))]))
    assert isinstance(pair, PairDraft)
    assert (pair.response_a, pair.response_b, pair.outcome, pair.margin) == ([bot("b")], [bot("c")], "a", 2)
    assert (pair.record_id, pair.rater, pair.rater_kind) == ("rec-1/order/u1/two>three", "u1", "annotator")
    tied = drafts("argilla", MAP, record(order=[response(ranking(one=1, two=1, three=2))]))
    assert [getattr(one, "response_a", None) for one in tied] == [[bot("a")], [bot("b")]]
    level = record(order=[response(ranking(one=1, two=1, three=None))])
    assert ignored("argilla", MAP, level) == ["rankings 'order' in which no answer is better than another"]


def test_a_text_is_a_correction() -> None:
    pair = draft("argilla", MAP, record(rewrite=[response("better")]))
    assert (pair.response_a, pair.response_b, pair.outcome) == ([bot("better")], [bot("a")], "a")
    assert pair.record_id == "rec-1/rewrite/u1/correction"


FLAT: dict[str, Any] = {
    "id": "rec-1",
    "status": "completed",
    "_server_id": "x",
    **FIELDS,
    "split": "x",
    "quality.responses": [5, 1, 3],
    "quality.responses.users": ["u1", "u2", "None"],
    "quality.responses.status": ["submitted", "discarded", "draft"],
    "quality.suggestion": 1,
    "quality.suggestion.agent": "gpt",
    "correct.responses": None,
    "correct.responses.users": None,
}


def test_a_flattened_record_says_the_status_of_its_responses() -> None:
    """A discarded response is taken back under the id that it had; a draft was never given."""
    first, second, third = drafts("argilla", MAP, FLAT)
    assert isinstance(first, EventDraft)
    assert isinstance(second, EventDraft)
    assert (first.label, first.op, first.record_id, first.prompt) == (True, "create", "rec-1/quality/u1", [user("q")])
    assert (second.label, second.op, second.record_id) == (None, "retract", "rec-1/quality/u2")
    assert getattr(third, "what", None) == "responses that are drafts or discarded without a value"
    silent = {**FLAT, "quality.responses": None, "quality.responses.users": None, "quality.responses.status": None}
    assert ignored("argilla", MAP, silent) == ["records without a response"]


def test_a_ranking_without_ranks_says_what_it_lacks() -> None:
    reason, detail = rejection("argilla", MAP, record(order=[response(["two", "one"])]))
    assert reason == RejectReason.UNKNOWN_LABEL
    assert detail == (
        "the ranking 'order' is a list of names, in which answers of one rank cannot be told; expected objects with "
        "value and rank, as to_json and the API give"
    )


def test_a_discarded_choice_and_a_discarded_ranking_say_nothing() -> None:
    for question, value in (("better", "first"), ("order", ranking(one=1, two=2))):
        told = draft("argilla", MAP, record(**{question: [response(value, status="discarded")]}))
        assert told.outcome == "abstain"


def test_a_user_that_the_sdk_does_not_know_is_nobody() -> None:
    event = draft("argilla", MAP, record(quality=[response(5, "None")]))
    assert (event.rater, event.record_id) == (None, "rec-1/quality/")


def test_fields_of_chats_are_messages() -> None:
    chat = {
        **record(quality=[response(5)]),
        "fields": {"instruction": [user("q"), bot("x"), user("r")], "answer_1": "a"},
    }
    assert draft("argilla", MAP, chat).prompt == [user("q"), bot("x"), user("r")]


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (record(quality=[response("good")]), RejectReason.UNKNOWN_LABEL),
        (record(quality=[response(None)]), RejectReason.MISSING_FIELD),
        (record(correct=[response(["yes", "no"])]), RejectReason.UNKNOWN_LABEL),
        (record(order=[response([{"value": "four", "rank": 1}])]), RejectReason.UNKNOWN_LABEL),
        (record(order=[response([{"value": "one", "rank": "1"}])]), RejectReason.WRONG_TYPE),
        (record(order=[response(["one"])]), RejectReason.UNKNOWN_LABEL),
        (record(quality=[response(5, status="lost")]), RejectReason.RULE_VIOLATION),
        (record(quality=[response(5, status=["x"])]), RejectReason.RULE_VIOLATION),
        (record(quality=[5]), RejectReason.WRONG_TYPE),
        (record(quality=5), RejectReason.WRONG_TYPE),
        ({**record(), "responses": [1]}, RejectReason.WRONG_TYPE),
        ({**record(quality=[response(5)]), "fields": None}, RejectReason.MISSING_FIELD),
        ({**record(quality=[response(5)]), "fields": "q"}, RejectReason.WRONG_TYPE),
        ({**record(quality=[response(5)]), "fields": {"answer_1": "a"}}, RejectReason.MISSING_FIELD),
        ({**FLAT, "quality.responses": 5}, RejectReason.WRONG_TYPE),
        ({**FLAT, "quality.responses.users": ["u1"]}, RejectReason.WRONG_TYPE),
        ({"id": "x", **FIELDS}, RejectReason.MISSING_FIELD),
    ],
)
def test_a_record_that_cannot_be_read_is_rejected(made: dict[str, Any], reason: str) -> None:
    assert reason_of("argilla", MAP, made) == reason


def test_responses_of_one_record_share_the_turns_that_were_read_once() -> None:
    first, second = drafts("argilla", MAP, record(quality=[{"value": 5, "user_id": 1}, {"value": 1, "user_id": 2}]))
    assert isinstance(first, EventDraft)
    assert isinstance(second, EventDraft)
    assert first.prompt is second.prompt
    assert first.completion is second.completion
    assert (first.label, second.label) == (True, False)
