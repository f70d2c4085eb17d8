"""The shapes that trainers and services take: Axolotl's loaders, TRL's repeated prompts, the services' outputs."""

from __future__ import annotations

from typing import Any

import pytest

from feedback.formats import EventDraft, PairDraft
from schemas.messages import Message
from schemas.reasons import RejectReason
from tests.format_records import bot, check_any_values, parse, reason_of, user

SYSTEM: Message = {"role": "system", "content": "s"}


@pytest.mark.parametrize(
    "record",
    [
        {"instruction": "q", "completion": "a", "label": False},
        {"question": "q", "completion": "a", "label": False},
        {"prompt": "q", "completion": "a", "label": False},
        {"prompt": [user("q")], "completion": [bot("a")], "label": False},
        {"completion": [user("q"), bot("a")], "label": False},
        {"chosen": [user("q")], "completion": [bot("a")], "label": False},
        {"chosen": [user("q")], "completion": [user("q"), bot("a")], "label": False},
        {"completion": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "label": False},
    ],
)
def test_axolotl_kto_is_read_in_all_its_shapes(record: dict[str, Any]) -> None:
    expected = EventDraft(
        prompt=[user("q")], completion=[bot("a")], signal="label", raw_value=False, label=False, rater_kind="unknown"
    )
    assert parse("axolotl", record) == expected
    with_system = parse("axolotl", {**record, "system": "s", "label": True})
    assert (with_system.prompt, with_system.label) == ([SYSTEM, user("q")], True)


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [user("q")], "chosen": bot("a"), "rejected": bot("b")},
        {"messages": "q", "chosen": "a", "rejected": [bot("b")]},
        {"instruction": "q", "chosen_response": "a", "rejected_response": "b"},
        {"input": "q", "chosen": "a", "rejected": "b"},
        {"input": "", "instruction": "q", "chosen": "a", "rejected": "b"},
        {"input": "q", "instruction": "q", "chosen": "a", "rejected": "b"},
        {"question": "q", "chosen": "a", "rejected": "b"},
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"prompt": "q", "chosen": [user("q"), bot("a")], "rejected": [user("q"), bot("b")]},
        {"chosen": [user("q"), bot("a")], "rejected": [user("q"), bot("b")]},
    ],
)
def test_axolotl_dpo_is_read_in_all_its_shapes(record: dict[str, Any]) -> None:
    expected = PairDraft(
        prompt=[user("q")], response_a=[bot("a")], response_b=[bot("b")], outcome="a", raw_value="chosen"
    )
    assert parse("axolotl", record) == expected
    assert parse("axolotl", {**record, "system": "s"}).prompt == [SYSTEM, user("q")]
    assert parse("axolotl", {**record, "tools": '[{"name": "t"}]'}).tools == '[{"name": "t"}]'


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        *(
            ({"prompt": "q", "completion": "a", "label": value}, RejectReason.UNKNOWN_LABEL)
            for value in (1, 0, "true ", "yes", "1", [])
        ),
        ({"prompt": "q", "completion": "a"}, RejectReason.MISSING_FIELD),
        ({"instruction": "q", "input": "r", "chosen": "a", "rejected": "b"}, RejectReason.RULE_VIOLATION),
        ({"prompt": [user("q")], "question": "r", "chosen": "a", "rejected": "b"}, RejectReason.RULE_VIOLATION),
        ({"completion": "a", "label": True}, RejectReason.MISSING_FIELD),
        ({"completion": [user("q")], "label": True}, RejectReason.BAD_ROLES),
        ({"completion": [], "label": True}, RejectReason.EMPTY_PROMPT),
        ({"prompt": "q", "completion": [user("r"), bot("a")], "label": True}, RejectReason.PROMPTS_DIFFER),
        ({"prompt": "q", "chosen": "a"}, RejectReason.MISSING_FIELD),
        ({"prompt": "q", "chosen": 3, "rejected": "b"}, RejectReason.WRONG_TYPE),
        ({"messages": [user("q")], "chosen": [user("r"), bot("a")], "rejected": "b"}, RejectReason.PROMPTS_DIFFER),
        ({"chosen": [user("q"), bot("a")], "rejected": [user("r"), bot("b")]}, RejectReason.PROMPTS_DIFFER),
        ({"messages": [{"role": "robot", "content": "q"}], "chosen": "a", "rejected": "b"}, RejectReason.BAD_ROLES),
    ],
)
def test_an_axolotl_record_outside_the_rule_is_rejected(record: dict[str, Any], reason: str) -> None:
    assert reason_of("axolotl", record) == reason


def test_trl_answers_may_repeat_a_prompt_with_turns_before_it() -> None:
    """As in HuggingFaceH4/orca_dpo_pairs: `prompt` is the question, and the conversations begin with a system turn."""
    record = {"prompt": "q", "chosen": [SYSTEM, user("q"), bot("a")], "rejected": [SYSTEM, user("q"), bot("b")]}
    draft = parse("trl", record)
    assert (draft.prompt, draft.response_a, draft.response_b) == ([SYSTEM, user("q")], [bot("a")], [bot("b")])
    assert reason_of("trl", {**record, "prompt": "r"}) == RejectReason.PROMPTS_DIFFER
    other = [{**SYSTEM, "content": "t"}, user("q"), bot("b")]
    assert reason_of("trl", {**record, "rejected": other}) == RejectReason.PROMPTS_DIFFER


@pytest.mark.parametrize("outputs", [(bot("a"), bot("b")), ([bot("a")], [bot("b")])])
def test_an_output_of_the_services_is_one_message_or_a_list_of_them(outputs: tuple[Any, Any]) -> None:
    messages = [{"role": "developer", "content": "s"}, bot("Hello, how can I help?"), user("q")]
    record = {
        "input": {"messages": messages, "tools": [], "parallel_tool_calls": True},
        "preferred_output": outputs[0],
        "non_preferred_output": outputs[1],
    }
    assert parse("openai", record) == PairDraft(
        prompt=[SYSTEM, bot("Hello, how can I help?"), user("q")],
        response_a=[bot("a")],
        response_b=[bot("b")],
        outcome="a",
        raw_value="preferred_output",
    )


def test_an_output_that_calls_a_tool_is_rejected_and_null_extras_are_not() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}]}
    record: dict[str, Any] = {"input": {"messages": [user("q")]}, "non_preferred_output": [bot("b")]}
    assert reason_of("openai", {**record, "preferred_output": [call]}) == RejectReason.WRONG_TYPE
    plain = {**bot("a"), "tool_calls": None, "refusal": None, "weight": 1, "name": None}
    assert parse("openai", {**record, "preferred_output": [plain]}).response_a == [bot("a")]


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "q", "completion": "a", "label": True},
        {"messages": [user("q")], "chosen": bot("a"), "rejected": bot("b")},
        {"chosen": [user("q"), bot("a")], "rejected": [user("q"), bot("b")]},
    ],
)
def test_whatever_an_axolotl_record_holds_is_a_draft_or_a_rejection(record: dict[str, Any]) -> None:
    check_any_values("axolotl", record)
