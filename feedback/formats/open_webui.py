"""Format `open_webui`: the feedback export of Open WebUI, a JSON array of ratings with the whole chat in each.

The chat is a tree: an edited question or a new answer is a branch. The prompt is the way from the rated message up to
the root, by `parentId`; the flat list in the snapshot mixes branches and holds later turns. In arena mode the rating is
of one answer against its siblings; where a sibling's text is in the snapshot, the record is a pair. What a model
thought before it answered, and the tools and code that it ran, are left out, as Open WebUI shows them closed and does
not send them on as its words; the system prompt of the chat is a turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from feedback.formats.drafts import Draft, EventDraft, Format, PairDraft
from feedback.formats.parts.details_blocks import without_blocks
from feedback.formats.parts.fields import (
    need,
    need_object,
    optional_id,
    optional_number,
    optional_object,
    optional_text,
    optional_time,
    optional_words,
    reject,
    shown,
)
from feedback.formats.parts.threads import read_thread
from feedback.formats.parts.turns import read_messages, with_system
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = ["OPEN_WEBUI"]

_LABELS: Final = {"1": True, "-1": False, "0": None, "": None}
_UNSAID: Final = frozenset({"reasoning", "tool_calls", "code_interpreter"})
_OUTCOMES: Final = {True: "a", False: "b", None: "tie"}


def _parse(record: dict[str, Any]) -> Iterator[Draft]:
    kind = record.get("type", "rating")
    if kind != "rating":
        reject(RejectReason.RULE_VIOLATION, f"field 'type' is {shown(kind)}; expected 'rating'")
    data, meta = need_object(record, "data"), need_object(record, "meta")
    messages = _messages(record)
    rated_id = str(need(meta, "message_id"))
    thread = read_thread(messages, rated_id, parent="parentId", where="the snapshot")
    turns = _only_said(read_messages(thread, "thread"))
    if turns[-1]["role"] != "assistant":
        reject(RejectReason.BAD_ROLES, f"the rated message is said by {turns[-1]['role']}, not by assistant")
    rating = data.get("rating")
    label = _label(rating)
    shared: dict[str, Any] = {
        "prompt": _with_chat_system(record, turns[:-1]),
        "raw_value": rating,
        "record_id": optional_id(record, "id"),
        "rater": _rater(record),
        "rater_kind": "end_user",
        "event_time": optional_time(record, "created_at"),
        "conversation_id": optional_id(meta, "chat_id"),
    }
    model = optional_text(data, "model_id")
    is_arena = meta.get("arena") is True
    rivals = _rivals(messages, thread[-1], data) if is_arena and rating is not None else {}
    if rivals:
        # A pair has one time; a changed mind is saved later, so it is the later one.
        shared["event_time"] = optional_time(record, "updated_at") or shared["event_time"]
        shared["flags"] = _flags(thread, is_arena=True)
        yield from _pairs(shared, turns[-1], rivals, label, model)
        return
    yield EventDraft(
        completion=turns[-1:],
        signal="thumb",
        label=label,
        updated_time=optional_time(record, "updated_at"),
        model_id=model,
        message_id=rated_id,
        strength=_strength(data),
        reason_codes=(*_reason(data), *optional_words(data, "tags")),
        comment=optional_text(data, "comment"),
        flags=_flags(thread, is_arena=is_arena),
        **shared,
    )


def _pairs(
    shared: dict[str, Any], rated: Message, rivals: Mapping[str, list[Message]], label: bool | None, model: str | None
) -> Iterator[PairDraft]:
    for rival, answer in sorted(rivals.items()):
        yield PairDraft(
            response_a=[rated],
            response_b=answer,
            outcome=_OUTCOMES[label],
            model_a=model,
            model_b=rival,
            **shared,
        )


def _rater(record: Mapping[str, Any]) -> str | None:
    value = record.get("user_id")
    if value is not None and not isinstance(value, str):
        reject(RejectReason.WRONG_TYPE, "field 'user_id' is no id of a person; expected text")
    return optional_text(record, "user_id")


def _messages(record: dict[str, Any]) -> dict[str, Any]:
    value = need_object(record, "snapshot")
    for key in ("chat", "chat", "history", "messages"):
        value = need_object(value, key)
    return value


def _with_chat_system(record: dict[str, Any], prompt: list[Message]) -> list[Message]:
    if prompt and prompt[0]["role"] == "system":
        return prompt
    return with_system(optional_object(record["snapshot"]["chat"]["chat"], "params"), prompt)


def _only_said(turns: list[Message]) -> list[Message]:
    return [
        {"role": "assistant", "content": without_blocks(turn["content"], _UNSAID)}
        if turn["role"] == "assistant"
        else turn
        for turn in turns
    ]


def _label(rating: Any) -> bool | None:
    # Exports hold numbers and text; a missing rating is a comment without a vote.
    text = "" if rating is None else str(rating)
    if text not in _LABELS or rating == "":
        reject(RejectReason.UNKNOWN_LABEL, f"field 'data.rating' is {shown(rating)}; expected 1, -1, 0 or null")
    return _LABELS[text]


def _rivals(messages: Mapping[str, Any], rated: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, list[Message]]:
    """The siblings that the rated answer was compared with, by model; none where it is not sure which they are."""
    models = optional_words(data, "sibling_model_ids")
    rivals: dict[str, list[Message]] = {}
    for message in messages.values():
        if not isinstance(message, dict) or message is rated or message.get("parentId") != rated.get("parentId"):
            continue
        model = message.get("selectedModelId") or message.get("model")
        if message.get("role") != "assistant" or model not in models or not message.get("content"):
            continue
        if model in rivals:
            return {}
        rivals[model] = _only_said(read_messages([message], "sibling"))
    return rivals


def _flags(thread: list[dict[str, Any]], *, is_arena: bool) -> tuple[str, ...]:
    has_files = any(message.get("files") for message in thread)
    return (*(("arena",) if is_arena else ()), *(("attachment",) if has_files else ()))


def _strength(data: Mapping[str, Any]) -> float | None:
    return optional_number(optional_object(data, "details"), "rating")


def _reason(data: Mapping[str, Any]) -> tuple[str, ...]:
    reason = optional_text(data, "reason")
    return () if reason is None else (reason,)


OPEN_WEBUI: Final = Format(
    name="open_webui",
    kind="both",
    summary="The feedback export of Open WebUI; the prompt is walked from the rated message up by parentId.",
    label_rule="rating 1 is desirable, -1 undesirable, 0 (a draw) and null give no label; in the arena, 1 prefers the "
    "rated answer to its sibling and -1 the sibling.",
    fields="data.rating, meta.message_id, snapshot.chat.chat.history.messages; optional id, user_id, created_at, "
    "updated_at, data.model_id, data.reason, data.comment, data.tags, data.details.rating, "
    "snapshot.chat.chat.params.system",
    keys=frozenset(
        {"id", "user_id", "version", "type", "data", "meta", "snapshot", "created_at", "updated_at", "user"}
    ),
    parse=_parse,
    user_keys=frozenset({"user_id", "user"}),
)
