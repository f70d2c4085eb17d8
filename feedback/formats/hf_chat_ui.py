"""Format `hf_chat_ui`: conversations of Hugging Face's chat-ui, from its Parquet export or its database.

    export    title, created_at, updated_at, messages: [{ from, content, score? }, ...]
    database  _id, title, model, sessionId or userId, createdAt, updatedAt,
              messages: [{ id, from, content, score?, ancestors?, children?, files?, interrupted? }, ...]

Every answer with a score is an event. The database keeps the tree: `ancestors` are the ids from the root down. The
export does not, and a new answer to the same question stands behind the old one there: two answers in a row are answers
to the same prompt. What was asked behind them follows one of the two, and nothing says which, so that a conversation
with a vote there is rejected. A question that was edited cannot be told from the next one in the export.

A score of 0 is a vote taken back; the export leaves it out. The vote has no time; `updated_at` is the conversation's,
and says which of two exports is later.

Source: src/lib/types/Message.ts, Conversation.ts and src/routes/admin/export/+server.ts of huggingface/chat-ui.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from feedback.formats.drafts import Draft, EventDraft, Format, Time
from feedback.formats.parts.fields import need_list, optional_bool, optional_id, optional_text, reject, shown
from feedback.formats.parts.joined import unjudged
from feedback.formats.parts.mongo_json import mongo_id, mongo_rater, mongo_time
from feedback.formats.parts.threads import split_rated, split_rated_message
from feedback.formats.parts.turns import read_messages
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = ["HF_CHAT_UI"]

_LABELS: Final = {1: True, -1: False, 0: None}
_ROLES: Final = {"user": "user", "assistant": "assistant", "system": "system"}


def _parse(record: dict[str, Any]) -> Iterator[Draft]:
    messages = need_list(record, "messages")
    if messages and not any("from" in message for message in messages):
        reject(RejectReason.MISSING_FIELD, "no message has the field 'from'")
    judged = [place for place, message in enumerate(messages) if message.get("score") is not None]
    if not judged:
        yield from unjudged("no message of the conversation has a score")
    for place in judged:
        yield _event(record, messages, place)


def _event(record: dict[str, Any], messages: list[dict[str, Any]], place: int) -> EventDraft:
    rated = messages[place]
    score = rated["score"]
    if isinstance(score, bool) or not isinstance(score, int) or score not in _LABELS:
        reject(RejectReason.UNKNOWN_LABEL, f"messages[{place}].score is {shown(score)}; expected 1, -1 or 0")
    if rated.get("ancestors") is None:
        thread = messages[: place + 1]
        prompt, completion = split_rated_message(_turns(thread))
    else:
        thread = _thread(messages, rated)
        prompt, completion = split_rated(_turns(thread))
    message_id = optional_id(rated, "id")
    return EventDraft(
        prompt=prompt,
        completion=completion,
        signal="thumb",
        raw_value=score,
        label=_LABELS[score],
        record_id=message_id,
        op="create" if score else "retract",
        rater=mongo_rater(record, "userId") or mongo_rater(record, "sessionId"),
        updated_time=_updated(record),
        model_id=optional_text(record, "model"),
        conversation_id=mongo_id(record, "_id"),
        message_id=message_id,
        flags=_flags(thread),
    )


def _thread(messages: list[dict[str, Any]], rated: dict[str, Any]) -> list[dict[str, Any]]:
    ancestors = rated["ancestors"]
    if not isinstance(ancestors, list):
        reject(RejectReason.WRONG_TYPE, f"field 'ancestors' is {shown(ancestors)}; expected a list of ids")
    nodes = {message["id"]: message for message in messages if isinstance(message.get("id"), str)}
    thread = [nodes.get(name) if isinstance(name, str) else None for name in ancestors]
    found = [node for node in thread if node is not None]
    if len(found) < len(thread):
        lost = ancestors[thread.index(None)]
        reject(
            RejectReason.BROKEN_THREAD, f"the ancestor {shown(lost)} of the rated message is not in the conversation"
        )
    return [*found, rated]


def _turns(thread: list[dict[str, Any]]) -> list[Message]:
    turns = read_messages(thread, "messages", roles=_ROLES, role_key="from")
    # The root is a system message, which is blank where the assistant has no instructions.
    return [turn for turn in turns if turn["role"] != "system" or turn["content"].strip()]


def _updated(record: dict[str, Any]) -> Time | None:
    return mongo_time(record, "updatedAt" if record.get("updatedAt") is not None else "updated_at")


def _flags(thread: list[dict[str, Any]]) -> tuple[str, ...]:
    has_files = any(message.get("files") for message in thread)
    is_cut = optional_bool(thread[-1], "interrupted")
    return (*(("attachment",) if has_files else ()), *(("unfinished",) if is_cut else ()))


HF_CHAT_UI: Final = Format(
    name="hf_chat_ui",
    kind="events",
    summary="Conversations of Hugging Face's chat-ui, from its Parquet export or its database.",
    label_rule="score 1 is desirable, -1 undesirable, 0 is a vote taken back; each scored answer is an event.",
    fields="messages (from, content; optional score, id, ancestors); optional title, created_at, updated_at, model, "
    "_id, userId, sessionId",
    keys=frozenset(
        {
            *("messages", "title", "created_at", "updated_at", "createdAt", "updatedAt", "model", "_id", "userId"),
            *("sessionId", "rootMessageId", "preprompt"),
        }
    ),
    parse=_parse,
    user_keys=frozenset({"userId", "sessionId"}),
)
