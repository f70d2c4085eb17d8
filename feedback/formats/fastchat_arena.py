"""Format `fastchat_arena`: the logs of FastChat's web server and of its arena, one line for each thing that happened.

    { tstamp, type: "upvote" | "downvote" | "flag", model, state, ip }               one model
    { tstamp, type: "leftvote" | "rightvote" | "tievote" | "bothbad_vote", models: [a, b], states: [a, b], ip }
    { tstamp, type: "chat", model, state, start, finish, ip }                        an answer, not a vote

    state   { roles, messages: [[role, text], ...], offset, conv_id, model_name, system_message }

A vote is about the last answer; in the arena about both conversations, which part at the first answer that differs.
Messages before `offset` are examples of the model's template, and the system message belongs to it too: models that
answered the same question have other ones, so neither is read. `models` are what the page showed, nothing or "Model A"
where models were hidden; `model_name` of the state is the model. The left answer counts as shown first.

Lines of chats, of shares and of votes on nothing are no judgement. A flag says that somebody reported the answer; it
gives no label. An address is all that the log knows of a user; it is never read, and quarantine does not keep it.

Source: fastchat/serve/gradio_web_server.py, gradio_block_arena_anony.py, fastchat/conversation.py and
fastchat/serve/monitor/clean_battle_data.py of lm-sys/FastChat.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import polars as pl
import pyarrow as pa

from feedback.formats.drafts import Draft, EventDraft, Format, PairDraft
from feedback.formats.parts.alternating_turns import STATE_FIELDS, alternating_turns
from feedback.formats.parts.field_columns import id_of, is_id, is_short_number, json_of, text_of
from feedback.formats.parts.fields import (
    need,
    need_list,
    need_object,
    optional_id,
    optional_text,
    optional_time,
    reject,
    shown,
)
from feedback.formats.parts.joined import unjudged
from feedback.formats.parts.threads import split_rated
from feedback.formats.parts.turn_columns import all_but_last, shared_prompt
from feedback.formats.parts.turns import read_messages, split_shared_prompt
from feedback.formats.plain import FLOAT, ID, TEXT, WORDS, PlainRecords, Turns
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = ["FASTCHAT_ARENA"]

_LABELS: Final = {"upvote": True, "downvote": False, "flag": None}
_OUTCOMES: Final = {"leftvote": "a", "rightvote": "b", "tievote": "tie", "bothbad_vote": "both_bad"}
_SILENT: Final = frozenset({"chat", "share"})
_ROLES: Final = {"user": "user", "assistant": "assistant"}
_MOST_SECONDS: Final = 10**15
_SIDES: Final = ("left", "right")
_STATE: Final = pa.struct([*STATE_FIELDS, ("conv_id", pa.string()), ("model_name", pa.string())])


def _parse(record: dict[str, Any]) -> Iterator[Draft]:
    kind = need(record, "type")
    if isinstance(kind, str) and kind in _LABELS:
        yield _event(record, kind)
    elif isinstance(kind, str) and kind in _OUTCOMES:
        yield _pair(record, kind)
    elif isinstance(kind, str) and kind in _SILENT:
        yield from unjudged(f"a line of type {kind!r} is no vote")
    else:
        known = ", ".join((*_LABELS, *_OUTCOMES, *sorted(_SILENT)))
        reject(RejectReason.UNKNOWN_LABEL, f"field 'type' is {shown(kind)}; expected one of {known}")


def _event(record: dict[str, Any], kind: str) -> EventDraft:
    state = need_object(record, "state")
    prompt, completion = split_rated(_turns(state, "state"))
    return EventDraft(
        prompt=prompt,
        completion=completion,
        signal="flag" if kind == "flag" else "thumb",
        raw_value=kind,
        label=_LABELS[kind],
        record_id=_record_id(record, state),
        event_time=optional_time(record, "tstamp"),
        model_id=optional_text(state, "model_name") or optional_text(record, "model"),
        conversation_id=optional_id(state, "conv_id"),
    )


def _pair(record: dict[str, Any], kind: str) -> PairDraft:
    states = need_list(record, "states")
    if len(states) != 2:
        reject(RejectReason.RULE_VIOLATION, f"field 'states' holds {len(states)} states; expected 2")
    left, right = (_turns(state, f"states[{place}]") for place, state in enumerate(states))
    prompt, response_a, response_b = split_shared_prompt(left, right)
    models = _models(record, states)
    return PairDraft(
        prompt=prompt,
        response_a=response_a,
        response_b=response_b,
        outcome=_OUTCOMES[kind],
        raw_value=kind,
        record_id=_record_id(record, states[0]),
        rater_kind="end_user",
        event_time=optional_time(record, "tstamp"),
        presented_first="a",
        model_a=models[0],
        model_b=models[1],
        # Both sides are conversations of their own; the record is called by the left one too.
        conversation_id=optional_id(states[0], "conv_id"),
    )


def _turns(state: dict[str, Any], field: str) -> list[Message]:
    messages, offset = need(state, "messages"), state.get("offset", 0)
    if type(offset) is not int or offset < 0:
        reject(RejectReason.WRONG_TYPE, f"{field}.offset is {shown(offset)}; expected a whole number")
    if not isinstance(messages, list):
        reject(RejectReason.WRONG_TYPE, f"{field}.messages is {shown(messages)}; expected a list")
    plain = _plain_turns(messages[offset:] if offset else messages)
    if plain:
        return plain
    turns: list[dict[str, Any]] = []
    for place, message in enumerate(messages[offset:]):
        if not isinstance(message, list) or len(message) != 2:
            where = f"{field}.messages[{offset + place}]"
            reject(RejectReason.WRONG_TYPE, f"{where} is {shown(message)}; expected a role and a text")
        # Templates name their roles as they like, and take turns.
        turns.append({"role": "assistant" if place % 2 else "user", "content": message[1]})
    if not turns:
        reject(RejectReason.EMPTY_PROMPT, f"{field} holds no message behind its offset")
    if turns[-1]["content"] is None:
        reject(RejectReason.EMPTY_COMPLETION, f"{field} ends with an answer that is not there")
    return read_messages(turns, f"{field}.messages", roles=_ROLES)


def _plain_turns(messages: list[Any]) -> list[Message] | None:
    """The turns of messages that are all a role and a text; None where one is not."""
    turns: list[Message] = []
    role, other = "user", "assistant"
    for message in messages:
        if type(message) is not list or len(message) != 2 or type(message[1]) is not str:
            return None
        turns.append({"role": role, "content": message[1]})
        role, other = other, role
    return turns


def _models(record: dict[str, Any], states: list[dict[str, Any]]) -> list[str | None]:
    shown_names = record.get("models")
    names = shown_names if isinstance(shown_names, list) and len(shown_names) == 2 else [None, None]
    read = [optional_text({"models": name}, "models") for name in names]
    return [optional_text(state, "model_name") or name for state, name in zip(states, read, strict=True)]


def _record_id(record: dict[str, Any], state: dict[str, Any]) -> str | None:
    """Not the conversation's id alone: it may be voted on after every answer."""
    conversation, time = optional_id(state, "conv_id"), record.get("tstamp")
    if type(time) is int and abs(time) < _MOST_SECONDS:
        time = float(time)  # the same second, whether or not it was written with a fraction
    return None if conversation is None or time is None else f"{conversation}@{time}"


