"""Format `librechat`: messages of LibreChat with the feedback in them, as its database and its own exports hold them.

    a message document     messageId, conversationId, parentMessageId, text or content[], isCreatedByUser, user, model,
                           feedback { rating, tag, text }, createdAt, updatedAt
    a conversation export  conversationId, messages: such messages, flat or each with its children; or messagesTree

A document needs the others of its conversation, which are looked up by `conversationId` in the same file. The prompt is
the way up by `parentMessageId`; a new answer to the same question has the same parent, so both have the same prompt.

`feedback: null` is a vote taken back: the server writes null where a user takes it back, and nothing where nobody ever
voted. The vote has no time of its own; `updatedAt` changes with it, and says which of two exports is later. Words lie
in `content` where it is filled, else in `text`. Parts of type `think`, and what stands between a line `:::thinking`
and a line `:::` in a text, or behind the first where the text begins with it and the second never comes, are no part of
the answer; a tool call or a picture in a turn cannot be held, so that its thread is rejected.
`tag` is a key, or an object with one. The instructions that an export has in `options.promptPrefix` are its first turn.

Source: packages/data-schemas/src/schema/message.ts, packages/data-provider/src/feedback.ts,
api/server/routes/messages.js, useExportConversation.ts and useBuildMessageTree.ts of danny-avila/LibreChat.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from feedback.formats.drafts import Draft, EventDraft, Format, Join
from feedback.formats.parts.field_columns import is_id, json_of, text_of
from feedback.formats.parts.fields import (
    need,
    need_id,
    need_list,
    optional_bool,
    optional_id,
    optional_object,
    optional_text,
    reject,
    shown,
)
from feedback.formats.parts.joined import joined_records, unjudged
from feedback.formats.parts.mongo_json import mongo_rater, mongo_time
from feedback.formats.parts.threads import read_thread, split_rated
from feedback.formats.parts.turns import read_messages, with_system
from feedback.formats.plain import ANSWER_TURNS, BOOLEAN, PROMPT_TURNS, TEXT, PlainRecords, Threads, Turns
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = ["LIBRECHAT"]

_LABELS: Final = {"thumbsUp": True, "thumbsDown": False}
_UNJUDGED: Final = "the message has no feedback"
_ROOT: Final = "00000000-0000-0000-0000-000000000000"
_THINKING: Final = ":::thinking"
_THOUGHT_END: Final = ":::"


def _parse(record: dict[str, Any]) -> Iterator[Draft]:
    if record.get("messageId") is not None:
        if not _is_judged(record):
            yield from unjudged(_UNJUDGED)
            return
        yield _event(record, [*joined_records(record, _JOIN), record], record)
        return
    key = "messagesTree" if record.get("messagesTree") is not None else "messages"
    messages = _flat(need_list(record, key))
    if messages and all(message.get("messageId") is None for message in messages):
        reject(RejectReason.MISSING_FIELD, "no message has the field 'messageId'")
    judged = [message for message in messages if _is_judged(message)]
    if not judged:
        yield from unjudged("no message of the conversation has feedback")
    for message in judged:
        yield _event(message, messages, record)


def _is_judged(message: dict[str, Any]) -> bool:
    """Whether there is a vote, or one that was taken back; only answers have either."""
    return message.get("feedback") is not None or ("feedback" in message and message.get("isCreatedByUser") is False)


def _may_be_judged(record: dict[str, Any]) -> bool:
    """Whether a record is anything but a message without a vote."""
    return record.get("messageId") is None or _is_judged(record)


_JOIN: Final = Join(
    what="messages of the conversation",
    key="conversationId",
    other="conversationId",
    into="messages",
    is_many=True,
    is_itself=True,
    is_judged=_may_be_judged,
)


def _flat(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages and all that lie in the `children` of another one."""
    found: list[dict[str, Any]] = []
    waiting = messages[::-1]
    while waiting:
        message = waiting.pop()
        found.append(message)
        if message.get("children") is not None:
            waiting += reversed(need_list(message, "children"))
    return found


