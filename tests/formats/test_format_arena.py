"""Chatbot Arena, its Kaggle shapes and MT-bench: what was compared, who won, and what a tie is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from feedback.formats import PairDraft
from schemas.reasons import RejectReason
from tests.format_records import bot, check_any_values, parse, reason_of, user

BATTLE: dict[str, Any] = {
    "question_id": "58210e39",
    "model_a": "alpaca",
    "model_b": "koala",
    "winner": "model_b",
    "judge": "arena_user_973",
    "conversation_a": [user("q"), bot("a")],
    "conversation_b": [user("q"), bot("b")],
    "turn": 1,
    "anony": True,
    "language": "English",
    "tstamp": 1682351591.1322,
    "openai_moderation": {"flagged": False},
    "toxic_chat_tag": {},
}


def test_a_battle_is_a_pair_with_its_voter_and_time() -> None:
    assert parse("arena", BATTLE) == PairDraft(
        prompt=[user("q")],
        response_a=[bot("a")],
        response_b=[bot("b")],
        outcome="b",
        raw_value="model_b",
        record_id="58210e39",
        rater="arena_user_973",
        rater_kind="end_user",
        event_time=1682351591.1322,
        model_a="alpaca",
        model_b="koala",
    )


def test_a_numbered_question_is_no_vote_of_its_own() -> None:
    assert parse("arena", {**BATTLE, "question_id": 81}).record_id is None
    assert parse("arena", {**BATTLE, "question_id": 81, "id": 7}).record_id == "7"


@pytest.mark.parametrize(
    ("winner", "outcome"),
    [("model_a", "a"), ("model_b", "b"), ("tie", "tie"), ("tie (bothbad)", "both_bad"), ("both_bad", "both_bad")],
)
def test_two_bad_answers_are_no_tie(winner: str, outcome: str) -> None:
    assert parse("arena", {**BATTLE, "winner": winner}).outcome == outcome


@pytest.mark.parametrize("winner", ["A", "koala", "", "tie (inconsistent)", 1, True, []])
def test_any_other_winner_is_unknown(winner: object) -> None:
    assert reason_of("arena", {**BATTLE, "winner": winner}) == RejectReason.UNKNOWN_LABEL


def test_a_battle_of_several_turns_shares_only_what_both_models_saw() -> None:
    long = {
        **BATTLE,
        "conversation_a": [user("q"), bot("a"), user("more"), bot("a2")],
        "conversation_b": [user("q"), bot("b"), user("more"), bot("b2")],
    }
    draft = parse("arena", long)
    assert (draft.prompt, draft.response_a) == ([user("q")], [bot("a"), user("more"), bot("a2")])
    same_start = {**long, "conversation_b": [user("q"), bot("a"), user("more"), bot("b2")]}
    draft = parse("arena", same_start)
    assert (draft.prompt, draft.response_b) == ([user("q"), bot("a"), user("more")], [bot("b2")])


def test_the_newer_arena_sets_have_parts_and_conversations_in_strings() -> None:
    def parts(role: str, text: str) -> dict[str, Any]:
        return {"role": role, "content": [{"type": "text", "text": text, "image": None, "mimeType": None}]}

    record = {
        "id": "vote-1",
        "evaluation_session_id": "s",
        "evaluation_order": 2,
        "winner": "both_bad",
        "conversation_a": [parts("user", "q"), parts("assistant", "a")],
        "conversation_b": json.dumps([parts("user", "q"), parts("assistant", "b")]),
        "judge_hash": "h",
        "timestamp": "2025-06-05T10:00:00",
    }
    draft = parse("arena", record)
    assert (draft.prompt, draft.response_a, draft.response_b) == ([user("q")], [bot("a")], [bot("b")])
    assert (draft.record_id, draft.rater, draft.flags) == ("vote-1", "h", ("later_vote",))
    assert draft.event_time == "2025-06-05T10:00:00"
    picture = [{"role": "user", "content": [{"type": "image", "image": "x"}]}]
    assert reason_of("arena", {**record, "conversation_a": picture}) == RejectReason.WRONG_TYPE


KAGGLE: dict[str, Any] = {
    "id": 30192,
    "model_a": "gpt-4-1106-preview",
    "model_b": "gpt-4-0613",
    "prompt": '["Is it \\"ok\\"?","OK, why?"]',
    "response_a": '["Yes.","Since."]',
    "response_b": '["No.","Never."]',
    "winner_model_a": 1,
    "winner_model_b": 0,
    "winner_tie": 0,
}


def test_a_kaggle_row_has_lists_in_its_cells() -> None:
    expected = PairDraft(
        prompt=[user('Is it "ok"?')],
        response_a=[bot("Yes."), user("OK, why?"), bot("Since.")],
        response_b=[bot("No."), user("OK, why?"), bot("Never.")],
        outcome="a",
        raw_value=[1, 0, 0],
        record_id="30192",
        rater_kind="end_user",
        model_a="gpt-4-1106-preview",
        model_b="gpt-4-0613",
    )
    assert parse("arena", KAGGLE) == expected
    csv = {key: str(value) for key, value in KAGGLE.items()}
    assert parse("arena", csv).outcome == "a"
    assert parse("arena", {**csv, "winner_model_a": "0", "winner_tie": "1"}).outcome == "tie"


@pytest.mark.parametrize(
    "flags", [(0, 0, 0), (1, 1, 0), (1, 0, 2), (True, False, False), (1.0, 0, 0), ("yes", "0", "0"), ([], 0, 0)]
)
def test_a_kaggle_row_needs_exactly_one_winner(flags: tuple[object, ...]) -> None:
    names = ("winner_model_a", "winner_model_b", "winner_tie")
    assert reason_of("arena", {**KAGGLE, **dict(zip(names, flags, strict=True))}) == RejectReason.UNKNOWN_LABEL


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"response_a": '["Yes.",null]'}, RejectReason.EMPTY_COMPLETION),
        ({"prompt": '["q",null]'}, RejectReason.WRONG_TYPE),
        ({"response_a": '["Yes."]'}, RejectReason.RULE_VIOLATION),
        ({"response_a": '["\\ud83d","x"]'}, RejectReason.LONE_SURROGATE),
        ({"response_a": "['Yes.', 'x']"}, RejectReason.INVALID_JSON),
        ({"response_a": '{"a": 1}'}, RejectReason.WRONG_TYPE),
        ({"response_a": 3}, RejectReason.WRONG_TYPE),
        ({"response_a": " "}, RejectReason.WRONG_TYPE),
        ({"response_a": None}, RejectReason.MISSING_FIELD),
        ({"winner_tie": None}, RejectReason.MISSING_FIELD),
        ({"prompt": '["x","y"]', "response_b": KAGGLE["response_a"]}, RejectReason.IDENTICAL_RESPONSES),
    ],
)
def test_a_kaggle_row_with_a_broken_cell_is_rejected(change: dict[str, Any], reason: str) -> None:
    assert reason_of("arena", {**KAGGLE, **change}) == reason


def test_a_kaggle_row_with_one_winner_column_has_plain_text() -> None:
    record = {"id": "x", "prompt": "[1, 2]?", "response_a": "a", "response_b": "b", "winner": "model_a"}
    draft = parse("arena", {**record, "language": "Polish", "model_a": "m", "model_b": "n"})
    assert (draft.prompt, draft.response_a, draft.outcome) == ([user("[1, 2]?")], [bot("a")], "a")


VOTE: dict[str, Any] = {
    "question_id": 81,
    "model_a": "alpaca-13b",
    "model_b": "gpt-4",
    "winner": "model_b",
    "judge": "expert_0",
    "conversation_a": [user("q1"), bot("a1"), user("q2"), bot("a2")],
    "conversation_b": [user("q1"), bot("b1"), user("q2"), bot("b2")],
    "turn": 1,
}


def test_a_vote_on_the_first_turn_of_mt_bench_does_not_see_the_second() -> None:
    assert parse("mt_bench", VOTE) == PairDraft(
        prompt=[user("q1")],
        response_a=[bot("a1")],
        response_b=[bot("b1")],
        outcome="b",
        raw_value="model_b",
        rater="expert_0",
        rater_kind="annotator",
        model_a="alpaca-13b",
        model_b="gpt-4",
    )
    second = parse("mt_bench", {**VOTE, "turn": 2})
    assert second.response_b == [bot("b1"), user("q2"), bot("b2")]
    assert reason_of("mt_bench", {**VOTE, "turn": 3}) == RejectReason.BROKEN_THREAD


@pytest.mark.parametrize(
    ("judge", "rater", "kind"),
    [
        ("expert_3", "expert_3", "annotator"),
        ("author_1", "author_1", "annotator"),
        ("gpt4_pair", "gpt4_pair", "llm_judge"),
        (["gpt-4", "pair-v2"], "gpt-4/pair-v2", "llm_judge"),
        ("somebody", "somebody", "unknown"),
    ],
)
def test_the_judge_of_mt_bench_says_whether_it_is_a_person(judge: object, rater: str, kind: str) -> None:
    draft = parse("mt_bench", {**VOTE, "judge": judge})
    assert (draft.rater, draft.rater_kind) == (rater, kind)


def test_an_inconsistent_verdict_of_mt_bench_is_a_tie_with_a_flag() -> None:
    draft = parse("mt_bench", {**VOTE, "winner": "tie (inconsistent)", "judge": "gpt4_pair"})
    assert (draft.outcome, draft.flags) == ("tie", ("inconsistent",))
    assert reason_of("mt_bench", {**VOTE, "winner": "tie (bothbad)"}) == RejectReason.UNKNOWN_LABEL
    assert reason_of("mt_bench", {**VOTE, "judge": {}}) == RejectReason.WRONG_TYPE
    assert reason_of("mt_bench", {**VOTE, "turn": "1"}) == RejectReason.WRONG_TYPE
    assert reason_of("mt_bench", {**VOTE, "question_id": None}) == RejectReason.MISSING_FIELD


def one_turn(answer_a: str = "a1", reference: str = "") -> str:
    answers = "\n\n".join(
        f"[The Start of Assistant {name}'s Answer]\n{text}\n[The End of Assistant {name}'s Answer]"
        for name, text in (("A", answer_a), ("B", "b1"))
    )
    return f"[User Question]\nq1\n\n{reference}{answers}"


def two_turns() -> str:
    sides = [
        f"<|The Start of Assistant {name}'s Conversation with User|>\n\n"
        f"### User:\nq1\n\n### Assistant {name}:\n{text}1\n\n### User:\nq2\n\n### Assistant {name}:\n{text}2\n\n"
        f"<|The End of Assistant {name}'s Conversation with User|>"
        for name, text in (("A", "a"), ("B", "b"))
    ]
    reference = "<|The Start of Reference Answer|>\n\n### User:\nq1\n\n### Reference answer:\nr\n\n"
    return f"{reference}<|The End of Reference Answer|>\n\n\n" + "\n\n\n".join(sides)


VERDICT: dict[str, Any] = {
    "question_id": 81,
    "model_1": "alpaca-13b",
    "model_2": "gpt-4",
    "g1_winner": "model_2",
    "g2_winner": "model_2",
    "judge": ["gpt-4", "pair-v2"],
    "g1_user_prompt": one_turn(),
    "g1_judgment": "[[B]]",
    "g2_user_prompt": "...",
    "g2_judgment": "[[A]]",
    "turn": 1,
    "tstamp": 1686286924.0844,
}


def test_a_judge_that_agrees_in_both_orders_prefers_an_answer() -> None:
    assert parse("mt_bench", VERDICT) == PairDraft(
        prompt=[user("q1")],
        response_a=[bot("a1")],
        response_b=[bot("b1")],
        outcome="b",
        raw_value=["model_2", "model_2"],
        rater="gpt-4/pair-v2",
        rater_kind="llm_judge",
        event_time=1686286924.0844,
        model_a="alpaca-13b",
        model_b="gpt-4",
    )
    reference = "[The Start of Reference Answer]\nr\n[The End of Reference Answer]\n\n"
    assert parse("mt_bench", {**VERDICT, "g1_user_prompt": one_turn(reference=reference)}) == parse("mt_bench", VERDICT)
    second = parse("mt_bench", {**VERDICT, "turn": 2, "g1_user_prompt": two_turns()})
    assert (second.prompt, second.response_a) == ([user("q1")], [bot("a1"), user("q2"), bot("a2")])


@pytest.mark.parametrize(
    ("verdicts", "outcome", "flags"),
    [
        (("model_1", "model_1"), "a", ()),
        (("tie", "tie"), "tie", ()),
        (("model_1", "model_2"), "tie", ("inconsistent",)),
        (("model_1", "tie"), "tie", ("inconsistent",)),
    ],
)
def test_a_judge_that_changes_its_mind_with_the_order_says_tie(
    verdicts: tuple[str, str], outcome: str, flags: tuple[str, ...]
) -> None:
    draft = parse("mt_bench", {**VERDICT, "g1_winner": verdicts[0], "g2_winner": verdicts[1]})
    assert (draft.outcome, draft.flags) == (outcome, flags)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"g2_winner": "error"}, RejectReason.NO_JUDGEMENT),
        ({"g2_winner": "A"}, RejectReason.UNKNOWN_LABEL),
        ({"g2_winner": []}, RejectReason.UNKNOWN_LABEL),
        ({"g2_winner": None}, RejectReason.MISSING_FIELD),
        ({"g1_user_prompt": None}, RejectReason.MISSING_FIELD),
        ({"g1_user_prompt": "q1, a1, b1"}, RejectReason.WRONG_TYPE),
        ({"g1_user_prompt": 3}, RejectReason.WRONG_TYPE),
        ({"g1_user_prompt": one_turn("[The Start of Assistant B's Answer]")}, RejectReason.WRONG_TYPE),
        ({"turn": 2}, RejectReason.WRONG_TYPE),
    ],
)
def test_a_verdict_that_cannot_be_used_is_rejected(change: dict[str, Any], reason: str) -> None:
    assert reason_of("mt_bench", {**VERDICT, **change}) == reason


@pytest.mark.parametrize(
    ("name", "record"), [("arena", BATTLE), ("arena", KAGGLE), ("mt_bench", VOTE), ("mt_bench", VERDICT)]
)
def test_whatever_a_compared_record_holds_is_a_draft_or_a_rejection(name: str, record: dict[str, Any]) -> None:
    check_any_values(name, record)
