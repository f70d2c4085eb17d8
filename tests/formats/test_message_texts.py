"""Messages in JSON texts: what is read at once gives the turns, or the rejection, that the careful way gives."""

from __future__ import annotations

import json
from typing import Any

import pytest

from feedback.formats.parts import trace_texts
from feedback.formats.parts.message_texts import text_of_parts, turns_of_text
from feedback.formats.parts.trace_texts import read_turns
from schemas.errors import RecordRejectedError

ROLES = {"user": "user", "ai": "assistant"}
PART = {"type": "text", "content": "x"}
AT_ONCE: list[Any] = [
    [{"role": "user", "content": "q"}],
    [{"role": "user", "content": "q", "name": "n", "id": "1", "type": "message"}, {"role": "ai", "content": "a"}],
    [{"role": "ai", "parts": [PART, {"type": "output_text", "text": "y", "content": "z"}], "finish_reason": "stop"}],
    [{"role": "ai", "content": None, "parts": [{"type": "reasoning", "content": "hm"}, PART]}],
    [{"role": "ai", "content": [PART], "parts": []}],
    [{"role": "ai", "parts": [{"type": "thinking", "text": "hm"}]}],
]
LATER: list[Any] = [
    *([], [[]], [None], ["q"], [PART], {"role": "user", "content": "q"}),
    [[{"role": "user", "content": "q"}]],
    [{"role": "robot", "content": "q"}],
    [{"role": "user"}],
    [{"role": "user", "content": None}],
    [{"role": "user", "content": []}],
    [{"role": "user", "content": 1}],
    [{"role": "user", "parts": []}],
    [{"role": "user", "parts": ["q"]}],
    [{"role": "user", "parts": [{"type": "text"}]}],
    [{"role": "user", "parts": [{"type": "text", "text": None, "content": "x"}]}],
    [{"role": "user", "parts": [{"type": "text", "text": {"value": "x"}}]}],
    [{"role": "user", "parts": [{"type": "image", "content": "x"}]}],
    [{"role": "user", "parts": [{"type": "text", "text": "x", "annotations": []}]}],
    [{"role": "user", "content": "q", "lc": 1}],
    [{"role": "user", "content": "q", "data": {"role": "ai", "content": "d"}}],
    [{"role": "ai", "content": "a", "tool_calls": [{"id": "1"}]}],
    [{"role": "ai", "content": "a", "finish_reason": 5}],
]
TEXTS = [
    '[{"role": "user", "content": "a", "content": "b"}]',
    '[{"role": "user", "role": "ai", "content": "a"}]',
    '[{"role": "user", "content": "a"}] [',
    ' [{"role": "user", "content": "a"}]',
    '[{"role": "user", "content": "a\nb"}]',
    '[{"role": "user", "content": "\\ud800"}]',
    '[{"role": "user", "content": NaN}]',
    '\ufeff[{"role": "user", "content": "a"}]',
    '[{"role": "user", "content": "\ud800"}]',
    f"{'[' * 5000}",
]


def outcome(value: Any, *, is_mapped: bool) -> Any:
    try:
        return read_turns(value, "input", "user", is_mapped=is_mapped)
    except RecordRejectedError as error:
        return error.reason, error.detail


@pytest.mark.parametrize("is_mapped", [False, True])
@pytest.mark.parametrize("value", [*AT_ONCE, *LATER, *TEXTS], ids=repr)
def test_messages_are_the_same_either_way(value: Any, is_mapped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    found = [outcome(text, is_mapped=is_mapped), outcome(value, is_mapped=is_mapped)]
    monkeypatch.setattr(trace_texts, "chat_turns", lambda _: None)
    assert found == [outcome(text, is_mapped=is_mapped), outcome(value, is_mapped=is_mapped)]


@pytest.mark.parametrize("value", AT_ONCE, ids=repr)
def test_the_commonest_shapes_are_read_at_once(value: Any) -> None:
    """So that the other test does not compare the careful way with itself."""
    found = turns_of_text(json.dumps(value), ROLES)
    assert found is not None
    assert [turn["role"] for turn in found] == [ROLES[one["role"]] for one in value]


@pytest.mark.parametrize("value", LATER, ids=repr)
def test_whatever_needs_a_second_look_is_left_to_the_careful_way(value: Any) -> None:
    assert turns_of_text(json.dumps(value), ROLES) is None


def test_parts_of_text_are_joined_without_thoughts() -> None:
    parts = [PART, {"type": "reasoning", "content": "hm"}, {"type": "input_text", "text": "y"}]
    assert text_of_parts(json.dumps(parts)) == "xy"
    assert [text_of_parts(text) for text in ("x", "[]", '["x"]', '[{"type": "text"}]')] == [None] * 4
