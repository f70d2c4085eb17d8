"""SHP, UltraFeedback, HelpSteer 2 and 3, WebGPT, Summarize: records in each set's own shape become exact drafts."""

from __future__ import annotations

from typing import Any

import pytest

from feedback.formats import EventDraft, PairDraft, find_format
from feedback.formats.sniffing.sniff import find_candidates
from schemas.reasons import RejectReason
from tests.format_records import bot, check_any_values, parse, reason_of, user

SHP: dict[str, Any] = {
    "post_id": "p1",
    "domain": "askcooks_train",
    "upvote_ratio": 0.98,
    "history": "How do I boil rice?",
    "c_root_id_A": "ca",
    "c_root_id_B": "cb",
    "created_at_utc_A": 1577836800,
    "created_at_utc_B": 1577836900,
    "score_A": 12,
    "score_B": 4,
    "human_ref_A": "Rinse it first.",
    "human_ref_B": "Just boil it.",
    "labels": 1,
    "seconds_difference": 100.0,
    "score_ratio": 3.0,
}


def test_a_shp_record_is_a_pair_with_its_scores_and_their_ratio() -> None:
    assert parse("shp", SHP) == PairDraft(
        prompt=[user("How do I boil rice?")],
        response_a=[bot("Rinse it first.")],
        response_b=[bot("Just boil it.")],
        outcome="a",
        raw_value=1,
        record_id="p1:ca:cb",
        rater_kind="end_user",
        margin=3.0,
        score_a=12.0,
        score_b=4.0,
    )
    other = {**SHP, "labels": 0, "score_A": 2, "post_id": None}
    assert (parse("shp", other).outcome, parse("shp", other).record_id) == ("b", None)
    assert parse("shp", {**SHP, "labels": "1"}).outcome == "a"


@pytest.mark.parametrize("value", [2, -1, "A", True, 1.0, "", [], {}])
def test_any_other_label_of_shp_is_unknown(value: object) -> None:
    assert reason_of("shp", {**SHP, "labels": value}) == RejectReason.UNKNOWN_LABEL


def test_a_shp_label_that_its_scores_contradict_is_rejected() -> None:
    assert reason_of("shp", {**SHP, "labels": 0}) == RejectReason.RULE_VIOLATION
    assert reason_of("shp", {**SHP, "score_B": 12}) == RejectReason.RULE_VIOLATION
    assert reason_of("shp", {**SHP, "history": 3}) == RejectReason.WRONG_TYPE
    assert reason_of("shp", {**SHP, "score_A": "12"}) == RejectReason.WRONG_TYPE
    assert reason_of("shp", {**SHP, "human_ref_B": None}) == RejectReason.MISSING_FIELD


BINARIZED = {
    "prompt": "q",
    "prompt_id": "8a",
    "chosen": [user("q"), bot("good")],
    "rejected": [user("q"), bot("poor")],
    "messages": [user("q"), bot("good")],
    "score_chosen": 8.5,
    "score_rejected": 6.0,
}


def test_a_binarized_ultrafeedback_record_is_a_pair_by_a_model() -> None:
    assert parse("ultrafeedback", BINARIZED) == PairDraft(
        prompt=[user("q")],
        response_a=[bot("good")],
        response_b=[bot("poor")],
        outcome="a",
        raw_value=[8.5, 6.0],
        rater_kind="llm_judge",
        margin=2.5,
        score_a=8.5,
        score_b=6.0,
    )


@pytest.mark.parametrize(
    ("names", "scores", "models"),
    [
        (("chosen", "rejected"), ("chosen-rating", "rejected-rating"), ("chosen-model", "rejected-model")),
        (("chosen", "rejected"), ("chosen_rating", "rejected_rating"), ("chosen_model", "rejected_model")),
        (
            ("chosen_response", "rejected_response"),
            ("chosen_avg_rating", "rejected_avg_rating"),
            ("chosen_model", "rejected_model"),
        ),
    ],
)
def test_all_dialects_of_binarized_ultrafeedback_say_the_same(
    names: tuple[str, str], scores: tuple[str, str], models: tuple[str, str]
) -> None:
    record = {"instruction": "q", "source": "s"}
    record |= dict(zip(names, ("good", "poor"), strict=True)) | dict(zip(models, ("m1", "m2"), strict=True))
    draft = parse("ultrafeedback", {**record, scores[0]: 5.0, scores[1]: 3.5})
    assert (draft.prompt, draft.response_a, draft.response_b) == ([user("q")], [bot("good")], [bot("poor")])
    assert (draft.score_a, draft.score_b, draft.margin) == (5.0, 3.5, 1.5)
    assert (draft.model_a, draft.model_b, draft.outcome) == ("m1", "m2", "a")


