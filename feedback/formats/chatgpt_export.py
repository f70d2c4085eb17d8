"""Format `chatgpt_export`: the feedback in a data export of ChatGPT, with the conversations that lie beside it.

    message_feedback.json   message_id (or id), conversation_id, user_id, rating, content, create_time?, update_time?
    conversations.json      conversation_id, mapping: { node id: { message, parent, children } }, ...

The conversation is looked up by `conversation_id`. It is a tree: a new answer and an edited question are branches,
and the prompt is the way up by `parent` from the rated message. `content` is JSON in a text, with `tags` and perhaps
`text`; other text is taken for the comment.

The turns are what user and assistant said to each other. Instructions and memories that the system adds, thoughts,
calls of tools and what tools gave back stand in the tree as messages of their own; they are left out, and the flags
`tool_steps` and `custom_instructions` tell of them. Parts of an answer between such steps are one answer. A picture in
a turn cannot be held, so that its thread is rejected.

Source: exports are not documented by their maker; the fields were read from descriptions and parsers of others, among
them mitkury/chatgpt-export-parser (src/schema.ts) for the tree.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import polars as pl
import pyarrow as pa

from feedback.formats.drafts import Draft, EventDraft, Format, Join
from feedback.formats.parts.cell_columns import word_cells
from feedback.formats.parts.conversation_trees import (
    INSTRUCTIONS,
    SPEAKERS,
    SPOKEN,
    THOUGHTS,
    read_trees,
)
from feedback.formats.parts.field_columns import id_of, is_id, is_said, json_of, text_of
from feedback.formats.parts.fields import (
    json_value,
    need,
    need_object,
    optional_id,
    optional_object,
    optional_rater,
    optional_text,
    optional_time,
    optional_words,
    reject,
    shown,
)
from feedback.formats.parts.joined import joined_record
from feedback.formats.parts.threads import read_thread, split_rated
from feedback.formats.plain import ID, TEXT, TIME, Joined, PlainRecords, Turns
from schemas.errors import RecordRejectedError
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = ["CHATGPT_EXPORT"]

_LABELS: Final = {"thumbsUp": True, "thumbsDown": False, "thumbs_up": True, "thumbs_down": False}
_WORDS: Final = "words"
_HIDDEN: Final = "is_visually_hidden_from_conversation"
_JOIN: Final = Join(
    what="conversations (conversations.json)", key="conversation_id", other="conversation_id", into="conversation"
)


def _parse(record: dict[str, Any]) -> Iterator[Draft]:
    rating = need(record, "rating")
    if not isinstance(rating, str) or rating not in _LABELS:
        reject(RejectReason.UNKNOWN_LABEL, f"field 'rating' is {shown(rating)}; expected thumbsUp or thumbsDown")
    conversation = joined_record(record, _JOIN)
    message_id = _message_id(record)
    nodes = need_object(conversation, "mapping")
    thread = read_thread(nodes, message_id, parent="parent", where="the conversation")
    messages = [optional_object(node, "message") for node in thread]
    turns, flags = _told_plainly(messages) or (_turns(messages), None)
    prompt, completion = split_rated(turns)
    tags, comment = _content(record)
    yield EventDraft(
        prompt=prompt,
        completion=completion,
        signal="thumb",
        raw_value=rating,
        label=_LABELS[rating],
        record_id=message_id,
        rater=optional_rater(record, "user_id"),
        event_time=optional_time(record, "create_time"),
        updated_time=optional_time(record, "update_time"),
        model_id=optional_text(optional_object(messages[-1], "metadata"), "model_slug"),
        conversation_id=optional_id(record, "conversation_id"),
        message_id=message_id,
        reason_codes=tags,
        comment=comment,
        flags=_flags(messages) if flags is None else flags,
    )


def _message_id(record: dict[str, Any]) -> str:
    message_id = optional_id(record, "message_id") or optional_id(record, "id")
    if message_id is None:
        reject(RejectReason.MISSING_FIELD, "fields 'message_id' and 'id' are absent or null")
    return message_id


def _told_plainly(messages: list[dict[str, Any]]) -> tuple[list[Message], tuple[str, ...]] | None:
    """The turns and the flags of messages that are as nearly all are; None where one is not, or the last is no turn."""
    turns: list[Message] = []
    is_turn = has_tools = has_instructions = False
    for message in messages:
        is_turn = False
        if not message:
            continue
        author, content, metadata = message.get("author"), message.get("content"), message.get("metadata")
        if not (type(author) is type(content) is type(metadata) is dict):
            return None
        role, kind, parts = author.get("role"), content.get("content_type"), content.get("parts")
        if type(role) is not str or type(kind) is not str or not kind.strip():
            return None
        is_turn = role in SPEAKERS and kind in SPOKEN and message.get("recipient") in (None, "all")
        is_turn = is_turn and metadata.get(_HIDDEN) is not True
        if is_turn:
            if type(parts) is not list or not {str}.issuperset(map(type, parts)):
                return None
            turns.append({"role": role, "content": "".join(parts)})
        has_tools |= role == "tool" or (role == "assistant" and not is_turn and kind not in THOUGHTS)
        has_instructions |= kind in INSTRUCTIONS
    return (turns, _named_flags(has_tools, has_instructions)) if is_turn else None


def _turns(messages: list[dict[str, Any]]) -> list[Message]:
    if not _is_turn(messages[-1]):
        reject(RejectReason.BAD_ROLES, "the rated message is not one that the assistant said to the user")
    return [_turn(message) for message in messages if _is_turn(message)]


def _role(message: dict[str, Any]) -> str | None:
    return optional_text(optional_object(message, "author"), "role")


def _kind(message: dict[str, Any]) -> str:
    return optional_text(optional_object(message, "content"), "content_type") or "text"


def _is_turn(message: dict[str, Any]) -> bool:
    """Whether user or assistant say it to the other: no root, no instruction, no thought, no tool."""
    recipient = message.get("recipient")
    is_said = _role(message) in SPEAKERS and _kind(message) in SPOKEN and recipient in (None, "all")
    return is_said and optional_object(message, "metadata").get(_HIDDEN) is not True


def _turn(message: dict[str, Any]) -> Message:
    parts = need(optional_object(message, "content"), "parts")
    if not isinstance(parts, list):
        reject(RejectReason.WRONG_TYPE, f"field 'content.parts' is {shown(parts)}; expected a list of text")
    for place, part in enumerate(parts):
        if not isinstance(part, str):
            kind = part.get("content_type") if isinstance(part, dict) else part
            detail = f"content.parts[{place}] is a part of type {shown(kind)}; only text can be held"
            reject(RejectReason.WRONG_TYPE, detail)
    return {"role": _role(message) or "", "content": "".join(parts)}


def _content(record: dict[str, Any]) -> tuple[tuple[str, ...], str | None]:
    """The tags and the comment."""
    text = optional_text(record, "content")
    if text is None:
        return (), optional_text(record, "text")
    try:
        content = json_value(text, "content")
    except RecordRejectedError:
        return (), text
    if not isinstance(content, dict):
        return (), text
    return optional_words(content, "tags"), optional_text(content, "text")


def _flags(messages: list[dict[str, Any]]) -> tuple[str, ...]:
    kinds = {_kind(message) for message in messages if message}
    has_tools = any(
        _role(message) == "tool"
        or (_role(message) == "assistant" and not _is_turn(message) and _kind(message) not in THOUGHTS)
        for message in messages
    )
    return _named_flags(has_tools, not INSTRUCTIONS.isdisjoint(kinds))


def _named_flags(has_tools: bool, has_instructions: bool) -> tuple[str, ...]:
    return (*(("tool_steps",) if has_tools else ()), *(("custom_instructions",) if has_instructions else ()))


def _rated_messages(records: pa.Table) -> pl.Series:
    """The id of the message that each record rates; null where it is no text."""
    ids = {name: records.column(name) for name in ("message_id", "id") if name in records.column_names}
    texts = [pl.Series(one) for one in ids.values() if one.type == pa.string()]
    nothing = pl.Series([None], dtype=pl.String).new_from_index(0, records.num_rows)
    return pl.select(pl.coalesce(*texts, nothing)).to_series()


def _plain() -> PlainRecords:
    """Votes with their content as JSON in a text, or without it."""
    content, words = pl.col("content"), pl.col(_WORDS).struct
    is_blank = ~is_said("content").fill_null(value=False)
    message_id = pl.coalesce("message_id", "id")
    return PlainRecords(
        kind="events",
        turns={
            "prompt": Turns("rating", made=pl.col("asked")),
            "completion": Turns("rating", starts="assistant", made=pl.col("answered")),
        },
        types={
            **dict.fromkeys(("message_id", "id", "conversation_id", "rating", "content", "text"), TEXT),
            "user_id": ID,
            "create_time": TIME,
            "update_time": TIME,
        },
        columns={name: (f"conversation.{name}", pl.Series) for name in ("asked", "answered", "model", "flags")},
        parts={_WORDS: word_cells("content")},
        fields={
            "signal": pl.lit("thumb"),
            "raw_value": json_of("rating", {name: json.dumps(name) for name in _LABELS}),
            "label": pl.col("rating").replace_strict(_LABELS, default=None, return_dtype=pl.Boolean),
            "record_id": message_id,
            "rater": id_of("user_id"),
            "rater_kind": pl.lit("end_user"),
            "event_time": pl.col("create_time"),
            "updated_time": pl.col("update_time"),
            "model_id": pl.col("model"),
            "conversation_id": pl.col("conversation_id"),
            "message_id": message_id,
            "reason_codes": pl.when(is_blank).then(pl.lit([], pl.List(pl.String))).otherwise(words.field("tags")),
            "comment": pl.when(is_blank).then(text_of("text")).otherwise(words.field("text")),
            "flags": pl.col("flags"),
        },
        where=pl.all_horizontal(
            pl.col("rating").is_in(list(_LABELS)),
            *map(is_id, ("message_id", "id", "conversation_id", "user_id")),
            is_blank | (words.field("is_read") & content.is_not_null()),
        ),
        needs=("rating", "conversation_id"),
        unread=frozenset({"workspace_id", "evaluation_name", "evaluation_treatment"}),
        joined=Joined(into="conversation", read=partial(read_trees, rated=_rated_messages)),
    )


CHATGPT_EXPORT: Final = Format(
    name="chatgpt_export",
    kind="events",
    summary="The message_feedback.json of a ChatGPT export, with its conversations.json; the prompt is walked by "
    "parent.",
    label_rule="rating thumbsUp is desirable, thumbsDown undesirable, also as thumbs_up and thumbs_down.",
    fields="message_id, conversation_id, rating; optional user_id, content, create_time, update_time; and the "
    "conversation (mapping) in another file",
    keys=frozenset(
        {
            *("message_id", "id", "conversation_id", "user_id", "rating", "content", "text", "create_time"),
            *("update_time", "conversation", "workspace_id", "evaluation_name", "evaluation_treatment"),
        }
    ),
    parse=_parse,
    plain=(_plain(),),
    join=_JOIN,
    user_keys=frozenset({"user_id"}),
)
