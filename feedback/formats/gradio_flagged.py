r"""Format `gradio_flagged`: the `log.csv` in which Gradio's ChatInterface keeps likes, dislikes and flags.

    conversation,index,value,flag,timestamp                             the header has five columns,
    "[{""role"": ""user"", ...}, ...]",1,Like,2026-01-05 09:51:39.1     and a row four cells: flag under `value`,
                                                                        time under `flag`

A row whose `timestamp` is empty is read in this way; one with five cells as the header says. `conversation` is JSON: a
list of messages with `role` and `content`, or of pairs [question, answer]; `index` says which of them is rated, for
pairs as [row, 1]. What was said later stands in it too and is not read. Gradio puts an apostrophe before a cell that a
spreadsheet could take for a formula.

A click on the same thumb takes the vote back and appends a row with an empty flag; another click appends another row.
The rows have no id, so the id of a vote is made from the thread up to the rated message, and the last row for it
counts. Two users with the same thread, word by word, are one there. Times are those of the machine's clock, without a
zone. Messages with a title in `metadata` are thoughts or uses of tools, which are no turns; the flag `thought` tells of
them.

Source: sanitize_value_for_csv in gradio/utils.py of gradio-app/gradio, and its ChatCSVLogger as it was ported to .NET.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from feedback.formats.drafts import Draft, EventDraft, Format
from feedback.formats.parts.fields import json_value, need, optional_object, optional_time, reject, shown
from feedback.formats.parts.threads import split_rated
from feedback.formats.parts.turns import read_messages
from feedback.hashing import stable_id
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = ["GRADIO_FLAGGED"]

_LABELS: Final = {"Like": True, "Dislike": False}
_INDEX: Final = re.compile(r"(\d{1,9})|[\[(](\d{1,9}), ?([01])[\])]")


def _parse(record: dict[str, Any]) -> Iterator[Draft]:
    # Four cells under five names: the flag lies under `value`, the time under `flag`.
    flag_key, time_key = ("value", "flag") if record.get("timestamp") is None else ("flag", "timestamp")
    if record.get(time_key) is None:
        reject(RejectReason.MISSING_FIELD, "fields 'flag' and 'timestamp' are absent: the row says no time")
    flag = record.get(flag_key)
    conversation = _conversation(need(record, "conversation"))
    thread = _thread(conversation, need(record, "index"))
    turns = read_messages([message for message in thread if not _is_thought(message)], "conversation")
    if _is_thought(thread[-1]):
        reject(RejectReason.RULE_VIOLATION, "the rated message is a thought or the use of a tool, not an answer")
    prompt, completion = split_rated(turns)
    yield EventDraft(
        prompt=prompt,
        completion=completion,
        signal="thumb",
        raw_value=flag,
        label=_label(flag),
        record_id=_made_up_id(turns),
        op="create" if flag is not None else "retract",
        event_time=optional_time(record, time_key),
        flags=("thought",) if len(turns) < len(thread) else (),
    )


def _label(flag: Any) -> bool | None:
    if flag is None:
        return None
    if not isinstance(flag, str) or flag not in _LABELS:
        detail = f"the flag is {shown(flag)}; expected Like or Dislike. Other flags need a map and the format mapped"
        reject(RejectReason.UNKNOWN_LABEL, detail)
    return _LABELS[flag]


def _conversation(value: Any) -> list[Any]:
    if isinstance(value, str):
        value = json_value(value[1:] if value.startswith("'[") else value, "conversation")
    if not isinstance(value, list):
        reject(RejectReason.WRONG_TYPE, f"field 'conversation' is {shown(value)}; expected a list")
    return value


def _thread(conversation: list[Any], index: Any) -> list[dict[str, Any]]:
    """The messages up to the rated one."""
    found = _INDEX.fullmatch(str(index).strip())
    if found is None:
        reject(RejectReason.WRONG_TYPE, f"field 'index' is {shown(index)}; expected a number, or a pair of numbers")
    if found[1] is None:
        conversation = _from_pairs(conversation)
        place = 2 * int(found[2]) + int(found[3])
    else:
        place = int(found[1])
    if place >= len(conversation):
        reject(RejectReason.BROKEN_THREAD, f"the rated message, {shown(index)}, is not in the conversation")
    thread = conversation[: place + 1]
    for at, message in enumerate(thread):
        if not isinstance(message, dict):
            reject(RejectReason.WRONG_TYPE, f"conversation[{at}] is {shown(message)}; expected a message")
    # Of a pair, the question is null where the assistant begins.
    return [message for message in thread[:-1] if found[1] is not None or message["content"] is not None] + thread[-1:]


def _from_pairs(pairs: list[Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for place, pair in enumerate(pairs):
        if not isinstance(pair, list) or len(pair) != 2:
            reject(
                RejectReason.WRONG_TYPE, f"conversation[{place}] is {shown(pair)}; expected a question and an answer"
            )
        messages += [{"role": role, "content": text} for role, text in zip(("user", "assistant"), pair, strict=True)]
    return messages


def _is_thought(message: dict[str, Any]) -> bool:
    return bool(optional_object(message, "metadata").get("title"))


def _made_up_id(turns: list[Message]) -> str:
    return f"thread:{stable_id(*(text for turn in turns for text in (turn['role'], turn['content'])))}"


GRADIO_FLAGGED: Final = Format(
    name="gradio_flagged",
    kind="events",
    summary="The log.csv of likes and flags that Gradio's ChatInterface writes, four cells under five columns.",
    label_rule="Like is desirable, Dislike undesirable, an empty flag a vote taken back; other flags need a map.",
    fields="conversation (JSON), index, value or flag (Like, Dislike), timestamp (or flag, in rows with four cells)",
    keys=frozenset({"conversation", "index", "value", "flag", "timestamp"}),
    parse=_parse,
)
