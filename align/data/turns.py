"""A prompt or an answer, as a dataset has it, as a list of turns: a text, or turns with or without tool calls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.errors import InputError
from schemas.messages import ROLES, Message

__all__ = ["Turn", "as_turns"]


class Turn(Message, total=False):
    """One chat turn with what chat templates know beside role and text; a key that is not there is not said.

    In a tool call, `function` holds the name of a function and its arguments, an object.
    """

    tool_calls: list[dict[str, Any]]
    tool_call_id: str
    name: str


def as_turns(value: object, role: str, *, where: str) -> list[Message]:
    """Turns as they are, or a text as one turn of `role`.

    Args:
        value: what the column holds.
        role: who speaks where it is a text.
        where: dataset, row and column, for errors.

    Raises:
        InputError: it is blank, or neither a text nor a list of turns, or a tool call cannot be read.
    """
    if isinstance(value, str) and value.strip():
        return [{"role": role, "content": value}]
    if not isinstance(value, list) or not value:
        raise InputError("not a text or a list of turns", where=where, received=value, expected="something not blank")
    return [_turn(turn, where) for turn in value]


def _turn(value: object, where: str) -> Turn:
    said = value if isinstance(value, Mapping) else {}
    calls = said.get("tool_calls") or []
    content = "" if calls and said.get("content") is None else said.get("content")
    if said.get("role") not in ROLES or not isinstance(content, str):
        raise InputError(
            "a turn is not a role and a text",
            where=where,
            received=value,
            expected=f"content as text, and a role of {', '.join(ROLES)}",
        )
    turn: Turn = {"role": said["role"], "content": content}
    if said.get("function_call"):
        raise InputError(
            "a turn has a function_call",
            where=where,
            received=said["function_call"],
            expected="tool_calls",
            todo="Write it as a list of one tool call",
        )
    if calls:
        turn["tool_calls"] = _calls(calls, turn["role"], where)
    if said.get("tool_call_id") is not None:
        turn["tool_call_id"] = _text(said["tool_call_id"], f"{where}, tool_call_id")
    if said.get("name") is not None:
        turn["name"] = _text(said["name"], f"{where}, name")
    return turn


def _calls(calls: object, role: str, where: str) -> list[dict[str, Any]]:
    if role != "assistant":
        raise InputError("a turn that is not the assistant's calls tools", where=where, received=role)
    if not isinstance(calls, Sequence) or isinstance(calls, str):
        raise InputError("tool_calls is not a list", where=where, received=calls, expected="a list of tool calls")
    return [_call(call, where) for call in calls]


def _call(call: object, where: str) -> dict[str, Any]:
    """A tool call as transformers documents it: a function with its name, and its arguments as an object."""
    said = call if isinstance(call, Mapping) else {}
    function = said.get("function") or said
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise InputError(
            "a tool call does not name its function",
            where=where,
            received=call,
            expected='{"type": "function", "function": {"name": ..., "arguments": {...}}}',
        )
    arguments = _arguments(function.get("arguments"), f"{where}, the call of {function['name']}")
    more = {key: item for key, item in said.items() if key in ("id", "type") and item is not None}
    return {"type": "function", **more, "function": {"name": function["name"], "arguments": arguments}}


def _arguments(value: object, where: str) -> dict[str, Any]:
    try:
        arguments = json.loads(value) if isinstance(value, str) and value.strip() else value or {}
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise InputError(
            "the arguments of a tool call are not an object",
            where=where,
            received=value,
            expected="an object, or the JSON text of one",
        )
    return arguments


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise InputError("not a text", where=where, received=value, expected="a text")
    return value
