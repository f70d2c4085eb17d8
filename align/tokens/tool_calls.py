"""Tool calls of a conversation on their way through a chat template: marked, counted, or with arguments as texts.

Turns are those of `align.data.turns`. Most templates write the arguments of a call as an object; some put them together
with texts and so want a JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, cast

from schemas.messages import Message

__all__ = ["calls_of", "texts_in", "with_calls_marked", "with_text_arguments"]


def calls_of(turns: Sequence[Message]) -> int:
    """How many tool calls the turns have."""
    return sum(len(_calls(turn)) for turn in turns)


def with_calls_marked(turns: Sequence[Message], mark: str) -> list[Message]:
    """The turns with a mark behind the name of every function that is called.

    Args:
        turns: of a conversation.
        mark: a text that no name has.
    """
    return [
        _with_functions(turn, [{"name": call["function"]["name"] + mark} for call in _calls(turn)]) for turn in turns
    ]


def with_text_arguments(turns: Sequence[Message]) -> list[Message]:
    """The turns with the arguments of every tool call as a JSON text."""
    return [
        _with_functions(
            turn,
            [{"arguments": json.dumps(call["function"]["arguments"], ensure_ascii=False)} for call in _calls(turn)],
        )
        for turn in turns
    ]


def texts_in(value: Any) -> Iterator[str]:
    """All texts in a turn or a part of one, keys left out.

    >>> list(texts_in({"role": "assistant", "tool_calls": [{"function": {"name": "search"}}]}))
    ['assistant', 'search']
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts_in(item)


def _calls(turn: Message) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", turn.get("tool_calls", []))


def _with_functions(turn: Message, changes: Sequence[dict[str, str]]) -> Message:
    """The turn with the keys of each call's function changed."""
    if not changes:
        return turn
    calls = [call | {"function": call["function"] | change} for call, change in zip(_calls(turn), changes, strict=True)]
    return cast("Message", {**turn, "tool_calls": calls})
