"""Format `chainlit`: feedback of Chainlit with the steps of its thread, as its data layers hold them.

    feedback   id, forId (or stepId), threadId, value 0 | 1, comment      steps are looked up by threadId
    a step     id, threadId, type, output, ..., feedback { id, forId, value, comment }           likewise
    a thread   id, userId or userIdentifier, steps: [a step, ...]         nothing is looked up

The turns are the steps `user_message` and `assistant_message` in the order of `createdAt`, up to the rated one. Steps
of other types (runs, tools, retrieval, calls of a model) are how the app came to its answer; they are left out, and the
flag `tool_steps` tells of tools and retrieval among them. Feedback for a run is about the last message in it. Some
layers hold `value` as a float, and CSV files as text. There is no time of the vote, and a user only on threads. Old
versions knew -1, 0 and 1, where 0 was no vote: a file with -1 is not in this format.

Source: backend/chainlit/data/sql_alchemy.py and chainlit_data_layer.py, step.py, types.py and FeedbackButtons.tsx of
Chainlit/chainlit; its pull request 851 for the old values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from feedback.formats.drafts import Draft, EventDraft, Format, Join
from feedback.formats.parts.fields import (
    need,
    need_list,
    optional_bool,
    optional_id,
    optional_object,
    optional_rater,
    optional_text,
    reject,
    shown,
)
from feedback.formats.parts.joined import joined_records, unjudged
from feedback.formats.parts.threads import split_rated
from feedback.formats.parts.turns import read_messages
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = ["CHAINLIT"]

_LABELS: Final = {"1": True, "1.0": True, "0": False, "0.0": False}
_ROLES: Final = {"user_message": "user", "assistant_message": "assistant"}
_TOOLS: Final = frozenset({"tool", "retrieval", "rerank"})
_TIMES: Final = ("createdAt", "start", "startTime")
_JOIN: Final = Join(
    what="steps of the thread", key="threadId", other="threadId", into="steps", is_many=True, is_itself=False
)
_NO_THREAD: Final = (
    "field 'threadId' is absent or null, as in the table Feedback of Chainlit's own data layer: read it with the "
    'thread of its step, SELECT f.*, s."threadId" FROM "Feedback" f JOIN "Step" s ON s.id = f."stepId"'
)


def _parse(record: dict[str, Any]) -> Iterator[Draft]:
    if record.get("value") is not None:
        if record.get("threadId") is None and record.get("steps") is None:
            reject(RejectReason.MISSING_FIELD, _NO_THREAD)
        yield _event(record, record, joined_records(record, _JOIN))
    elif record.get("threadId") is not None and "type" in record:
        feedback = optional_object(record, "feedback")
        if not feedback:
            yield from unjudged("the step has no feedback")
            return
        yield _event({"forId": record.get("id"), **feedback}, record, joined_records(record, _JOIN))
    else:
        steps = need_list(record, "steps")
        judged = [step for step in steps if optional_object(step, "feedback")]
        if not judged:
            yield from unjudged("no step of the thread has feedback")
        for step in judged:
            yield _event({"forId": step.get("id"), **step["feedback"]}, {**record, "threadId": record.get("id")}, steps)


def _event(feedback: dict[str, Any], owner: dict[str, Any], steps: list[dict[str, Any]]) -> EventDraft:
    value = need(feedback, "value")
    label = _label(value)
    thread = _thread(_in_order(steps), _rated_id(feedback))
    turns = [_turn(step) for step in thread if optional_text(step, "type") in _ROLES]
    prompt, completion = split_rated(turns)
    if optional_bool(thread[-1], "isError"):
        reject(RejectReason.RULE_VIOLATION, "the rated message is an error, not an answer")
    return EventDraft(
        prompt=prompt,
        completion=completion,
        signal="thumb",
        raw_value=value,
        label=label,
        record_id=optional_id(feedback, "id"),
        rater=optional_rater(owner, "userId") or optional_rater(owner, "userIdentifier"),
        conversation_id=optional_id(owner, "threadId"),
        message_id=optional_id(thread[-1], "id"),
        comment=optional_text(feedback, "comment"),
        flags=("tool_steps",) if any(optional_text(step, "type") in _TOOLS for step in thread) else (),
    )


def _label(value: Any) -> bool:
    # As text, so that a table's float and a CSV file's text are the number that they stand for.
    text = "" if isinstance(value, bool) else str(value)
    if text not in _LABELS:
        reject(RejectReason.UNKNOWN_LABEL, f"field 'value' is {shown(value)}; expected 1 or 0")
    return _LABELS[text]


def _rated_id(feedback: dict[str, Any]) -> str:
    key = "forId" if feedback.get("forId") is not None else "stepId"
    rated_id = optional_id(feedback, key)
    if rated_id is None:
        reject(RejectReason.MISSING_FIELD, "fields 'forId' and 'stepId' are absent or null")
    return rated_id


def _in_order(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The steps by their times, or as they came where one has none."""
    key = next((key for key in _TIMES if all(isinstance(step.get(key), str) for step in steps)), None)
    return steps if key is None else sorted(steps, key=lambda step: str(step[key]))


def _thread(steps: list[dict[str, Any]], rated_id: str) -> list[dict[str, Any]]:
    """The steps up to the rated message."""
    place = next((place for place, step in enumerate(steps) if optional_id(step, "id") == rated_id), None)
    if place is None:
        reject(RejectReason.BROKEN_THREAD, f"the rated step, {shown(rated_id)}, is not in its thread")
    if steps[place].get("type") == "run":
        place = _last_message_of_run(steps, rated_id)
    return steps[: place + 1]


def _last_message_of_run(steps: list[dict[str, Any]], run_id: str) -> int:
    inside = {run_id}
    last = None
    for place, step in enumerate(steps):
        if optional_id(step, "parentId") in inside:
            inside.add(str(optional_id(step, "id")))
            last = place if step.get("type") == "assistant_message" else last
    if last is None:
        reject(RejectReason.BROKEN_THREAD, f"the rated run, {shown(run_id)}, holds no message of the assistant")
    return last


def _turn(step: dict[str, Any]) -> Message:
    text = optional_text(step, "output") or optional_text(step, "input") or ""
    (turn,) = read_messages([{"role": step["type"], "content": text}], "step", roles=_ROLES)
    return turn


CHAINLIT: Final = Format(
    name="chainlit",
    kind="events",
    summary="Chainlit's feedback with the steps of its thread, in one record or in two files.",
    label_rule="value 1 is desirable, 0 undesirable, also as floats.",
    fields="forId or stepId, threadId, value; optional id, comment; and the thread's steps (id, threadId, type, "
    "output, createdAt, parentId) in another file; or a thread with steps, or a step, that hold their feedback",
    keys=frozenset(
        {
            *("id", "forId", "stepId", "threadId", "value", "comment", "steps", "feedback", "name", "type"),
            *("output", "input", "createdAt", "start", "startTime", "parentId", "isError", "userId"),
            *("userIdentifier",),
        }
    ),
    parse=_parse,
    join=_JOIN,
    user_keys=frozenset({"userId", "userIdentifier"}),
)
