"""Inputs and outputs of traces in every shape that tools store become the same turns, or a rejection."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.formats.parts.trace_texts import read_exchange, read_turns
from schemas.errors import RecordRejectedError
from schemas.reasons import RejectReason
from tests.format_records import bot, user

Q, A = user("q"), bot("a")
LC = {"lc": 1, "type": "constructor"}


def lc(name: str, **kwargs: Any) -> dict[str, Any]:
    return {**LC, "id": ["langchain", "schema", "messages", name], "kwargs": kwargs}


ASKED: list[Any] = [
    "q",
    Q,
    [Q],
    [[Q]],
    {"messages": [Q]},
    {"messages": [[Q]], "model": "m", "temperature": 0},
    [{"role": "user", "content": [{"type": "text", "text": "q"}]}],
    [{"role": "user", "content": ["q"]}],
    [{"role": "user", "content": [{"type": "input_text", "text": "q"}]}],
    [{"role": "user", "content": [{"type": "text", "text": {"value": "q", "annotations": []}}]}],
    [{"role": "user", "parts": [{"type": "text", "content": "q"}]}],
    [{"role": "user", "content": None, "parts": [{"type": "text", "text": "q"}]}],
    [{"role": "human", "content": "q"}],
    [{"type": "human", "content": "q", "additional_kwargs": {}, "id": None}],
    [{"type": "HumanMessage", "content": "q"}],
    [{"type": "human", "data": {"content": "q", "type": "human"}}],
    [{"type": "chat", "data": {"content": "q", "role": "user"}}],
    {"messages": [[lc("HumanMessage", content="q", type="human")]]},
    [{"type": "text", "text": "q"}],
]
ANSWERED: list[Any] = [
    "a",
    A,
    [A],
    {"messages": [Q, A]},
    {"choices": [{"index": 0, "message": {**A, "refusal": None, "tool_calls": None}, "finish_reason": "stop"}]},
    {"choices": [{"text": "a"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "a"}]},
    {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}]},
    {"role": "assistant", "parts": [{"type": "reasoning", "content": "hm"}, {"type": "text", "content": "a"}]},
    {"object": "response", "output": [{"type": "reasoning"}, {"type": "message", **A}]},
    {"generations": [[{"text": "a", "message": lc("AIMessageChunk", content="a", tool_calls=[])}]], "llm_output": None},
    {"generations": [[{"text": "a"}]]},
    {"type": "ai", "content": "a", "tool_calls": [], "response_metadata": {}},
    {"type": "AIMessageChunk", "content": "a"},
    lc("AIMessage", content="a"),
    {"role": "model", "content": "a"},
    [{"type": "output_text", "text": "a"}],
]


@pytest.mark.parametrize("asked", ASKED, ids=range(len(ASKED)))
@pytest.mark.parametrize("is_text", [False, True])
def test_every_shape_of_an_input_is_the_same_question(asked: Any, is_text: bool) -> None:
    value = json.dumps(asked) if is_text and not isinstance(asked, str) else asked
    assert read_exchange(value, "a", ("input", "output")) == ([Q], [A])


@pytest.mark.parametrize("answered", ANSWERED, ids=range(len(ANSWERED)))
@pytest.mark.parametrize("is_text", [False, True])
def test_every_shape_of_an_output_is_the_same_answer(answered: Any, is_text: bool) -> None:
    value = json.dumps(answered) if is_text and not isinstance(answered, str) else answered
    assert read_exchange("q", value, ("input", "output")) == ([Q], [A])


def test_a_conversation_keeps_its_order_and_its_system_turn() -> None:
    asked = {"system": "s", "messages": [Q, A, {"role": "user", "content": "r"}]}
    prompt, completion = read_exchange(asked, "b", ("input", "output"))
    assert prompt == [{"role": "system", "content": "s"}, Q, A, user("r")]
    assert completion == [bot("b")]


def test_json_in_text_that_is_no_message_is_text_only_where_a_map_named_it() -> None:
    for value in ('{"city": "Paris"}', '[{"city": "Paris"}]'):
        with pytest.raises(RecordRejectedError, match="wrong_type: field 'output' is an object or a list without"):
            read_turns(value, "output", "assistant")
        assert read_turns(value, "output", "assistant", is_mapped=True) == [bot(value)]
    for value in ("[1] says so", "{braces}", "[1, 2]", "", "  x "):
        assert read_turns(value, "output", "assistant") == [bot(value)]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, RejectReason.MISSING_FIELD),
        (3, RejectReason.WRONG_TYPE),
        (True, RejectReason.WRONG_TYPE),
        ([], RejectReason.WRONG_TYPE),
        ([1], RejectReason.WRONG_TYPE),
        ({"question": "q"}, RejectReason.WRONG_TYPE),
        ({"input": "q"}, RejectReason.WRONG_TYPE),
        ({"output": "a"}, RejectReason.WRONG_TYPE),
        ({"messages": []}, RejectReason.WRONG_TYPE),
        ({"messages": "q"}, RejectReason.WRONG_TYPE),
        ([Q, {"question": "q"}], RejectReason.WRONG_TYPE),
        ({"choices": [{"message": A}, {"message": A}]}, RejectReason.WRONG_TYPE),
        ({"choices": []}, RejectReason.WRONG_TYPE),
        ({"choices": ["a"]}, RejectReason.WRONG_TYPE),
        ({"generations": [[{"text": "a"}, {"text": "b"}]]}, RejectReason.WRONG_TYPE),
        ({"generations": [[{"text": "a"}], [{"text": "b"}]]}, RejectReason.WRONG_TYPE),
        ({"generations": [1]}, RejectReason.WRONG_TYPE),
        ({"output": [{"type": "function_call", "name": "f"}]}, RejectReason.WRONG_TYPE),
        ([{"role": "narrator", "content": "q"}], RejectReason.BAD_ROLES),
        ([{"role": "user", "content": None}], RejectReason.MISSING_FIELD),
        ([{"role": "user", "content": 3}], RejectReason.WRONG_TYPE),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], RejectReason.WRONG_TYPE),
        ([{"role": "user", "parts": [{"type": "uri", "uri": "x"}]}], RejectReason.WRONG_TYPE),
        ([{"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}], RejectReason.WRONG_TYPE),
        ([{"role": "assistant", "content": [{"type": "tool_use", "id": "1"}]}], RejectReason.WRONG_TYPE),
        ([{"role": "assistant", "parts": [{"type": "tool_call", "id": "1"}]}], RejectReason.WRONG_TYPE),
        ([{"type": "ai", "content": "", "tool_calls": [{"name": "f"}]}], RejectReason.WRONG_TYPE),
        ([lc("AIMessage", content="", additional_kwargs={"tool_calls": [{"id": "1"}]})], RejectReason.WRONG_TYPE),
        ([{**LC, "id": ["x", "PromptValue"], "kwargs": {"content": "q"}}], RejectReason.WRONG_TYPE),
    ],
)
def test_what_is_neither_text_nor_one_conversation_is_rejected(value: Any, reason: str) -> None:
    with pytest.raises(RecordRejectedError) as caught:
        read_turns(value, "input", "user")
    assert caught.value.reason == reason
    assert caught.value.detail


def test_an_output_that_begins_with_another_prompt_is_rejected() -> None:
    with pytest.raises(RecordRejectedError, match="prompts_differ"):
        read_exchange("q", {"messages": [user("other"), A]}, ("input", "output"))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("role", "content", "parts", "type", "text", "messages", "choices", "message", "generations"),
                    *("output", "lc", "id", "kwargs", "data", "tool_calls", "system"),
                ]
            ),
            inner | st.sampled_from(["user", "human", "text"]),
        )
    ),
    max_leaves=10,
)


@given(anything)
@settings(max_examples=300, deadline=None)
def test_whatever_a_trace_holds_is_turns_or_a_rejection(value: Any) -> None:
    with suppress(RecordRejectedError):
        turns = read_turns(value, "input", "user")
        assert all(isinstance(turn["content"], str) for turn in turns)
