"""Label Studio: pairwise choices, ratings, choices and texts of every annotation of a task; no e-mail address."""

from __future__ import annotations

from typing import Any

import pytest

from feedback.formats import EventDraft, PairDraft
from schemas.errors import ConfigError
from schemas.reasons import RejectReason
from tests.format_records import bot, user
from tests.scored import draft, drafts, ignored, mapped, reason_of

MAP = """
[scores.better]
outcomes = { left = "a", right = "b" }
texts = { response_a = "answers[0]", response_b = "answers[1]" }
[scores.stars]
up_from = 4
down_to = 2
[scores.flags]
labels = { good = "up", bad = "down", unclear = "none" }
[scores.rewrite]
corrections = true
[texts]
prompt = "question"
completion = "answers[0]"
"""
PAIRWISE = {"id": "x", "type": "pairwise", "from_name": "better", "to_name": "one,two", "value": {"selected": "left"}}
ANNOTATION: dict[str, Any] = {
    "id": 11,
    "completed_by": {"id": 7, "email": "canary@example.com", "first_name": "Canary"},
    "result": [PAIRWISE],
    "was_cancelled": False,
    "ground_truth": False,
    "created_at": "2026-01-05T09:51:39.000000Z",
    "updated_at": "2026-01-05T09:59:00.000000Z",
    "lead_time": 3.2,
}
TASK: dict[str, Any] = {
    "id": 1,
    "data": {"question": "q", "answers": ["a", "b"], "source": "web"},
    "annotations": [ANNOTATION],
    "drafts": [],
    "predictions": [{"id": 5, "model_version": "m", "result": [{**PAIRWISE, "value": {"selected": "right"}}]}],
    "meta": {},
    "project": 3,
}


def task(*results: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**TASK, "annotations": [{**ANNOTATION, "result": list(results), **changes}]}


def result(name: str, **value: Any) -> dict[str, Any]:
    return {"id": "y", "type": next(iter(value)), "from_name": name, "to_name": "text", "value": value}


def test_a_pairwise_choice_is_a_pair_with_its_texts_where_the_map_says() -> None:
    assert draft("label_studio", MAP, TASK) == PairDraft(
        prompt=[user("q")],
        response_a=[bot("a")],
        response_b=[bot("b")],
        outcome="a",
        raw_value="left",
        record_id="11/better",
        rater="7",
        rater_kind="annotator",
        event_time="2026-01-05T09:59:00.000000Z",
        conversation_id="1",
    )
    right = task({**PAIRWISE, "value": {"selected": "right"}})
    assert draft("label_studio", MAP, right).outcome == "b"


def test_every_annotation_of_a_task_is_a_judgement_of_its_own() -> None:
    second = {**ANNOTATION, "id": 12, "completed_by": 8, "result": [{**PAIRWISE, "value": {"selected": "right"}}]}
    told = drafts("label_studio", MAP, {**TASK, "annotations": [ANNOTATION, second]})
    assert [(one.record_id, one.rater, one.outcome) for one in told if isinstance(one, PairDraft)] == [
        *(("11/better", "7", "a"), ("12/better", "8", "b")),
    ]


def test_ratings_and_choices_are_labels_and_texts_corrections() -> None:
    record = task(
        result("stars", rating=4),
        result("flags", choices=["bad"]),
        result("flags", choices=["unclear"]),
        result("rewrite", text=["better", "still"]),
        result("region", labels=["PER"], start=0),
        {"type": "relation", "from_id": "a"},
    )
    stars, flags, unclear, rewrite, region = drafts("label_studio", MAP, record)
    assert isinstance(stars, EventDraft)
    assert (stars.label, stars.strength, stars.completion, stars.record_id) == (True, 4.0, [bot("a")], "11/stars")
    assert [getattr(one, "label", "?") for one in (flags, unclear)] == [False, None]
    assert isinstance(rewrite, PairDraft)
    assert (rewrite.response_a, rewrite.response_b) == ([bot("better\nstill")], [bot("a")])
    assert getattr(region, "what", None) == "scores 'region', which the map does not name"


