"""Format `streamlit_feedback`: votes of the component streamlit-feedback and of `st.feedback`, as apps store them.

    { prompt, response, feedback: { type: "thumbs", score: "👍" | "👎", text } }     streamlit-feedback
    { prompt, response, type, score, text }                                          the same, flat
    { prompt, response, feedback: 0 | 1 }                                            st.feedback("thumbs")
    { messages: [{ role, content, feedback? }, ...] }                                a chat, a vote on each answer

Streamlit stores nothing itself, so apps choose the names: the question lies in one of `prompt`, `question`, `query`,
`user_input`, `user_message` or `input`, the answer in one of `completion`, `response`, `answer`, `output`,
`assistant_message` or `bot_response`, a chat in `messages`, `history` or `chat_history`. Two of a kind in one record
are not decided between. Tables hold the feedback as text: a number, JSON, or what Python prints for a dict.

Of `st.feedback`, 0 is thumbs down, not nothing; nothing is null. Faces and stars are no labels: what a 3 means, a map
says. A file of stars holds 2 to 4 too, which are refused here, and most of it with them.

Source: streamlit_feedback/__init__.py and frontend/src/ThumbsWithQualiFeedback.js of trubrics/streamlit-feedback; the
documentation of `st.feedback` and Streamlit's tutorial on feedback in chats.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import polars as pl

from feedback.formats.drafts import Draft, EventDraft, Format
from feedback.formats.parts.field_columns import id_of, is_id, json_of, text_of
from feedback.formats.parts.fields import (
    first_key,
    json_value,
    need_list,
    optional_id,
    optional_rater,
    optional_text,
    optional_time,
    reject,
    shown,
)
from feedback.formats.parts.joined import unjudged
from feedback.formats.parts.threads import split_rated
from feedback.formats.parts.turns import OPENAI_ROLES, read_completion, read_messages, read_prompt
from feedback.formats.plain import ID, TEXT, TIME, WHOLE, PlainRecords, Turns
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = ["STREAMLIT_FEEDBACK"]

_LABELS: Final = {"👍": True, "👎": False, "1": True, "1.0": True, "0": False, "0.0": False}
_PROMPTS: Final = ("prompt", "question", "query", "user_input", "user_message", "input")
_ANSWERS: Final = ("completion", "response", "answer", "output", "assistant_message", "bot_response")
_CHATS: Final = ("messages", "history", "chat_history")
_TIMES: Final = ("timestamp", "time", "created_at")
_USERS: Final = ("user_id", "user", "username")
_CONVERSATIONS: Final = ("conversation_id", "session_id")
_ROLES: Final = {**OPENAI_ROLES, "human": "user", "ai": "assistant"}
_KINDS: Final = ("type", "feedback_type", "options")
_EMOJI_STYLE: Final = "\ufe0f"
_MOST_TEXT: Final = 100_000


def _parse(record: dict[str, Any]) -> Iterator[Draft]:
    chat_key = _only(record, _CHATS, "a chat")
    if chat_key is None or _feedback(record) is not None:
        yield from _single(record, chat_key)
        return
    messages = need_list(record, chat_key)
    judged = [place for place, message in enumerate(messages) if _feedback(message) is not None]
    if not judged:
        # Chats of any other kind look the same where no message has a place for a vote.
        is_vague = not any(key in message for message in messages for key in ("feedback", "score"))
        yield from unjudged("no message of the chat has feedback", is_vague=is_vague)
    turns = read_messages(messages, chat_key, roles=_ROLES)
    record_id = optional_id(record, "id")
    for place in judged:
        prompt, completion = split_rated(turns[: place + 1])
        own_id = None if record_id is None else f"{record_id}:{place}"
        yield _event(record, messages[place], prompt, completion, own_id)


def _single(record: dict[str, Any], chat_key: str | None) -> Iterator[Draft]:
    if not any(key in record for key in ("feedback", "score")):
        reject(RejectReason.MISSING_FIELD, "fields 'feedback' and 'score' are absent")
    if _feedback(record) is None:
        # A question and an answer beside each other are in any log.
        yield from unjudged("there is no feedback on the answer", is_vague=True)
        return
    if chat_key is not None:
        prompt, completion = split_rated(read_messages(need_list(record, chat_key), chat_key, roles=_ROLES))
    else:
        asked, answered = _need_only(record, _PROMPTS, "a prompt"), _need_only(record, _ANSWERS, "an answer")
        prompt, completion = read_prompt(record[asked], asked), read_completion(record[answered], answered)
    yield _event(record, record, prompt, completion, optional_id(record, "id"))


def _event(
    record: dict[str, Any], owner: dict[str, Any], prompt: list[Message], completion: list[Message], own_id: str | None
) -> EventDraft:
    feedback = _feedback(owner)
    kind, score, text = _read(feedback, owner)
    return EventDraft(
        prompt=prompt,
        completion=completion,
        signal="thumb",
        raw_value=score,
        label=_label(kind, score),
        record_id=own_id,
        rater=optional_rater(record, first_key(record, *_USERS)),
        event_time=optional_time(record, first_key(record, *_TIMES)),
        model_id=optional_text(record, "model"),
        conversation_id=optional_id(record, first_key(record, *_CONVERSATIONS)),
        comment=text or optional_text(record, "comment"),
    )


def _feedback(owner: Mapping[str, Any]) -> Any:
    """What was stored of the vote; None where there was none."""
    feedback = owner.get("feedback")
    if feedback is None:
        return None if owner.get("score") is None else {key: owner.get(key) for key in ("type", "score", "text")}
    if isinstance(feedback, str) and feedback.lstrip().startswith("{"):
        feedback = _from_text(feedback)
    is_open = isinstance(feedback, dict) and "score" in feedback and feedback["score"] is None
    return None if is_open or feedback == "" else feedback


def _read(feedback: Any, owner: Mapping[str, Any]) -> tuple[Any, Any, str | None]:
    """The kind of the widget, the score and the comment."""
    if isinstance(feedback, dict):
        if "score" not in feedback:
            reject(RejectReason.MISSING_FIELD, "field 'feedback.score' is absent")
        return feedback.get("type"), feedback["score"], optional_text(feedback, "text")
    return next((owner[key] for key in _KINDS if owner.get(key) is not None), None), feedback, None


def _label(kind: Any, score: Any) -> bool:
    if kind not in (None, "thumbs"):
        detail = (
            f"the feedback is of type {shown(kind)}; expected thumbs. Faces and stars need a map and the format mapped"
        )
        reject(RejectReason.UNKNOWN_LABEL, detail)
    # As text, since tables turn numbers beside nothing into floats and CSV files all into text.
    is_plain = isinstance(score, str | int | float) and not isinstance(score, bool)
    text = str(score).replace(_EMOJI_STYLE, "") if is_plain else ""
    if text not in _LABELS:
        detail = (
            f"the score is {shown(score)}; expected 👍, 👎, 1 or 0. Faces and stars need a map and the format mapped"
        )
        reject(RejectReason.UNKNOWN_LABEL, detail)
    return _LABELS[text]


def _from_text(text: str) -> Any:
    """The object in a text, as JSON or as Python prints it."""
    if not text.lstrip()[1:].lstrip().startswith("'") or len(text) > _MOST_TEXT:
        return json_value(text, "feedback")
    try:
        value = ast.literal_eval(text.strip())
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        reject(RejectReason.INVALID_JSON, "field 'feedback' holds text that is neither JSON nor a dict of Python")
    return value


def _only(record: Mapping[str, Any], names: tuple[str, ...], what: str) -> str | None:
    found = [name for name in names if record.get(name) is not None]
    if len(found) > 1:
        detail = f"fields {found[0]!r} and {found[1]!r} could both hold {what}; a map and the format mapped say which"
        reject(RejectReason.RULE_VIOLATION, detail)
    return found[0] if found else None


def _need_only(record: Mapping[str, Any], names: tuple[str, ...], what: str) -> str:
    found = _only(record, names, what)
    if found is None:
        reject(RejectReason.MISSING_FIELD, f"the fields {', '.join(names)} are all absent or null")
    return found


_PROMPT, _ANSWER, _TIME = "one of the prompts", "one of the answers", "one of the times"
_TEXT_LABELS: Final = {**_LABELS, **{f"{sign}{_EMOJI_STYLE}": label for sign, label in _LABELS.items()}}
_WHOLE_LABELS: Final = {1: True, 0: False}


def _plain(
    score: str, kinds: tuple[str, ...], comments: tuple[str, ...], unread: tuple[str, ...]
) -> list[PlainRecords]:
    """Votes beside one question and one answer, with the score as text and as a whole number.

    Args:
        score: path of the score.
        kinds: paths of the widget's kind.
        comments: paths of the comment, the first one that holds something counting.
        unread: keys that say nothing where the score lies there.
    """
    ids = (*_USERS, *_CONVERSATIONS, "id")
    return [
        PlainRecords(
            kind="events",
            turns={"prompt": Turns(_PROMPT, "user"), "completion": Turns(_ANSWER, "assistant")},
            types={
                score: kind,
                _TIME: TIME,
                **dict.fromkeys((*kinds, *comments, "model"), TEXT),
                **dict.fromkeys(ids, ID),
            },
            fields={
                "signal": pl.lit("thumb"),
                "raw_value": json_of(score, {value: json.dumps(value, ensure_ascii=False) for value in labels}),
                "label": pl.col(score).replace_strict(labels, default=None, return_dtype=pl.Boolean),
                "record_id": id_of("id"),
                "rater": pl.coalesce(map(id_of, _USERS)),
                "rater_kind": pl.lit("end_user"),
                "event_time": pl.col(_TIME),
                "model_id": text_of("model"),
                "conversation_id": pl.coalesce(map(id_of, _CONVERSATIONS)),
                "comment": pl.coalesce(map(text_of, comments)),
            },
            where=pl.all_horizontal(
                pl.col(score).is_in(list(labels)),
                *((pl.col(path) == "thumbs").fill_null(value=True) for path in kinds),
                *map(is_id, ids),
            ),
            needs=(score,),
            names={_PROMPT: _PROMPTS, _ANSWER: _ANSWERS, _TIME: _TIMES},
            unread=frozenset(unread),
            absent=frozenset({*_CHATS, "feedback"}),
        )
        for kind, labels in ((TEXT, _TEXT_LABELS), (WHOLE, _WHOLE_LABELS))
    ]


_PLAIN: Final = (
    *_plain("feedback.score", ("feedback.type",), ("feedback.text", "comment"), ("score", "text", *_KINDS)),
    *_plain("feedback", _KINDS, ("comment",), ("score", "text")),
    *_plain("score", ("type",), ("text", "comment"), ("feedback_type", "options")),
)

STREAMLIT_FEEDBACK: Final = Format(
    name="streamlit_feedback",
    kind="events",
    summary="Votes of streamlit-feedback and st.feedback, stored by an app beside question and answer, or in a chat.",
    label_rule="👍 or 1 is desirable, 👎 or 0 undesirable; null is no vote; faces and stars need a map.",
    fields="feedback (0, 1, or type, score, text) or score; one of "
    f"{', '.join(_PROMPTS)}; one of {', '.join(_ANSWERS)}; or a chat in one of {', '.join(_CHATS)}; optional id, "
    f"model, comment, {', '.join((*_TIMES, *_USERS, *_CONVERSATIONS))}",
    keys=frozenset(
        {
            *("feedback", "type", "score", "text", "feedback_type", "options", "id", "model", "comment"),
            *(*_PROMPTS, *_ANSWERS, *_CHATS, *_TIMES, *_USERS, *_CONVERSATIONS),
        }
    ),
    parse=_parse,
    user_keys=frozenset(_USERS),
    plain=_PLAIN,
)