def _plain_votes() -> PlainRecords:
    """Votes on one model, and lines that are no vote."""
    turns, kind = pl.col("turns"), pl.col("type")
    return PlainRecords(
        kind="events",
        turns={
            "prompt": Turns("state.messages", made=all_but_last(turns)),
            "completion": Turns("state.messages", role="assistant", made=turns.list.last().struct.field("content")),
        },
        types={
            **dict.fromkeys(("type", "model", "state.model_name"), TEXT),
            **{f"state.{one.name}": (one.type,) for one in STATE_FIELDS},
            "tstamp": FLOAT,
            "state.conv_id": ID,
        },
        columns={"turns": ("state", alternating_turns)},
        fields={
            "signal": pl.when(kind == "flag").then(pl.lit("flag")).otherwise(pl.lit("thumb")),
            "label": kind.replace_strict(_LABELS, default=None, return_dtype=pl.Boolean),
            "raw_value": json_of("type", {one: json.dumps(one) for one in _LABELS}),
            "record_id": pl.format("{}@{}", id_of("state.conv_id"), "tstamp"),
            "rater_kind": pl.lit("end_user"),
            "event_time": pl.col("tstamp"),
            "model_id": pl.coalesce(text_of("state.model_name"), text_of("model")),
            "conversation_id": id_of("state.conv_id"),
        },
        left_out=pl.when(kind.is_in(_SILENT)).then(pl.format("a line of type '{}' is no vote", kind)),
        where=kind.is_in([*_LABELS, *_SILENT]) & is_id("state.conv_id") & is_short_number("tstamp"),
        needs=("type", "state.messages"),
        unread=frozenset({"models", "states", "gen_params", "start", "finish", "ip"}),
    )