def test_a_skipped_annotation_withdraws_what_it_said() -> None:
    """It has the same id, so it supersedes what an earlier export held."""
    pair = draft("label_studio", MAP, task(PAIRWISE, was_cancelled=True))
    assert (pair.outcome, pair.record_id) == ("abstain", "11/better")
    event = draft("label_studio", MAP, task(result("stars", rating=5), was_cancelled=True))
    assert (event.op, event.label, event.record_id) == ("retract", None, "11/stars")
    assert draft("label_studio", MAP, task(PAIRWISE, skipped=True)).outcome == "abstain"


def test_predictions_are_no_annotations() -> None:
    for held in ([], [{**ANNOTATION, "result": []}]):
        assert ignored("label_studio", MAP, {**TASK, "annotations": held}) == ["tasks without an annotation"]


def test_no_name_and_no_address_of_a_person_is_in_a_draft() -> None:
    assert "anary" not in repr(drafts("label_studio", MAP, TASK))
    nameless = task(PAIRWISE, completed_by={"email": "canary@example.com"})
    assert draft("label_studio", MAP, nameless).rater is None


SMALL: dict[str, Any] = {
    "id": 1,
    "question": "q",
    "answers": ["a", "b"],
    "better": [{"selected": "right"}],
    "annotator": 7,
    "annotation_id": 11,
    "created_at": "2026-01-05T09:51:39Z",
    "updated_at": "2026-01-05T09:59:00Z",
    "lead_time": 3.2,
}


def test_the_small_export_has_tags_beside_the_data() -> None:
    pair = draft("label_studio", MAP, SMALL)
    assert (pair.outcome, pair.rater, pair.record_id, pair.response_a) == ("b", "7", "11/better", [bot("a")])
    more = drafts("label_studio", MAP, {**SMALL, "stars": [{"rating": 1}], "flags": "good", "rewrite": "better"})
    assert [getattr(one, "label", None) for one in more] == [None, False, True, None]
    assert isinstance(more[-1], PairDraft)
    bare = {key: value for key, value in SMALL.items() if key != "better"}
    assert ignored("label_studio", MAP, bare) == ["annotations without a score that the map names"]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (task({**PAIRWISE, "value": {"selected": "both"}}), RejectReason.UNKNOWN_LABEL),
        (task({**PAIRWISE, "value": {}}), RejectReason.MISSING_FIELD),
        (task(result("flags", choices=["good", "bad"])), RejectReason.UNKNOWN_LABEL),
        (task(result("flags", choices=[])), RejectReason.UNKNOWN_LABEL),
        (task(PAIRWISE, completed_by={"id": 1.5}), RejectReason.WRONG_TYPE),
        (task(PAIRWISE, was_cancelled="no"), RejectReason.WRONG_TYPE),
        (task(result("rewrite", text=[3])), RejectReason.WRONG_TYPE),
        ({**TASK, "annotations": None}, RejectReason.MISSING_FIELD),
        ({**TASK, "annotations": 3}, RejectReason.WRONG_TYPE),
        ({**TASK, "annotations": [{**ANNOTATION, "result": 3}]}, RejectReason.WRONG_TYPE),
        ({**TASK, "data": None}, RejectReason.MISSING_FIELD),
        ({**TASK, "data": [1]}, RejectReason.WRONG_TYPE),
        ({**TASK, "data": {"answers": ["a", "b"]}}, RejectReason.MISSING_FIELD),
        ({**TASK, "data": {"question": "q", "answers": ["a"]}}, RejectReason.MISSING_FIELD),
        ({"id": 1, "data": {}}, RejectReason.MISSING_FIELD),
    ],
)
def test_a_task_that_cannot_be_read_is_rejected(record: dict[str, Any], reason: str) -> None:
    assert reason_of("label_studio", MAP, record) == reason


def test_a_map_has_to_say_where_the_texts_lie() -> None:
    for text, missing in (
        ('[scores.s]\noutcomes = { left = "a" }\n', "prompt and response_a and response_b"),
        ('[scores.s]\nup_from = 1\ntexts = { prompt = "q" }\n', "completion"),
        ("[scores.s]\ncorrections = true\n", "prompt and completion"),
    ):
        with pytest.raises(ConfigError, match=f"does not say where {missing} lie"):
            mapped("label_studio", text)
    with pytest.raises(ConfigError, match="the format has no use for 'answers'"):
        mapped("label_studio", '[scores.s]\nanswers = { x = "y" }\n')
