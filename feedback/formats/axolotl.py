"""Format `axolotl`: the records that Axolotl's loaders for KTO and DPO take.

    KTO   instruction | question | prompt, completion, label      completion may be a conversation that ends with it
    DPO   messages, chosen, rejected                              chat_template.default
          prompt | input | question | instruction, chosen, rejected (or chosen_response, rejected_response)
          chosen, rejected                                        argilla_chat: two conversations

The names of the loaders (`chatml.intel`, `llama3.ultra`, ...) say how a prompt is written for the model, not how a
record looks, so the record's own keys decide here. A text in `system` comes before the prompt. Axolotl takes of a
conversation in `chosen` the last turn, or the second, whatever the others are; here a conversation that does not belong
to its prompt is rejected. A label is true or false. `tools` is not read by those loaders, but it is here.

Fields were read in axolotl-ai-cloud/axolotl (src/axolotl/prompt_strategies/kto and dpo, docs/rlhf.qmd).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from feedback.formats.drafts import Draft, EventDraft, Format, PairDraft
from feedback.formats.parts.fields import need, optional_tools, reject, strict_bool
from feedback.formats.parts.turns import read_chat, split_answers, split_last, with_system, without_prompt
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
    """The prompt under whichever name it has; None where the answers hold it."""
    field = next((name for name in _PROMPTS if record.get(name) is not None), None)
    if field is None:
        return None
    value = record[field]
    return [{"role": "user", "content": value}] if isinstance(value, str) else read_chat(value, field)


def _answer(record: dict[str, Any], field: str) -> list[Message]:
    value = need(record, field)
    if isinstance(value, str):
        return [{"role": "assistant", "content": value}]
    return read_chat([value] if isinstance(value, dict) else value, field)


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
    writes=True,
)
