"""Format `openai`: preference pairs as OpenAI, Azure, Together and Fireworks take them for fine-tuning.

    input { messages, tools?, parallel_tool_calls? }, preferred_output, non_preferred_output

All four take an output as a list of messages, Together says one message; both are read, also without its list. An
output that calls tools is rejected, as text cannot hold it. Fields were read in the four services' own guides to
direct preference optimization.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from feedback.formats.drafts import Format, PairDraft
from feedback.formats.parts.fields import need, optional_tools, reject, shown
from feedback.formats.parts.turns import read_messages
from feedback.formats.plain import PlainRecords, Turns
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = ["OPENAI"]


def _parse(record: dict[str, Any]) -> Iterator[PairDraft]:
    given = need(record, "input")
    if not isinstance(given, dict):
        reject(RejectReason.WRONG_TYPE, f"field 'input' is {shown(given)}; expected an object with messages")
    yield PairDraft(
        prompt=read_messages(need(given, "messages"), "input.messages"),
        response_a=_output(record, "preferred_output"),
        response_b=_output(record, "non_preferred_output"),
        outcome="a",
        raw_value="preferred_output",
        tools=optional_tools(given, "tools"),
    )


def _output(record: dict[str, Any], field: str) -> list[Message]:
    value = need(record, field)
    return read_messages([value] if isinstance(value, dict) else value, field)


_PLAIN: Final = PlainRecords(
    kind="pairs",
    turns={
        "prompt": Turns("input.messages"),
        "response_a": Turns("preferred_output"),
        "response_b": Turns("non_preferred_output"),
    },
    fields={"outcome": pl.lit("a"), "raw_value": pl.lit('"preferred_output"'), "rater_kind": pl.lit("unknown")},
    nulls=("input.tools",),
)

OPENAI: Final = Format(
    name="openai",
    kind="pairs",
    summary="Preference pairs as OpenAI and compatible services take them.",
    label_rule="'preferred_output' is preferred to 'non_preferred_output'.",
    fields="input.messages, preferred_output, non_preferred_output; optional input.tools",
    keys=frozenset({"input", "preferred_output", "non_preferred_output"}),
    parse=_parse,
    plain=(_PLAIN,),
)