def test_pairs_with_scores_in_names_of_ultrafeedback_are_not_taken_for_any_pairs() -> None:
    """Both formats read them; only one reads all of their fields, and knows equal scores for a tie."""
    mixed = {"dataset": "d", "chosen": BINARIZED["chosen"], "rejected": BINARIZED["rejected"]}
    for record in (BINARIZED, {**mixed, "chosen_rating": 5.0, "rejected_rating": 5.0}):
        first, second, *_ = find_candidates([record])
        assert (first.format, second.format) == ("ultrafeedback", "trl")


def test_equal_scores_of_ultrafeedback_are_a_tie_and_opposite_ones_a_contradiction() -> None:
    assert parse("ultrafeedback", {**BINARIZED, "score_rejected": 8.5}).outcome == "tie"
    assert reason_of("ultrafeedback", {**BINARIZED, "score_rejected": 9}) == RejectReason.RULE_VIOLATION
    assert reason_of("ultrafeedback", {**BINARIZED, "score_chosen": None}) == RejectReason.MISSING_FIELD
    assert reason_of("ultrafeedback", {**BINARIZED, "score_chosen": "8.5"}) == RejectReason.WRONG_TYPE
    assert reason_of("ultrafeedback", {**BINARIZED, "chosen": None}) == RejectReason.MISSING_FIELD
    assert reason_of("ultrafeedback", {**BINARIZED, "prompt": "another"}) == RejectReason.PROMPTS_DIFFER


def completion(text: str, score: float | None, **more: Any) -> dict[str, Any]:
    return {"response": text, "model": f"m-{text}", "fine-grained_score": score, "overall_score": 10.0, **more}


def aspects(*ratings: str) -> dict[str, Any]:
    names = ("helpfulness", "honesty", "instruction_following", "truthfulness")
    return {name: {"Rating": rating, "Rationale": "r"} for name, rating in zip(names, ratings, strict=True)}


RAW = {
    "source": "s",
    "instruction": "q",
    "models": ["m-x", "m-y", "m-z"],
    "completions": [completion("x", 3.0), completion("y", 4.75), completion("z", 1.5)],
    "correct_answers": ["None"],
    "incorrect_answers": ["None"],
}


def test_raw_ultrafeedback_pairs_the_best_answer_with_the_worst() -> None:
    assert parse("ultrafeedback", RAW) == PairDraft(
        prompt=[user("q")],
        response_a=[bot("y")],
        response_b=[bot("z")],
        outcome="a",
        raw_value=[4.75, 1.5],
        rater_kind="llm_judge",
        margin=3.25,
        score_a=4.75,
        score_b=1.5,
        model_a="m-y",
        model_b="m-z",
    )
    rankings = find_format("ultrafeedback").rankings or {}
    pairs = [(pair.model_a, pair.model_b) for pair in rankings["neighbours"](RAW)]  # type: ignore[union-attr]
    assert pairs == [("m-y", "m-x"), ("m-x", "m-z")]


def test_raw_ultrafeedback_without_a_score_takes_the_mean_of_its_aspects() -> None:
    first = completion("x", None, annotations=aspects("5", "N/A", "3", "4"))
    listed = {name: [aspect] for name, aspect in aspects("1", "2", "1", "2").items()}
    second = completion("y", None, annotations=listed)
    unrated = completion("z", None, annotations=aspects("N/A", "N/A", "N/A", "N/A"))
    draft = parse("ultrafeedback", {**RAW, "completions": [unrated, second, first]})
    assert (draft.model_a, draft.score_a, draft.model_b, draft.score_b) == ("m-x", 4.0, "m-y", 1.5)


