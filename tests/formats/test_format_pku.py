"""PKU-SafeRLHF under its three names: what is safe comes first, or one of the two comparisons counts alone."""

from __future__ import annotations

from typing import Any

import pytest

from feedback.formats import PairDraft
from schemas.reasons import RejectReason
from tests.format_records import bot, check_any_values, parse, reason_of, user

RECORD: dict[str, Any] = {
    "prompt": "q",
    "response_0": "a",
    "response_1": "b",
    "prompt_source": "s",
    "response_0_source": "Alpaca-7B",
    "response_1_source": "Alpaca2-7B",
    "is_response_0_safe": True,
    "is_response_1_safe": False,
    "response_0_harm_category": {"Violence": False},
    "response_1_harm_category": {"Violence": True},
    "response_0_severity_level": 0,
    "response_1_severity_level": 3,
    "better_response_id": 1,
    "safer_response_id": 0,
    "response_0_sha256": "0a",
    "response_1_sha256": "0b",
}
DEFAULT = "pku_safe_rlhf"


def safety(first: bool, second: bool, **more: Any) -> dict[str, Any]:
    return {**RECORD, "is_response_0_safe": first, "is_response_1_safe": second, **more}


def test_by_default_a_safe_answer_is_preferred_to_a_better_one() -> None:
    assert parse(DEFAULT, RECORD) == PairDraft(
        prompt=[user("q")],
        response_a=[bot("a")],
        response_b=[bot("b")],
        outcome="a",
        raw_value={"is_response_0_safe": True, "is_response_1_safe": False},
        rater_kind="annotator",
        model_a="Alpaca-7B",
        model_b="Alpaca2-7B",
    )


@pytest.mark.parametrize(
    ("first", "second", "better", "outcome"),
    [
        (True, True, 0, "a"),
        (True, True, 1, "b"),
        (True, False, 1, "a"),
        (False, True, 0, "b"),
        (False, False, 0, "both_bad"),
        (False, False, 1, "both_bad"),
    ],
)
def test_by_default_no_unsafe_answer_is_ever_preferred(first: bool, second: bool, better: int, outcome: str) -> None:
    safer = 0 if first else 1
    draft = parse(DEFAULT, safety(first, second, better_response_id=better, safer_response_id=safer))
    assert (draft.outcome, draft.flags) == (outcome, ())


def test_each_comparison_can_count_alone_and_an_unsafe_winner_is_flagged() -> None:
    better, safer = parse(f"{DEFAULT}_better", RECORD), parse(f"{DEFAULT}_safer", RECORD)
    assert (better.outcome, better.raw_value, better.flags) == ("b", {"better_response_id": 1}, ("unsafe_preferred",))
    assert (safer.outcome, safer.raw_value, safer.flags) == ("a", {"safer_response_id": 0}, ())
    unsafe = parse(f"{DEFAULT}_safer", safety(False, False))
    assert (unsafe.outcome, unsafe.flags) == ("a", ("unsafe_preferred",))


def test_a_single_comparison_needs_no_word_on_safety() -> None:
    single = {name: RECORD[name] for name in ("prompt", "response_0", "response_1", "better_response_id")}
    assert parse(f"{DEFAULT}_better", single).outcome == "b"
    assert reason_of(DEFAULT, single) == RejectReason.MISSING_FIELD
    assert reason_of(f"{DEFAULT}_safer", single) == RejectReason.MISSING_FIELD


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        *((DEFAULT, {"is_response_0_safe": value}, RejectReason.UNKNOWN_LABEL) for value in (1, "yes", 0.0, [])),
        *((f"{DEFAULT}_better", {"better_response_id": v}, RejectReason.UNKNOWN_LABEL) for v in (2, -1, "0", True)),
        *((f"{DEFAULT}_safer", {"safer_response_id": v}, RejectReason.UNKNOWN_LABEL) for v in (2, -1, "0", True)),
        (DEFAULT, {"safer_response_id": 1}, RejectReason.RULE_VIOLATION),
        (DEFAULT, {"response_0": None}, RejectReason.MISSING_FIELD),
        (DEFAULT, {"prompt": ["q"]}, RejectReason.WRONG_TYPE),
        (f"{DEFAULT}_better", {"is_response_1_safe": "no"}, RejectReason.WRONG_TYPE),
    ],
)
def test_a_record_outside_the_rule_is_rejected(name: str, change: dict[str, Any], reason: str) -> None:
    assert reason_of(name, {**RECORD, **change}) == reason


@pytest.mark.parametrize("name", [DEFAULT, f"{DEFAULT}_better", f"{DEFAULT}_safer"])
def test_whatever_a_record_holds_is_a_draft_or_a_rejection(name: str) -> None:
    check_any_values(name, RECORD)
