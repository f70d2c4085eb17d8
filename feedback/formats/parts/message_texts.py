"""Chat turns from JSON in a text, in its commonest shape: read into the fields that count, and nothing else.

    [{"role": "user", "content": "q"}, {"role": "user", "parts": [{"type": "text", "content": "q"}]}]

What is not written like this, wrong things among it, is for `feedback.formats.parts.trace_texts`, which reads these too
and to the same turns, but makes an object of everything in them first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from schemas.messages import Message

__all__ = ["text_of_parts", "turns_of_text"]

_THOUGHTS: Final = ("reasoning", "thinking")


class _Part(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A part of a message, its text in either field."""

    type: Literal["text", "input_text", "output_text", "reasoning", "thinking"]
    text: str | UnsetType = UNSET
    content: str | UnsetType = UNSET


class _Turn(msgspec.Struct, forbid_unknown_fields=True):
    """A message; the last four fields say nothing of its text."""

    role: str
    content: str | list[_Part] | None = None
    parts: list[_Part] | None = None
    type: str | None = None
    finish_reason: str | None = None
    name: str | None = None
    id: str | None = None


_TURNS: Final = msgspec.json.Decoder(list[_Turn]).decode
_PARTS: Final = msgspec.json.Decoder(list[_Part]).decode
_UNLIKE: Final = (msgspec.MsgspecError, ValueError, RecursionError)


def turns_of_text(text: str, roles: Mapping[str, str]) -> list[Message] | None:
    """The turns in a text that is a list of messages in the commonest shape, or None.

    >>> turns_of_text('[{"role": "user", "parts": [{"type": "text", "content": "q"}]}]', {"user": "user"})
    [{'role': 'user', 'content': 'q'}]

    Args:
        text: JSON, or anything else.
        roles: role by its name in the text.
    """
    if text[:1] != "[":
        return None
    try:
        found = _TURNS(text)
    except _UNLIKE:
        return None
    made: list[Message] = []
    for turn in found:
        role, said = roles.get(turn.role), turn.parts if turn.content is None else turn.content
        content = _joined(said) if isinstance(said, list) else said
        if role is None or content is None:
            return None
        made.append({"role": role, "content": content})
    return made or None


def text_of_parts(text: str) -> str | None:
    """The text of a list of parts in the commonest shape, or None.

    >>> text_of_parts('[{"type": "text", "content": "Answer "}, {"type": "text", "text": "briefly."}]')
    'Answer briefly.'
    """
    if text[:1] != "[":
        return None
    try:
        return _joined(_PARTS(text))
    except _UNLIKE:
        return None


def _joined(parts: list[_Part]) -> str | None:
    texts: list[str] = []
    for part in parts:
        said = part.content if part.text is UNSET else part.text
        if said is UNSET:
            return None
        if part.type not in _THOUGHTS:
            texts.append(said)
    return "".join(texts) if parts else None