def _event(message: dict[str, Any], messages: list[dict[str, Any]], record: dict[str, Any]) -> EventDraft:
    message_id = need_id(message, "messageId")
    if optional_bool(message, "error"):
        reject(RejectReason.RULE_VIOLATION, "the rated message is an error, not an answer")
    nodes = {one["messageId"]: one for one in messages if isinstance(one.get("messageId"), str)}
    thread = read_thread(nodes, message_id, parent="parentMessageId", where="the conversation", roots=(_ROOT,))
    prompt, completion = split_rated([_plain_turn(one) or _turn(one) for one in thread])
    feedback = optional_object(message, "feedback")
    is_withdrawn = message["feedback"] is None
    rating = None if is_withdrawn else need(feedback, "rating")
    return EventDraft(
        prompt=_with_instructions(record, prompt),
        completion=completion,
        signal="thumb",
        raw_value=rating,
        label=_label(rating),
        record_id=message_id,
        op="retract" if is_withdrawn else "create",
        rater=mongo_rater(message, "user") or mongo_rater(record, "user"),
        updated_time=mongo_time(message, "updatedAt"),
        model_id=optional_text(message, "model"),
        conversation_id=optional_id(message, "conversationId") or optional_id(record, "conversationId"),
        message_id=message_id,
        reason_codes=_reasons(feedback),
        comment=optional_text(feedback, "text"),
        flags=_flags(thread),
    )


def _with_instructions(record: dict[str, Any], prompt: list[Message]) -> list[Message]:
    instructions = optional_text(optional_object(record, "options"), "promptPrefix")
    return with_system({"system": instructions}, prompt)


def _label(rating: Any) -> bool | None:
    if rating is None:
        return None
    if not isinstance(rating, str) or rating not in _LABELS:
        reject(
            RejectReason.UNKNOWN_LABEL,
            f"field 'feedback.rating' is {shown(rating)}; expected one of thumbsUp, thumbsDown",
        )
    return _LABELS[rating]


def _reasons(feedback: dict[str, Any]) -> tuple[str, ...]:
    tag = feedback.get("tag")
    key = optional_text(tag, "key") if isinstance(tag, dict) else optional_text(feedback, "tag")
    return () if key is None else (key,)


def _plain_turn(message: dict[str, Any]) -> Message | None:
    """The turn of a message of nothing but text; None of any other."""
    is_user, text = message.get("isCreatedByUser"), message.get("text")
    if type(is_user) is not bool or type(text) is not str or message.get("content"):
        return None
    said = text if is_user else _said(text)
    return {"role": "user" if is_user else "assistant", "content": said if said.strip() else ""}


def _said(text: str) -> str:
    """What an answer says behind the thoughts that older versions keep in its text."""
    if _THINKING not in text:
        return text
    said: list[str] = []
    thought: list[str] = []
    for line in text.split("\n"):
        mark = line.rstrip()
        if thought and mark == _THOUGHT_END:
            thought = []
        elif thought or mark == _THINKING:
            thought.append(line)
        else:
            said.append(line)
    # A thought that was cut off stands before anything is said; elsewhere the words are spoken of.
    kept = "\n".join([*said, *thought] if any(map(str.strip, said)) else said)
    return text if kept == text else kept.strip()


def _turn(message: dict[str, Any]) -> Message:
    need(message, "isCreatedByUser")
    role = "user" if optional_bool(message, "isCreatedByUser") else "assistant"
    parts = message.get("content")
    content: Any = _text_parts(parts) if isinstance(parts, list) and parts else None
    content = _said(optional_text(message, "text") or "") if content is None else content
    (turn,) = read_messages([{"role": role, "content": content}], "message")
    return turn


def _text_parts(parts: list[Any]) -> list[Any]:
    """The parts without empty ones and thoughts; a text that is an object holds the words in `value`."""
    said: list[Any] = []
    for part in parts:
        if part is None or (isinstance(part, dict) and part.get("type") == "think"):
            continue
        text = part.get("text") if isinstance(part, dict) else None
        said.append({**part, "text": text.get("value")} if isinstance(text, dict) else part)
    return said