def _plain_battles() -> PlainRecords:
    """Votes between two models whose conversations part at the last answer."""
    kind, (left, right) = pl.col("type"), (pl.col(side).struct for side in _SIDES)
    turns, part_last = shared_prompt("states", "states", left.field("turns"), right.field("turns"))
    names = {side: pl.col("models").list.get(place, null_on_oob=True) for place, side in enumerate(_SIDES)}
    are_named = pl.col("models").list.len() == len(_SIDES)
    return PlainRecords(
        kind="pairs",
        turns=turns,
        types={"type": TEXT, "tstamp": FLOAT, "models": WORDS, "states": (pa.list_(_STATE),)},
        columns={side: ("states", partial(_side_of, place)) for place, side in enumerate(_SIDES)},
        parts={f"{side} name": pl.when(are_named).then(name) for side, name in names.items()},
        fields={
            "outcome": kind.replace_strict(_OUTCOMES, default=None, return_dtype=pl.String),
            "raw_value": json_of("type", {one: json.dumps(one) for one in _OUTCOMES}),
            "record_id": pl.format("{}@{}", left.field("conv_id"), "tstamp"),
            "rater_kind": pl.lit("end_user"),
            "event_time": pl.col("tstamp"),
            "presented_first": pl.lit("a"),
            "model_a": pl.coalesce(left.field("model_name"), text_of("left name")),
            "model_b": pl.coalesce(right.field("model_name"), text_of("right name")),
            "conversation_id": left.field("conv_id"),
        },
        where=part_last & kind.is_in(list(_OUTCOMES)) & is_short_number("tstamp"),
        needs=("type", "states"),
        unread=frozenset({"model", "state", "gen_params", "start", "finish", "ip"}),
    )


def _side_of(place: int, states: pa.ListArray) -> pl.Series:
    """The turns, id and model of one of two conversations. [N] of structs; without turns where it is not plain."""
    flat = states.flatten()
    told = {one.name: flat.field(flat.type.get_field_index(one.name)) for one in _STATE}
    ids, models = pl.Series(told["conv_id"]), pl.Series(told["model_name"])
    frame = pl.DataFrame({"turns": alternating_turns(flat), "conv_id": ids, "model_name": models})
    is_sure = is_id("conv_id")
    side = pl.struct(pl.when(is_sure).then("turns"), "conv_id", text_of("model_name").alias("model_name"))
    lengths = pl.Series(states).list.len().fill_null(0).cast(pl.Int64)
    at = (lengths.cum_sum() - lengths + place).set(lengths != len(_SIDES), None)
    return frame.select(side.alias("side"))["side"].gather(at)


FASTCHAT_ARENA: Final = Format(
    name="fastchat_arena",
    kind="both",
    summary="The logs of FastChat's web server and arena: votes on one model's answer, and between two models.",
    label_rule="upvote is desirable, downvote undesirable, flag gives no label; leftvote and rightvote prefer the "
    "first and the second, tievote none, bothbad_vote neither; chat and share are no judgement.",
    fields="type, tstamp, and state or states (messages, offset; optional conv_id, model_name); optional model, models",
    keys=frozenset({"tstamp", "type", "model", "models", "state", "states", "gen_params", "start", "finish", "ip"}),
    parse=_parse,
    plain=(_plain_votes(), _plain_battles()),
)
