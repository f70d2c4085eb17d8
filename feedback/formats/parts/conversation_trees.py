"""Rated messages of many conversations at once that are trees of nodes by id, as ChatGPT exports them.

Only the fields that count are read of each conversation. What `feedback.formats.chatgpt_export` says of one record
holds here too, for messages as nearly all are; whatever else there is, is for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.formats.parts.cell_columns import listed, placed
from feedback.records.json_columns import Lines

__all__ = ["INSTRUCTIONS", "SPEAKERS", "SPOKEN", "THOUGHTS", "read_trees"]

SPEAKERS: Final = ("user", "assistant")
SPOKEN: Final = frozenset({"text", "multimodal_text"})
INSTRUCTIONS: Final = frozenset({"user_editable_context", "model_editable_context"})
THOUGHTS: Final = frozenset({"thoughts", "reasoning_recap"})

_EVERYONE: Final = (None, "all")
_TURNS: Final = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _Author(msgspec.Struct, gc=False):
    role: Any = None


class _Content(msgspec.Struct, gc=False):
    content_type: Any = None
    parts: Any = None


class _Metadata(msgspec.Struct, gc=False):
    is_visually_hidden_from_conversation: Any = None
    model_slug: Any = None


class _Message(msgspec.Struct, gc=False):
    author: _Author | None = None
    content: _Content | None = None
    metadata: _Metadata | None = None
    recipient: Any = None


class _Node(msgspec.Struct, gc=False):
    message: _Message | None = None
    parent: Any = None


class _Conversation(msgspec.Struct, gc=False):
    mapping: dict[str, _Node | None] | None = None


class _Thread(msgspec.Struct, gc=False):
    """A rated message and what was said before it."""

    roles: list[str]
    texts: list[str]
    prompt: int
    model: str | None
    has_tools: bool
    has_instructions: bool


_FLAGS: Final = pl.Series(
    [[], ["tool_steps"], ["custom_instructions"], ["tool_steps", "custom_instructions"]], dtype=pl.List(pl.String)
)
"""By whether there are tools, 1, and instructions, 2."""
_DECODER: Final = msgspec.json.Decoder(_Conversation)


def read_trees(
    lines: Lines, places: NDArray[np.int64], records: pa.Table, rated: Callable[[pa.Table], pl.Series]
) -> tuple[NDArray[np.bool_], pa.Table]:
    """The rated messages of records, where they and all before them are as nearly all are.

    Args:
        lines: conversations.
        places: the line of the conversation of each record. [N].
        records: the records. [N].
        rated: gives the id of the message that each rates.

    Returns:
        Which records are read, [N] bool, and for these the lists of messages `asked` and `answered`, the `model` and
        the list `flags`.
    """
    conversations = _conversations(lines)
    names = rated(records).to_list()
    threads = [_thread(conversations[place], name) for place, name in zip(places.tolist(), names, strict=True)]
    is_read = np.fromiter((thread is not None for thread in threads), np.bool_, len(threads))
    found = [thread for thread in threads if thread is not None]
    asked = _turns([thread.roles[: thread.prompt] for thread in found], [one.texts[: one.prompt] for one in found])
    answered = _turns([thread.roles[thread.prompt :] for thread in found], [one.texts[one.prompt :] for one in found])
    kinds = [one.has_tools + 2 * one.has_instructions for one in found]
    frame = pl.DataFrame(
        {
            "asked": asked,
            "answered": answered,
            "model": pl.Series([one.model for one in found], dtype=pl.String),
            "flags": _FLAGS.gather(pl.Series(kinds, dtype=pl.UInt32)),
        }
    )
    return is_read, frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def _conversations(lines: Lines) -> Sequence[_Conversation | None]:
    try:
        found: Sequence[_Conversation] = _DECODER.decode_lines(lines.data)
    except _UNREADABLE:
        return [_read(lines.line(place)) for place in range(len(lines))]
    return found if len(found) == len(lines) else [_read(lines.line(place)) for place in range(len(lines))]


def _read(line: bytes) -> _Conversation | None:
    try:
        return _DECODER.decode(line)
    except _UNREADABLE:
        return None


def _thread(conversation: _Conversation | None, rated: str | None) -> _Thread | None:
    nodes = None if conversation is None else conversation.mapping
    way = None if nodes is None or rated is None else _way_up(nodes, rated)
    if way is None or way[0] is None:
        return None
    thread = _Thread([], [], 0, None, has_tools=False, has_instructions=False)
    is_turn = False
    for message in reversed(way):
        if message is not None:
            found = _add(thread, message)
            if found is None:
                return None
            is_turn = found
    roles, metadata = thread.roles, way[0].metadata
    model = None if metadata is None else metadata.model_slug
    # The rated message is a turn of the assistant, and so is all that it said since others spoke last.
    if not is_turn or roles[-1] != "assistant" or type(model) not in (str, type(None)):
        return None
    thread.model = model if model and model.strip() else None
    end = len(roles)
    while end and roles[end - 1] == "assistant":
        end -= 1
    thread.prompt = end
    return thread


def _way_up(nodes: Mapping[str, _Node | None], rated: str) -> list[_Message | None] | None:
    """The messages from the rated one up to the root; None where the way is broken."""
    way: list[_Message | None] = []
    place: Any = rated
    for _ in range(len(nodes)):
        node = nodes.get(place) if type(place) is str else None
        if node is None:
            return None
        way.append(node.message)
        place = node.parent
        if place is None:
            return way
    return None


def _add(thread: _Thread, message: _Message) -> bool | None:
    """Add a message to its thread; whether it is a turn, None where it is not as nearly all are."""
    author, content, metadata = message.author, message.content, message.metadata
    if author is None or content is None or metadata is None:
        return None
    role, kind, parts = author.role, content.content_type, content.parts
    if type(role) is not str or type(kind) is not str:
        return None
    is_hidden = metadata.is_visually_hidden_from_conversation is True
    if kind in SPOKEN and role in SPEAKERS and message.recipient in _EVERYONE and not is_hidden:
        if type(parts) is not list or not {str}.issuperset(map(type, parts)):
            return None
        thread.roles.append(role)
        thread.texts.append(parts[0] if len(parts) == 1 else "".join(parts))
        return True
    if role == "tool" or (role == "assistant" and kind not in THOUGHTS):
        thread.has_tools = True
    if kind in INSTRUCTIONS:
        thread.has_instructions = True
    return False if kind.strip() else None


def _turns(roles: Sequence[Sequence[str]], texts: Sequence[Sequence[str]]) -> pl.Series:
    """Lists of messages from their roles and texts."""
    starts = np.concatenate(([0], np.cumsum(np.fromiter(map(len, roles), np.int64, len(roles)))))
    said = pl.DataFrame(
        {
            "role": pl.Series([role for one in roles for role in one], dtype=pl.String),
            "content": pl.Series([text for one in texts for text in one], dtype=pl.String),
        }
    )
    values = said.to_struct().to_arrow(compat_level=pl.CompatLevel.newest())
    return placed(listed(values, starts, _TURNS), np.arange(len(roles)))
