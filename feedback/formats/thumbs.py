"""Format `thumbs`: our own plain records, one vote each.

{"prompt": "What is 2 + 2?", "completion": "4.", "label": "up", "user": "u1", "time": "2026-01-05T09:51:39Z"}
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from feedback.formats.drafts import EventDraft, Format
from feedback.formats.parts.cells import bool_cell, number_cell
from feedback.formats.parts.field_columns import are_said, id_of, is_id, json_of, number_of, text_of
from feedback.formats.parts.fields import (
    need,
    optional_id,
    optional_rater,
    optional_text,
    optional_time,
    optional_tools,
    optional_words,
    reject,
    shown,
)
from feedback.formats.parts.turns import read_completion, read_prompt, without_prompt
from feedback.formats.plain import BOOLEAN, ID, NUMBER, TEXT, TIME, WORDS, PlainRecords, Turns
from schemas.events import OPERATIONS
from schemas.reasons import RejectReason

__all__ = ["LABELS", "THUMBS"]

LABELS: Final = {"up": True, "down": False, "none": None, "neutral": None}
"""All values that `label` may have."""

_REQUIRED: Final = ("prompt", "completion", "label")
_OPTIONAL: Final = (
    *("id", "op", "user", "time", "updated", "model", "conversation", "message"),
    *("comment", "reasons", "strength", "lang", "consent", "tools"),
)


def _parse(record: dict[str, Any]) -> Iterator[EventDraft]:
    op = _operation(record)
    prompt = read_prompt(need(record, "prompt"), "prompt")
    completion = read_completion(need(record, "completion"), "completion")
    raw_value = record.get("label") if op == "retract" else need(record, "label")
    label = None if op == "retract" else _label(raw_value)
    yield EventDraft(
        prompt=prompt,
        completion=without_prompt(prompt, completion, "completion"),
        signal="thumb",
        raw_value=raw_value,
        label=label,
        record_id=optional_id(record, "id"),
        op=op,
        rater=optional_rater(record, "user"),
        event_time=optional_time(record, "time"),
        updated_time=optional_time(record, "updated"),
        model_id=optional_id(record, "model"),
        conversation_id=optional_id(record, "conversation"),
        message_id=optional_id(record, "message"),
        strength=number_cell(record, "strength"),
        reason_codes=optional_words(record, "reasons"),
        comment=optional_text(record, "comment"),
        lang=optional_text(record, "lang"),
        consent=bool_cell(record, "consent"),
        tools=optional_tools(record, "tools"),
    )


def _operation(record: dict[str, Any]) -> str:
    op = record.get("op")
    if op is None:
        return "create"
    if op not in OPERATIONS:
        reject(RejectReason.RULE_VIOLATION, f"field 'op' is {shown(op)}; expected one of {', '.join(OPERATIONS)}")
    if op != "create" and optional_id(record, "id") is None:
        detail = f"field 'id' is absent, null or blank, and op {op!r} needs it to say of what"
        reject(RejectReason.MISSING_FIELD, detail)
    return str(op)


def _label(value: Any) -> bool | None:
    # A list or an object is no key of a dict, so the type comes first.
    if not isinstance(value, str) or value not in LABELS:
        reject(RejectReason.UNKNOWN_LABEL, f"field 'label' is {shown(value)}; expected one of {', '.join(LABELS)}")
    return LABELS[value]


_IDS: Final = {"record_id": "id", "rater": "user", "model_id": "model", "conversation_id": "conversation"}
_PLAIN: Final = PlainRecords(
    kind="events",
    turns={"prompt": Turns("prompt", "user"), "completion": Turns("completion", "assistant")},
    types={
        **dict.fromkeys((*_IDS.values(), "message"), ID),
        **dict.fromkeys(("label", "comment", "lang"), TEXT),
        **dict.fromkeys(("time", "updated"), TIME),
        "reasons": WORDS,
        "strength": NUMBER,
        "consent": BOOLEAN,
    },
    fields={
        "signal": pl.lit("thumb"),
        "label": pl.col("label").replace_strict(LABELS, default=None, return_dtype=pl.Boolean),
        "raw_value": json_of("label", {value: json.dumps(value) for value in LABELS}),
        "rater_kind": pl.lit("end_user"),
        "event_time": pl.col("time"),
        "updated_time": pl.col("updated"),
        "strength": number_of("strength"),
        "reason_codes": pl.col("reasons").fill_null([]),
        "consent": pl.col("consent"),
        "comment": text_of("comment"),
        "lang": text_of("lang"),
        **{name: id_of(path) for name, path in {**_IDS, "message_id": "message"}.items()},
    },
    where=pl.all_horizontal(
        pl.col("label").is_in(list(LABELS)), are_said("reasons"), *map(is_id, (*_IDS.values(), "message"))
    ),
)

THUMBS: Final = Format(
    name="thumbs",
    kind="events",
    summary="Our own plain records: a prompt, an answer and a vote each.",
    label_rule="'up' is desirable, 'down' undesirable, 'none' and 'neutral' give no label; anything else is rejected.",
    fields=f"{', '.join(_REQUIRED)}; optional {', '.join(_OPTIONAL)}",
    keys=frozenset({*_REQUIRED, *_OPTIONAL}),
    parse=_parse,
    plain=(_PLAIN,),
    user_keys=frozenset({"user"}),
)
