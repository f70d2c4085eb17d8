"""Format `axolotl`: the records that Axolotl's loaders for KTO and DPO take.

    KTO   instruction | question | prompt, completion, label      completion may be a conversation that ends with it
    DPO   messages, chosen, rejected                              chat_template.default
          prompt | input | question | instruction, chosen, rejected (or chosen_response, rejected_response)
          chosen, rejected                                        argilla_chat: two conversations

The names of the loaders (`chatml.intel`, `llama3.ultra`, ...) say how a prompt is written for the model, not how a
record looks, so the record's own keys decide here. A text in `system` comes before the prompt. Axolotl takes of a
conversation in `chosen` the last turn, or the second, whatever the others are; here a conversation that does not belong
to its prompt is rejected, and so is a record with two different prompts, of which Axolotl would drop one. A label is
true or false. `tools` is not read by those loaders, but it is here.

Fields were read in axolotl-ai-cloud/axolotl (src/axolotl/prompt_strategies/kto and dpo, docs/rlhf.qmd).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from feedback.formats.drafts import Draft, EventDraft, Format, PairDraft
from feedback.formats.parts.field_columns import json_of
from feedback.formats.parts.fields import need, optional_tools, reject, strict_bool
from feedback.formats.parts.turns import read_chat, split_answers, split_last, with_system, without_prompt
from feedback.formats.plain import BOOLEAN, TEXT, PlainRecords, Turns
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = ["AXOLOTL"]

_PROMPTS: Final = ("messages", "prompt", "input", "question", "instruction")


def _parse(record: dict[str, Any]) -> Iterator[Draft]:
    # A KTO record may have its question in `chosen`, so the completion decides.
    yield _labelled(record) if record.get("completion") is not None else _pair(record)


def _labelled(record: dict[str, Any]) -> EventDraft:
    completion = _answer(record, "completion")
    prompt = _prompt(record)
    if prompt is None and record.get("chosen") is not None:
        prompt = read_chat(record["chosen"], "chosen")
    if prompt is None:
        if isinstance(record["completion"], str):
            reject(RejectReason.MISSING_FIELD, f"fields {', '.join(map(repr, _PROMPTS))} are absent or null")
        prompt, completion = split_last(completion, "completion")
    label = strict_bool(record, "label")
    return EventDraft(
        prompt=with_system(record, prompt),
        completion=without_prompt(prompt, completion, "completion"),
        signal="label",
        raw_value=label,
        label=label,
        rater_kind="unknown",
        tools=optional_tools(record, "tools"),
    )


def _pair(record: dict[str, Any]) -> PairDraft:
    prompt = _prompt(record)
    chosen, rejected = (
        _answer(record, side if record.get(side) is not None else f"{side}_response") for side in ("chosen", "rejected")
    )
    shared, better, worse = split_answers(prompt, chosen, rejected)
    return PairDraft(
        prompt=with_system(record, shared),
        response_a=better,
        response_b=worse,
        outcome="a",
        raw_value="chosen",
        tools=optional_tools(record, "tools"),
    )


def _prompt(record: dict[str, Any]) -> list[Message] | None:
    """The prompt under whichever name it has; None where the answers hold it.

    A blank text beside one that is not says nothing: Alpaca's records have `input` that way.
    """
    named = {name: record[name] for name in _PROMPTS if record.get(name) is not None}
    if not named:
        return None
    filled = {name: value for name, value in named.items() if value.strip()} if _are_texts(named) else named
    field = next(iter(filled or named))
    other = next((name for name, value in filled.items() if value != filled[field]), None)
    if other is not None and field != "messages":
        detail = f"fields {field!r} and {other!r} hold different prompts, and one would be lost; keep one of them"
        reject(RejectReason.RULE_VIOLATION, detail)
    value = named[field]
    return [{"role": "user", "content": value}] if isinstance(value, str) else read_chat(value, field)


def _are_texts(values: dict[str, Any]) -> bool:
    return all(isinstance(value, str) for value in values.values())


def _answer(record: dict[str, Any], field: str) -> list[Message]:
    value = need(record, field)
    if isinstance(value, str):
        return [{"role": "assistant", "content": value}]
    return read_chat([value] if isinstance(value, dict) else value, field)


_LABEL: Final = {
    "signal": pl.lit("label"),
    "label": pl.col("label"),
    "raw_value": json_of("label", {True: "true", False: "false"}),
    "rater_kind": pl.lit("unknown"),
}
_PREFERRED: Final = {"outcome": pl.lit("a"), "raw_value": pl.lit('"chosen"'), "rater_kind": pl.lit("unknown")}


_ROLES: Final = ("chosen.role", "rejected.role")
_CALLS: Final = tuple(
    f"{side}.{name}" for side in ("chosen", "rejected") for name in ("tool_calls", "function_call", "from")
)


def _plain() -> Iterator[PlainRecords]:
    """Texts, under whichever name the prompt has, and messages; nothing of the system."""
    for name in _PROMPTS:
        for role, start in (("user", None), (None, "assistant")):
            answers = {
                field: Turns(path, role and "assistant", start)
                for field, path in (("completion", "completion"), ("response_a", "chosen"), ("response_b", "rejected"))
            }
            prompt = Turns(name, role)
            yield PlainRecords(
                kind="events",
                turns={"prompt": prompt, "completion": answers.pop("completion")},
                types={"label": BOOLEAN},
                fields=_LABEL,
                where=pl.col("label").is_not_null(),
            )
            yield PlainRecords(kind="pairs", turns={"prompt": prompt, **answers}, fields=_PREFERRED)
        yield PlainRecords(
            kind="pairs",
            turns={
                "prompt": Turns(name),
                "response_a": Turns("chosen.content", "assistant"),
                "response_b": Turns("rejected.content", "assistant"),
            },
            types=dict.fromkeys(_ROLES, TEXT),
            fields=_PREFERRED,
            where=pl.all_horizontal(pl.col(name) == "assistant" for name in _ROLES),
            nulls=_CALLS,
        )


AXOLOTL: Final = Format(
    name="axolotl",
    kind="both",
    summary="The records of Axolotl's loaders for KTO and DPO: chat_template, chatml and llama3, text or messages.",
    label_rule="label true is desirable and false undesirable; 'chosen' is preferred to 'rejected'.",
    fields="completion, label and prompt, instruction or question, or chosen, rejected and messages, prompt, input, "
    "question or instruction; optional system, tools",
    keys=frozenset(
        {
            *_PROMPTS,
            "completion",
            "label",
            "chosen",
            "rejected",
            "chosen_response",
            "rejected_response",
            "system",
            "tools",
        }
    ),
    parse=_parse,
    plain=tuple(_plain()),
)
