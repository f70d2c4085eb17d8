"""Input and output of a trace, whatever its shape: what was asked and what was answered, as chat turns.

    text                                          said by the user, or by the assistant
    {role, content}, [{role, content}, ...]       content as text, or as parts (also in `parts`)
    {messages: [...]}, {messages: [[...]]}        requests of chat APIs, state of LangGraph; `system` goes in front
    {choices: [{message}]}, {choices: [{text}]}   answers of OpenAI
    {output: [{type: message, ...}]}              answers of OpenAI's Responses
    {generations: [[{text, message}]]}            answers of LangChain
    {type: human, content}, {type, data}, {lc, id, kwargs}      messages of LangChain, as its own functions write them

Text that is the JSON of one of these is read as that. Any other object is never searched for text: which of its keys
holds the question is for a map to say. Several candidates are rejected, since the score is of one of them. What a model
thought before it answered (parts of type `reasoning` or `thinking`) is left out, as whoever judged saw the answer; tool
calls and pictures are rejected, as everywhere.

Source: `messages_to_dict` and `dumpd` of langchain-core, the message schemas of open-telemetry/semantic-conventions,
and the API references of OpenAI and Anthropic.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, Final

from feedback.formats.parts.fields import reject, shown
from feedback.formats.parts.message_texts import text_of_parts, turns_of_text
from feedback.formats.parts.turns import OPENAI_ROLES, read_messages, without_prompt
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = ["ROLES", "TEXT_PARTS", "chat_turns", "decoded", "decoded_system", "read_exchange", "read_turns"]

ROLES: Final = {**OPENAI_ROLES, "human": "user", "ai": "assistant", "model": "assistant"}
"""Roles of messages in traces, by the names that they have there."""
_LANGCHAIN: Final = re.compile(r"(human|ai|system|tool|function|chat)(?:message)?(?:chunk)?", re.IGNORECASE)
TEXT_PARTS: Final = ("text", "input_text", "output_text")
"""Types of the parts of a message that are said."""
_THOUGHTS: Final = ("reasoning", "thinking", "redacted_thinking", "think")
_CALLS: Final = ("tool_call", "tool_use", "function_call", "tool-call", "server_tool_use")
_CONTENT: Final = frozenset({"content", "parts", "tool_calls"})
_PLAIN: Final = {"role", "content"}
_MORE: Final = frozenset({"role", "tool_calls", "function_call"})
_LONGEST_NAME: Final = len("functionmessagechunk")


def read_exchange(
    asked: Any, answered: Any, fields: tuple[str, str], *, mapped: tuple[bool, bool] = (False, False)
) -> tuple[list[Message], list[Message]]:
    """The prompt and the answer of a trace; an output that repeats the input goes on behind it.

    Args:
        asked: the input.
        answered: the output.
        fields: what both are called, for rejections.
        mapped: whether a map named the place of either, so that any text there is meant as it stands.

    Raises:
        RecordRejectedError: one is absent, or is neither text nor messages.
    """
    prompt = read_turns(asked, fields[0], "user", is_mapped=mapped[0])
    completion = read_turns(answered, fields[1], "assistant", is_mapped=mapped[1])
    return prompt, without_prompt(prompt, completion, fields[1])


def read_turns(value: Any, field: str, speaker: str, *, is_mapped: bool = False) -> list[Message]:
    """The turns of one value.

    Args:
        value: text, or messages in any shape that the module lists.
        field: what it is called, for rejections.
        speaker: the role that says it, where it is text.
        is_mapped: whether a map named it, so that text is meant as it stands.

    Raises:
        RecordRejectedError: it is absent, or is neither text nor messages.
    """
    if type(value) is str and not _may_be_json(value):
        return [{"role": speaker, "content": value}]
    turns = chat_turns(value)
    if turns is not None:
        return turns
    if value is None:
        reject(RejectReason.MISSING_FIELD, f"field {field!r} is absent or null")
    found = _messages_of(decoded(value), field, speaker)
    if found is not None:
        return read_messages([_plain(message) for message in found], field, roles=ROLES)
    if isinstance(value, str) and (is_mapped or not _is_structure(decoded(value))):
        return [{"role": speaker, "content": value}]
    what = "an object or a list without messages" if _is_structure(decoded(value)) else shown(value)
    return reject(
        RejectReason.WRONG_TYPE,
        f"field {field!r} is {what}; expected text or messages, or their path in [texts] of the map",
    )


def decoded(value: Any) -> Any:
    """`value`, or what it says where it is the JSON of an object or a list.

    >>> decoded('{"a": 1}'), decoded("{a}"), decoded("1")
    ({'a': 1}, '{a}', '1')
    """
    if not isinstance(value, str) or not _may_be_json(value):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def chat_turns(value: Any) -> list[Message] | None:
    """The turns of messages in the commonest shapes, in a list or in the JSON of one; None of anything else.

    >>> chat_turns('[{"role": "human", "parts": [{"type": "text", "content": "q"}]}]')
    [{'role': 'user', 'content': 'q'}]
    """
    if type(value) is str:
        return turns_of_text(value, ROLES)
    if type(value) is not list:
        return None
    turns: list[Message] = []
    for one in value:
        if type(one) is not dict or len(one) != len(_PLAIN):
            return None
        role, content = one.get("role"), one.get("content")
        if type(role) is not str or type(content) is not str or role not in ROLES:
            return None
        turns.append({"role": ROLES[role], "content": content})
    return turns or None


def decoded_system(value: Any) -> Any:
    """`decoded`, of which the turn of a system has the same text; parts of text may be joined already.

    >>> decoded_system('[{"type": "text", "content": "Answer briefly."}]')
    'Answer briefly.'
    """
    text = text_of_parts(value) if type(value) is str else None
    # A text that is empty is no turn, and parts without text are one.
    return text or decoded(value)


def _may_be_json(text: str) -> bool:
    """Whether a text begins like an object or a list."""
    return text.lstrip()[:1] in ("{", "[")


def _is_structure(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict | list) for one in value))


def _messages_of(value: Any, field: str, speaker: str) -> list[dict[str, Any]] | None:
    """The messages in `value` as they came, or None where it is none of the shapes."""
    if isinstance(value, list):
        return _listed(value, speaker)
    if not isinstance(value, dict):
        return None
    if _is_message(value):
        return [value]
    if isinstance(value.get("messages"), list):
        return _request(value, speaker)
    if isinstance(value.get("choices"), list):
        return _message_or_text(_only(value["choices"], f"{field}.choices"), speaker)
    if isinstance(value.get("generations"), list):
        return _generation(value["generations"], f"{field}.generations", speaker)
    return _items(value["output"]) if isinstance(value.get("output"), list) else None


def _listed(values: list[Any], speaker: str) -> list[dict[str, Any]] | None:
    if len(values) == 1 and isinstance(values[0], list):
        # A batch of one conversation.
        return _listed(values[0], speaker)
    if not values or not all(isinstance(one, dict) for one in values):
        return None
    if all(_is_message(one) for one in values):
        return values
    is_parts = all(one.get("type") in (*TEXT_PARTS, *_THOUGHTS) and "role" not in one for one in values)
    return [{"role": speaker, "content": values}] if is_parts else None


def _is_message(value: dict[str, Any]) -> bool:
    if value.get("lc") is not None:
        return isinstance(value.get("kwargs"), dict) and _class_name(value) is not None
    if isinstance(value.get("role"), str):
        return not _CONTENT.isdisjoint(value)
    kind = value.get("type")
    return isinstance(kind, str) and _langchain_name(kind) is not None and ("content" in value or "data" in value)


def _class_name(value: dict[str, Any]) -> str | None:
    path = value.get("id")
    name = path[-1] if isinstance(path, list) and path else None
    return name if isinstance(name, str) and _langchain_name(name) else None


def _langchain_name(name: str) -> str | None:
    """The name of a role in that of a class or a type of LangChain, None where there is none."""
    return _known_name(name) if len(name) <= _LONGEST_NAME else None


@lru_cache(maxsize=256)
def _known_name(name: str) -> str | None:
    match = _LANGCHAIN.fullmatch(name)
    return None if match is None else match[1].lower()


def _request(value: dict[str, Any], speaker: str) -> list[dict[str, Any]] | None:
    found = _listed(value["messages"], speaker)
    system = value.get("system")
    if found is None or system is None:
        return found
    return [{"role": "system", "content": system}, *found]


def _generation(batches: list[Any], field: str, speaker: str) -> list[dict[str, Any]] | None:
    batch = _only(batches, field)
    return _message_or_text(_only(batch, field) if isinstance(batch, list) else batch, speaker)


def _items(items: list[Any]) -> list[dict[str, Any]] | None:
    told = [one for one in items if not _is_thought(one)]
    return told if told and all(isinstance(one, dict) and _is_message(one) for one in told) else None


def _only(values: list[Any], field: str) -> Any:
    if len(values) != 1:
        reject(RejectReason.WRONG_TYPE, f"field {field!r} holds {len(values)} answers; expected one, the one judged")
    return values[0]


def _message_or_text(value: Any, speaker: str) -> list[dict[str, Any]] | None:
    if not isinstance(value, dict):
        return None
    message = value.get("message")
    if isinstance(message, dict):
        return [message] if _is_message(message) else None
    text = value.get("text")
    return [{"role": speaker, "content": text}] if isinstance(text, str) else None


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """A message with the keys of OpenAI's chat format."""
    if message.keys() == _PLAIN and type(message["role"]) is type(message["content"]) is str:
        return message
    if message.get("lc") is not None and (plain := _plainly_dumped(message)) is not None:
        return plain
    inner = message.get("kwargs") if message.get("lc") is not None else message.get("data", message)
    inner = inner if isinstance(inner, dict) else message
    kind = _class_name(message) if message.get("lc") is not None else message.get("type")
    role = inner.get("role")
    if role is None and isinstance(kind, str):
        role = _langchain_name(kind)
    content = inner.get("parts") if inner.get("content") is None else inner["content"]
    parts = content if isinstance(content, list) else []
    more = inner.get("additional_kwargs")
    calls = [inner.get("tool_calls"), inner.get("function_call")]
    calls += [more.get("tool_calls"), more.get("function_call")] if isinstance(more, dict) else []
    calls += [part for part in parts if isinstance(part, dict) and part.get("type") in _CALLS]
    return {
        "role": role,
        "content": [_plain_part(part) for part in parts if not _is_thought(part)] if parts else content,
        "tool_calls": [call for call in calls if call],
    }


def _plainly_dumped(message: dict[str, Any]) -> dict[str, Any] | None:
    """A message of LangChain that says text and nothing else; None of any other."""
    kwargs, name = message.get("kwargs"), _class_name(message)
    if type(kwargs) is not dict or name is None or not _MORE.isdisjoint(kwargs):
        return None
    content, more = kwargs.get("content"), kwargs.get("additional_kwargs")
    if type(content) is not str or (more and (type(more) is not dict or not _MORE.isdisjoint(more))):
        return None
    return {"role": _langchain_name(name), "content": content}


def _is_thought(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in _THOUGHTS


def _plain_part(part: Any) -> Any:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, dict) or part.get("type") not in TEXT_PARTS:
        return part
    text = part.get("text", part.get("content"))
    return {"type": "text", "text": text.get("value") if isinstance(text, dict) else text}