def _flags(thread: list[dict[str, Any]]) -> tuple[str, ...]:
    has_more = any(message.get("files") or message.get("quotes") for message in thread)
    is_cut = optional_bool(thread[-1], "unfinished")
    return (*(("attachment",) if has_more else ()), *(("unfinished",) if is_cut else ()))


_THREADS: Final = Threads(
    id="messageId",
    parent="parentMessageId",
    roots=(_ROOT,),
    text="text",
    unsaid=_THINKING,
    is_user="isCreatedByUser",
    judgement="feedback",
    # A key may be written with escapes, though nobody does it for letters.
    signs=(b'"feedback"', rb"\u006", rb"\u007"),
    empty=("content", "files", "quotes"),
    alone=("messages",),
    what=_UNJUDGED,
)


def _plain(time: str) -> PlainRecords:
    """Votes on messages of text, with the time of their last change at a path."""
    rating, tag = pl.col("feedback.rating"), text_of("feedback.tag")
    return PlainRecords(
        kind="events",
        turns={"prompt": Turns(PROMPT_TURNS), "completion": Turns(ANSWER_TURNS, starts="assistant")},
        types={
            **dict.fromkeys(("messageId", "conversationId", "parentMessageId", "text", "model"), TEXT),
            **dict.fromkeys(("feedback.rating", "feedback.tag", "feedback.text"), TEXT),
            **dict.fromkeys(("isCreatedByUser", "error", "unfinished"), BOOLEAN),
            "user": TEXT,
            time: TEXT,
        },
        fields={
            "signal": pl.lit("thumb"),
            "raw_value": json_of("feedback.rating", {name: json.dumps(name) for name in _LABELS}),
            "label": rating.replace_strict(_LABELS, default=None, return_dtype=pl.Boolean),
            "record_id": pl.col("messageId"),
            "rater": pl.col("user"),
            "rater_kind": pl.lit("end_user"),
            "updated_time": pl.col(time),
            "model_id": text_of("model"),
            "conversation_id": pl.col("conversationId"),
            "message_id": pl.col("messageId"),
            "reason_codes": pl.when(tag.is_null()).then(pl.lit([], pl.List(pl.String))).otherwise(pl.concat_list(tag)),
            "comment": text_of("feedback.text"),
        },
        where=pl.all_horizontal(
            rating.is_in(list(_LABELS)),
            is_id("user"),
            pl.col(time).is_not_null(),
            ~pl.col("error").fill_null(value=False),
            ~pl.col("unfinished").fill_null(value=False),
        ),
        needs=("messageId", "conversationId", "isCreatedByUser", time),
        unread=frozenset({"title", "endpoint", "sender", "createdAt"}),
        threads=_THREADS,
    )


LIBRECHAT: Final = Format(
    name="librechat",
    kind="events",
    summary="LibreChat's messages, as its database or its conversation export holds them; the prompt is walked by "
    "parentMessageId.",
    label_rule="feedback.rating thumbsUp is desirable, thumbsDown undesirable; feedback null is a vote taken back.",
    fields="messageId, conversationId, parentMessageId, isCreatedByUser, text or content, feedback.rating; optional "
    "feedback.tag, feedback.text, user, model, updatedAt; or a conversation with messages or messagesTree, and "
    "optional options.promptPrefix",
    keys=frozenset(
        {
            *("messageId", "conversationId", "parentMessageId", "isCreatedByUser", "text", "content", "feedback"),
            *("user", "model", "createdAt", "updatedAt", "unfinished", "error", "files", "quotes", "messages"),
            *("messagesTree", "title", "endpoint", "sender", "options"),
        }
    ),
    parse=_parse,
    plain=(_plain("updatedAt.$date"), _plain("updatedAt")),
    join=_JOIN,
    user_keys=frozenset({"user"}),
)
