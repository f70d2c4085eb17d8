"""Format `llamafactory`: its KTO and ranking records, in the OpenAI, ShareGPT, Alpaca and v1 shapes.

    KTO:      messages, label | conversations, kto_tag | instruction, input, output, kto_tag
    ranking:  conversations, chosen, rejected | instruction, input, chosen, rejected
              | chosen_messages, rejected_messages

Which one a record is follows from its keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from feedback.formats.drafts import Draft, EventDraft, Format, PairDraft
from feedback.formats.parts.field_columns import json_of
from feedback.formats.parts.fields import need, optional_text, optional_tools, reject, shown, strict_bool
from feedback.formats.parts.turn_columns import all_but_last, turn_list
from feedback.formats.parts.turns import (
    SHAREGPT_ROLES,
    read_chat,
    read_completion,
    read_messages,
    split_last,
    split_shared_prompt,
    with_system,
)
from feedback.formats.plain import BOOLEAN, MESSAGE_LIST, SHAREGPT_LIST, TEXT, PlainRecords, Turns, Types
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = ["LLAMAFACTORY"]


def _parse(record: dict[str, Any]) -> Iterator[Draft]:
    if record.get("chosen_messages") is not None or record.get("rejected_messages") is not None:
        yield _pair(record, *_shared(record))
    elif record.get("chosen") is not None or record.get("rejected") is not None:
        answers = _answer(record, "chosen"), _answer(record, "rejected")
        yield _pair(record, _prompt(record), *answers)
    else:
        yield _labelled(record)


def _labelled(record: dict[str, Any]) -> EventDraft:
    signal = "kto_tag" if record.get("kto_tag") is not None else "label"
    if "instruction" in record and record.get("messages") is None:
        prompt, completion = _alpaca_prompt(record), read_completion(need(record, "output"), "output")
    else:
        prompt, completion = split_last(_conversation(record), "messages")
    label = strict_bool(record, signal)
    return EventDraft(
        prompt=with_system(record, prompt),
        completion=completion,
        signal=signal,
        raw_value=label,
        label=label,
        rater_kind="unknown",
        tools=optional_tools(record, "tools"),
    )


def _pair(record: dict[str, Any], prompt: list[Message], chosen: list[Message], rejected: list[Message]) -> PairDraft:
    return PairDraft(
        prompt=with_system(record, prompt),
        response_a=chosen,
        response_b=rejected,
        outcome="a",
        raw_value="chosen",
        tools=optional_tools(record, "tools"),
    )


def _shared(record: dict[str, Any]) -> tuple[list[Message], list[Message], list[Message]]:
    chosen, rejected = (read_messages(need(record, name), name) for name in ("chosen_messages", "rejected_messages"))
    return split_shared_prompt(chosen, rejected)


def _prompt(record: dict[str, Any]) -> list[Message]:
    is_alpaca = "instruction" in record and _turns_of(record) is None
    return _alpaca_prompt(record) if is_alpaca else _conversation(record)


def _turns_of(record: dict[str, Any]) -> Any:
    turns = record.get("messages")
    return record.get("conversations") if turns is None else turns


def _conversation(record: dict[str, Any]) -> list[Message]:
    turns = _turns_of(record)
    if turns is None:
        reject(RejectReason.MISSING_FIELD, "fields 'messages' and 'conversations' are absent or null")
    return read_chat(turns, "messages" if record.get("messages") is not None else "conversations")


def _answer(record: dict[str, Any], field: str) -> list[Message]:
    value = need(record, field)
    if isinstance(value, str):
        return read_completion(value, field)
    if not isinstance(value, dict):
        reject(RejectReason.WRONG_TYPE, f"field {field!r} is {shown(value)}; expected one message or text")
    return read_chat([value], field)


def _alpaca_prompt(record: dict[str, Any]) -> list[Message]:
    asked = [text for field in ("instruction", "input") if (text := optional_text(record, field)) is not None]
    turns: list[Message] = []
    for place, exchange in enumerate(record.get("history") or []):
        if not isinstance(exchange, list) or [type(text) for text in exchange] != [str, str]:
            reject(RejectReason.WRONG_TYPE, f"field 'history[{place}]' is not a question and its answer")
        turns += [{"role": "user", "content": exchange[0]}, {"role": "assistant", "content": exchange[1]}]
    return [*turns, {"role": "user", "content": "\n".join(asked)}]


_PREFERRED: Final = {"outcome": pl.lit("a"), "raw_value": pl.lit('"chosen"'), "rater_kind": pl.lit("unknown")}


def _plain_labelled(path: str, kind: Types, turns: pl.Expr, signal: str) -> PlainRecords:
    """A conversation whose last turn is judged."""
    return PlainRecords(
        kind="events",
        turns={
            "prompt": Turns(path, made=all_but_last(turns)),
            "completion": Turns(path, starts="assistant", made=turns.list.tail(1)),
        },
        types={path: kind, signal: BOOLEAN},
        fields={
            "signal": pl.lit(signal),
            "label": pl.col(signal),
            "raw_value": json_of(signal, {True: "true", False: "false"}),
            "rater_kind": pl.lit("unknown"),
        },
        where=pl.col(signal).is_not_null(),
        needs=(signal,),
    )


_SHAREGPT: Final = turn_list(pl.col("conversations"), "from", "value", SHAREGPT_ROLES)
_PLAIN: Final = (
    _plain_labelled("messages", MESSAGE_LIST, pl.col("messages"), "label"),
    _plain_labelled("conversations", SHAREGPT_LIST, _SHAREGPT, "kto_tag"),
    PlainRecords(
        kind="pairs",
        turns={
            "prompt": Turns("conversations", made=_SHAREGPT),
            "response_a": Turns("chosen.value", "assistant"),
            "response_b": Turns("rejected.value", "assistant"),
        },
        types={"conversations": SHAREGPT_LIST, "chosen.from": TEXT, "rejected.from": TEXT},
        fields=_PREFERRED,
        where=(pl.col("chosen.from") == "gpt") & (pl.col("rejected.from") == "gpt"),
        nulls=tuple(f"{side}.{name}" for side in ("chosen", "rejected") for name in ("tool_calls", "function_call")),
    ),
)

LLAMAFACTORY: Final = Format(
    name="llamafactory",
    kind="both",
    summary="LLaMA-Factory's KTO records and ranking records, in its OpenAI, ShareGPT, Alpaca and v1 shapes.",
    label_rule="label or kto_tag true is desirable and false undesirable; 'chosen' is preferred to 'rejected'.",
    fields="messages, label, or conversations, kto_tag, or conversations, chosen, rejected, or chosen_messages, "
    "rejected_messages; optional system, tools",
    keys=frozenset(
        {
            *("messages", "label", "conversations", "kto_tag", "chosen", "rejected", "system", "tools"),
            *("chosen_messages", "rejected_messages", "instruction", "input", "output", "history"),
        }
    ),
    parse=_parse,
    plain=_PLAIN,
)
