"""Chat turns of a record: lists of messages in the shapes that sources use, and where a prompt ends.

Roles become system, user, assistant and tool. Only text can be held: a message with a picture or a tool call is
rejected, since training on the rest of it would teach an answer to something that is not there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from feedback.formats.parts.fields import need, optional_text, reject, shown
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = [
    "OPENAI_ROLES",
    "SHAREGPT_ROLES",
    "TRANSCRIPT_ROLES",
    "TRANSCRIPT_TURN",
    "read_chat",
    "read_completion",
    "read_messages",
    "read_prompt",
    "read_text",
    "read_transcript",
    "split_answers",
    "split_last",
    "split_shared_prompt",
    "with_system",
    "without_prompt",
]

OPENAI_ROLES: Final = {
    **{role: role for role in ("system", "user", "assistant", "tool")},
    "developer": "system",
    "function": "tool",
}
"""Roles of OpenAI's chat format; `developer` and `function` are its newer and older names for two of them."""

SHAREGPT_ROLES: Final = {
    "system": "system",
    "human": "user",
    "gpt": "assistant",
    "observation": "tool",
    "function_call": "assistant",
}
"""Roles of ShareGPT's `from`; a function call is text there, said by the assistant."""

TRANSCRIPT_TURN: Final = re.compile(r"\n\n(Human|Assistant):")
TRANSCRIPT_ROLES: Final = {"Human": "user", "Assistant": "assistant"}
"""Roles by the name at the beginning of a turn of a transcript."""


def read_messages(
    value: Any,
    field: str,
    *,
    roles: Mapping[str, str] = OPENAI_ROLES,
    role_key: str = "role",
    content_key: str = "content",
) -> list[Message]:
    """The turns of a list of messages.

    Args:
        value: the list.
        field: its name, for rejections.
        roles: role of a turn by the source's name for it.
        role_key: the key that names the role.
        content_key: the key that holds the text, or parts of type `text`.

    Raises:
        RecordRejectedError: it is not a list of text messages with known roles.
    """
    if not isinstance(value, list):
        reject(RejectReason.WRONG_TYPE, f"field {field!r} is {shown(value)}; expected a list of messages")
    return [
        _plain_message(item, roles, role_key, content_key)
        or _message(item, f"{field}[{place}]", roles, role_key, content_key)
        for place, item in enumerate(value)
    ]


def read_chat(value: Any, field: str) -> list[Message]:
    """The turns of a list of messages, with the keys `role` and `content` or ShareGPT's `from` and `value`.

    Raises:
        RecordRejectedError: it is not a list of text messages with known roles.
    """
    if isinstance(value, list) and value and isinstance(value[0], dict) and value[0].get("from") is not None:
        return read_messages(value, field, roles=SHAREGPT_ROLES, role_key="from", content_key="value")
    return read_messages(value, field)


def read_prompt(value: Any, field: str) -> list[Message]:
    """The turns of a prompt: text is what a user said, and a list is messages.

    Raises:
        RecordRejectedError: it is neither text nor messages.
    """
    return [{"role": "user", "content": value}] if isinstance(value, str) else read_messages(value, field)


def read_completion(value: Any, field: str) -> list[Message]:
    """The turns of an answer: text is what the assistant said; otherwise one message or a list of them.

    Raises:
        RecordRejectedError: it is neither text nor messages.
    """
    if isinstance(value, str):
        return [{"role": "assistant", "content": value}]
    return read_messages([value] if isinstance(value, dict) else value, field)


def read_text(record: Mapping[str, Any], field: str, role: str) -> Message:
    """The text of `field` as one turn of `role`.

    Raises:
        RecordRejectedError: it is absent, null, or not text.
    """
    value = need(record, field)
    if not isinstance(value, str):
        reject(RejectReason.WRONG_TYPE, f"field {field!r} is {shown(value)}; expected text")
    return {"role": role, "content": value}


def split_last(messages: list[Message], field: str) -> tuple[list[Message], list[Message]]:
    """A conversation as its prompt and its last message, which must be the assistant's.

    Raises:
        RecordRejectedError: there are no messages, or another one speaks last.
    """
    if not messages:
        reject(RejectReason.EMPTY_PROMPT, f"field {field!r} holds no message")
    if messages[-1]["role"] != "assistant":
        reject(RejectReason.BAD_ROLES, f"field {field!r} ends with {messages[-1]['role']}, not with assistant")
    return messages[:-1], messages[-1:]