@pytest.mark.parametrize(
    ("completions", "reason"),
    [
        ([], RejectReason.NO_JUDGEMENT),
        ([completion("x", 3.0), completion("y", 3.0)], RejectReason.NO_JUDGEMENT),
        ([completion("x", 3.0), completion("y", None)], RejectReason.NO_JUDGEMENT),
        ([completion("x", None, annotations=aspects("6", "1", "1", "1"))], RejectReason.UNKNOWN_LABEL),
        ([completion("x", None, annotations={"honesty": None})], RejectReason.UNKNOWN_LABEL),
        ([completion("x", None, annotations=[1])], RejectReason.WRONG_TYPE),
        ([1], RejectReason.WRONG_TYPE),
        ("x", RejectReason.WRONG_TYPE),
    ],
)
def test_raw_ultrafeedback_that_ranks_nothing_is_rejected(completions: object, reason: str) -> None:
    assert reason_of("ultrafeedback", {**RAW, "completions": completions}) == reason


RATED = {
    "prompt": "c#",
    "response": "It is a language.",
    "helpfulness": 3,
    "correctness": 3,
    "coherence": 4,
    "complexity": 1,
    "verbosity": 1,
}


def test_a_helpsteer2_rating_keeps_its_helpfulness() -> None:
    assert parse("helpsteer2", RATED) == EventDraft(
        prompt=[user("c#")],
        completion=[bot("It is a language.")],
        signal="rating",
        raw_value=3,
        label=True,
        rater_kind="annotator",
        strength=3.0,
    )


@pytest.mark.parametrize(("value", "label"), [(4, True), (3, True), (2, None), (1, False), (0, False)])
def test_helpfulness_makes_a_label_above_and_below_the_middle(value: int, label: bool | None) -> None:
    assert parse("helpsteer2", {**RATED, "helpfulness": value}).label is label


@pytest.mark.parametrize("value", [5, -1, 3.0, "3", True, []])
def test_any_other_helpfulness_is_unknown(value: object) -> None:
    assert reason_of("helpsteer2", {**RATED, "helpfulness": value}) == RejectReason.UNKNOWN_LABEL


def test_a_helpsteer2_prompt_of_several_turns_is_read_as_turns() -> None:
    text = "Hi\n\n<extra_id_1>Assistant\nHello.\n\nHow are you?\n<extra_id_1>User\nFine"
    draft = parse("helpsteer2", {**RATED, "prompt": text})
    assert draft.prompt == [user("Hi"), bot("Hello.\n\nHow are you?"), user("Fine")]
    assert parse("helpsteer2", {**RATED, "prompt": f"<extra_id_1>User\n{text}"}).prompt == draft.prompt


COMPARED: dict[str, Any] = {
    "split": "train",
    "prompt": "q",
    "response_1": "a",
    "response_2": "b",
    "preference_strength": -2,
    "preference_statement": "@Response 1 is better than @Response 2 because ...",
    "preference_elaboration": "",
    "three_most_similar_preferences": [],
    "all_preferences_unprocessed": [],
}
HELPSTEER3: dict[str, Any] = {
    "domain": "general",
    "language": "english",
    "context": [user("q")],
    "response1": "a",
    "response2": "b",
    "overall_preference": -2,
    "individual_preference": [{"score": -2, "reasoning": "r", "feedback1": "f", "feedback2": "g"}],
}


@pytest.mark.parametrize(
    ("name", "record", "field"),
    [("helpsteer2", COMPARED, "preference_strength"), ("helpsteer3", HELPSTEER3, "overall_preference")],
)
def test_a_helpsteer_comparison_is_negative_for_the_first_answer(name: str, record: dict[str, Any], field: str) -> None:
    assert parse(name, record) == PairDraft(
        prompt=[user("q")],
        response_a=[bot("a")],
        response_b=[bot("b")],
        outcome="a",
        raw_value=-2,
        rater_kind="annotator",
        margin=2.0,
    )
    outcomes = [parse(name, {**record, field: value}) for value in (0, 1, 3)]
    assert [(one.outcome, one.margin) for one in outcomes] == [("tie", 0.0), ("b", 1.0), ("b", 3.0)]
    for value in (4, -4, 1.0, "1", True, []):
        assert reason_of(name, {**record, field: value}) == RejectReason.UNKNOWN_LABEL
    assert reason_of(name, {**record, field: None}) == RejectReason.MISSING_FIELD