def split_shared_prompt(
    chosen: list[Message], rejected: list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """Two conversations as the turns that they share and the two answers behind them.

    Raises:
        RecordRejectedError: they are the same, one is the beginning of the other, or they part at another's turn than
            the assistant's.
    """
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    answers = chosen[shared:], rejected[shared:]
    if not any(answers):
        reject(RejectReason.IDENTICAL_RESPONSES, "both conversations are the same, message by message")
    if not all(answers):
        reject(RejectReason.EMPTY_COMPLETION, "one conversation is the beginning of the other")
    if not shared:
        reject(RejectReason.PROMPTS_DIFFER, "the conversations differ from their first message on")
    roles = [answer[0]["role"] for answer in answers]
    if roles != ["assistant", "assistant"]:
        parted = f"{roles[0]} and {roles[1]}" if roles[0] != roles[1] else f"two turns of {roles[0]}"
        reject(RejectReason.PROMPTS_DIFFER, f"the conversations part at message {shared} with {parted}")
    return chosen[:shared], *answers


def split_answers(
    prompt: list[Message] | None, chosen: list[Message], rejected: list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """The prompt of a pair and its two answers, where the answers may hold the prompt too.

    Without a prompt it is the turns that both share. Where they repeat it behind turns that it lacks, such as a system
    turn, those belong to it.

    Raises:
        RecordRejectedError: the answers do not belong to the same prompt, or not to this one.
    """
    if prompt is None:
        return split_shared_prompt(chosen, rejected)
    starts = [answer[0]["role"] for answer in (chosen, rejected) if answer]
    if prompt and "assistant" not in starts and chosen[: len(prompt)] != prompt:
        shared, *answers = split_shared_prompt(chosen, rejected)
        if shared[-len(prompt) :] == prompt:
            return shared, answers[0], answers[1]
    return prompt, without_prompt(prompt, chosen, "chosen"), without_prompt(prompt, rejected, "rejected")


def without_prompt(prompt: Sequence[Message], completion: list[Message], field: str) -> list[Message]:
    """An answer without the prompt that some sources repeat in front of it.

    Raises:
        RecordRejectedError: the answer begins with something else that is not the assistant's.
    """
    if not completion or completion[0]["role"] == "assistant":
        return completion
    if completion[: len(prompt)] == list(prompt):
        return completion[len(prompt) :]
    detail = f"field {field!r} begins with {completion[0]['role']} and does not repeat the prompt"
    return reject(RejectReason.PROMPTS_DIFFER, detail)


def read_transcript(text: str, field: str) -> list[Message]:
    r"""The turns of a transcript in which `\n\nHuman:` and `\n\nAssistant:` begin a turn.

    >>> [turn["role"] for turn in read_transcript("\n\nHuman: Hi\n\nAssistant: Hello", "chosen")]
    ['user', 'assistant']

    Raises:
        RecordRejectedError: it does not begin with a turn.
    """
    parts = TRANSCRIPT_TURN.split(text)
    if len(parts) == 1 or parts[0].strip():
        reject(RejectReason.WRONG_TYPE, f"field {field!r} does not begin with '\\n\\nHuman:' or '\\n\\nAssistant:'")
    behind = iter(parts[1:])
    return [
        {"role": TRANSCRIPT_ROLES[name], "content": said.strip()} for name, said in zip(behind, behind, strict=True)
    ]


def with_system(record: Mapping[str, Any], prompt: list[Message]) -> list[Message]:
    """The prompt behind the turn of the system that the field `system` holds, if it holds one.

    Raises:
        RecordRejectedError: the field is not text.
    """
    system = optional_text(record, "system")
    return prompt if system is None else [{"role": "system", "content": system}, *prompt]


def _plain_message(item: Any, roles: Mapping[str, str], role_key: str, content_key: str) -> Message | None:
    """The turn of a message that is as nearly all are; None of any other."""
    if type(item) is not dict:
        return None
    name, content = item.get(role_key), item.get(content_key)
    if type(name) is not str or type(content) is not str or name not in roles:
        return None
    if len(item) > 2 and (item.get("tool_calls") or item.get("function_call")):
        return None
    return {"role": roles[name], "content": content}


def _message(item: Any, field: str, roles: Mapping[str, str], role_key: str, content_key: str) -> Message:
    if not isinstance(item, dict):
        reject(RejectReason.WRONG_TYPE, f"field {field!r} is {shown(item)}; expected a message")
    name = need(item, role_key)
    role = roles.get(name) if isinstance(name, str) else None
    if role is None:
        reject(RejectReason.BAD_ROLES, f"{field}.{role_key} is {shown(name)}; expected one of {', '.join(roles)}")
    if item.get("tool_calls") or item.get("function_call"):
        reject(RejectReason.WRONG_TYPE, f"{field} calls a tool, which text cannot hold")
    content = need(item, content_key)
    if not isinstance(content, str):
        content = _joined_parts(content, f"{field}.{content_key}")
    return {"role": role, "content": content}


def _joined_parts(parts: Any, field: str) -> str:
    if not isinstance(parts, list):
        reject(RejectReason.WRONG_TYPE, f"{field} is {shown(parts)}; expected text")
    return "".join(_text_of_part(part, f"{field}[{place}]") for place, part in enumerate(parts))


def _text_of_part(part: Any, field: str) -> str:
    if not isinstance(part, dict) or part.get("type") != "text":
        kind = part.get("type") if isinstance(part, dict) else part
        reject(RejectReason.WRONG_TYPE, f"{field} is a part of type {shown(kind)}; only text can be held")
    text = part.get("text", part.get("value"))
    if not isinstance(text, str):
        reject(RejectReason.WRONG_TYPE, f"{field} has the text {shown(text)}; expected text")
    return text