def test_the_other_tables_of_helpsteer3_are_rejected() -> None:
    edited = {"context": [user("q")], "original_response": "a", "edited_response": "b", "feedback": ["f"]}
    assert reason_of("helpsteer3", edited) == RejectReason.MISSING_FIELD
    assert reason_of("helpsteer3", {**HELPSTEER3, "context": "q"}) == RejectReason.WRONG_TYPE


WEBGPT: dict[str, Any] = {
    "question": {"dataset": "eli5", "id": "q1", "full_text": "Why?"},
    "quotes_0": {"title": ["t"], "extract": ["e"]},
    "answer_0": "Because [1].",
    "tokens_0": {"prefix": [1], "completion": [2]},
    "score_0": -0.5,
    "quotes_1": {"title": [], "extract": []},
    "answer_1": "No idea.",
    "tokens_1": {"prefix": [1], "completion": [2]},
    "score_1": 0.5,
}


def test_a_webgpt_comparison_is_won_by_the_higher_score() -> None:
    assert parse("webgpt", WEBGPT) == PairDraft(
        prompt=[user("Why?")],
        response_a=[bot("Because [1].")],
        response_b=[bot("No idea.")],
        outcome="b",
        raw_value=[-0.5, 0.5],
        rater_kind="annotator",
        margin=1.0,
        score_a=-0.5,
        score_b=0.5,
    )
    assert parse("webgpt", {**WEBGPT, "score_0": 0, "score_1": 0.0}).outcome == "tie"
    assert reason_of("webgpt", {**WEBGPT, "score_0": None}) == RejectReason.MISSING_FIELD
    assert reason_of("webgpt", {**WEBGPT, "score_0": "0.5"}) == RejectReason.WRONG_TYPE
    assert reason_of("webgpt", {**WEBGPT, "question": "Why?"}) == RejectReason.WRONG_TYPE


SUMMARY: dict[str, Any] = {
    "info": {"id": "t3", "post": "I lost a sock.", "title": "Sock", "subreddit": "tifu", "site": None, "article": None},
    "split": "train",
    "summaries": [{"text": " A sock went.", "policy": "sup4", "note": None}, {"text": "Shoe.", "policy": "ref"}],
    "choice": 0,
    "worker": "w1",
    "batch": "batch3",
    "extra": {"confidence": None},
}


def test_a_summarize_comparison_is_won_by_its_choice() -> None:
    assert parse("summarize", SUMMARY) == PairDraft(
        prompt=[user("SUBREDDIT: r/tifu\n\nTITLE: Sock\n\nPOST: I lost a sock.\n\nTL;DR:")],
        response_a=[bot("A sock went.")],
        response_b=[bot("Shoe.")],
        outcome="a",
        raw_value=0,
        rater="w1",
        rater_kind="annotator",
        model_a="sup4",
        model_b="ref",
    )
    news = {**SUMMARY, "choice": 1, "info": {"id": "n", "article": "It rained.", "post": None, "title": "Rain"}}
    draft = parse("summarize", news)
    assert (draft.prompt, draft.outcome) == ([user("Article:\nIt rained.\n\nTL;DR:")], "b")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        *(({"choice": value}, RejectReason.UNKNOWN_LABEL) for value in (2, -1, "0", True, 0.0)),
        ({"choice": None}, RejectReason.MISSING_FIELD),
        ({"summaries": None}, RejectReason.MISSING_FIELD),
        ({"summaries": [{"text": "a"}]}, RejectReason.WRONG_TYPE),
        ({"summaries": [{"text": "a"}, "b"]}, RejectReason.WRONG_TYPE),
        ({"info": "post"}, RejectReason.WRONG_TYPE),
        ({"info": {"title": "t"}}, RejectReason.MISSING_FIELD),
    ],
)
def test_a_summarize_record_outside_the_rule_is_rejected(change: dict[str, Any], reason: str) -> None:
    assert reason_of("summarize", {**SUMMARY, **change}) == reason


@pytest.mark.parametrize(
    ("name", "record"),
    [
        *(("shp", SHP), ("ultrafeedback", BINARIZED), ("ultrafeedback", RAW), ("helpsteer2", RATED)),
        *(("helpsteer2", COMPARED), ("helpsteer3", HELPSTEER3), ("webgpt", WEBGPT), ("summarize", SUMMARY)),
    ],
)
def test_whatever_a_rated_record_holds_is_a_draft_or_a_rejection(name: str, record: dict[str, Any]) -> None:
    check_any_values(name, record)
