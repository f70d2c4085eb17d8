"""Format `trl`: the dataset types `unpaired_preference` and `preference` of TRL, as text or as messages.

A pair without a prompt has it inside both answers: as messages it is the turns that they share, as transcripts what
comes before the last answer. Other text without a prompt is rejected, since where a prompt ends cannot be seen in it.
The columns say who won: TRL has no ties, and equal scores beside them make none. Where they do, as in UltraFeedback,
the format is `ultrafeedback`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from feedback.formats.drafts import Draft, EventDraft, Format, PairDraft
from feedback.formats.hh_rlhf import is_transcript, parse_transcripts
from feedback.formats.parts.field_columns import json_of, number_of
from feedback.formats.parts.fields import need, optional_number, optional_tools, reject, strict_bool
from feedback.formats.parts.turn_columns import shared_prompt
from feedback.formats.parts.turns import read_completion, read_prompt, split_answers, without_prompt
from feedback.formats.plain import BOOLEAN, MESSAGE_LIST, NUMBER, PlainRecords, Turns
from schemas.reasons import RejectReason

__all__ = ["TRL"]


def _parse(record: dict[str, Any]) -> Iterator[Draft]:
    is_pair = record.get("chosen") is not None or record.get("rejected") is not None
    return _pair(record) if is_pair else _labelled(record)


def _labelled(record: dict[str, Any]) -> Iterator[EventDraft]:
    prompt = read_prompt(need(record, "prompt"), "prompt")
    completion = read_completion(need(record, "completion"), "completion")
    label = strict_bool(record, "label")
    yield EventDraft(
        prompt=prompt,
        completion=without_prompt(prompt, completion, "completion"),
        signal="label",
        raw_value=label,
        label=label,
        rater_kind="unknown",
        tools=optional_tools(record, "tools"),
    )


def _pair(record: dict[str, Any]) -> Iterator[PairDraft]:
    known: dict[str, Any] = {
        "margin": optional_number(record, "margin"),
        "score_a": optional_number(record, "score_chosen"),
        "score_b": optional_number(record, "score_rejected"),
        "tools": optional_tools(record, "tools"),
    }
    chosen = need(record, "chosen")
    need(record, "rejected")
    if record.get("prompt") is None and isinstance(chosen, str):
        if not is_transcript(chosen):
            reject(
                RejectReason.MISSING_FIELD,
                "field 'prompt' is absent or null, and 'chosen' is not a transcript from which it could be split",
            )
        yield from parse_transcripts(record, **known)
        return
    given = None if record.get("prompt") is None else read_prompt(record["prompt"], "prompt")
    answers = read_completion(chosen, "chosen"), read_completion(record["rejected"], "rejected")
    prompt, better, worse = split_answers(given, *answers)
    yield PairDraft(prompt=prompt, response_a=better, response_b=worse, outcome="a", raw_value="chosen", **known)


_LABEL: Final = {
    "signal": pl.lit("label"),
    "label": pl.col("label"),
    "raw_value": json_of("label", {True: "true", False: "false"}),
    "rater_kind": pl.lit("unknown"),
}
_SCORES: Final = {"margin": "margin", "score_a": "score_chosen", "score_b": "score_rejected"}
_PREFERRED: Final = {
    "outcome": pl.lit("a"),
    "raw_value": pl.lit('"chosen"'),
    "rater_kind": pl.lit("unknown"),
    **{name: number_of(path) for name, path in _SCORES.items()},
}
_ANSWERS: Final = {"response_a": "chosen", "response_b": "rejected"}
_SHARED, _PART_LAST = shared_prompt("chosen", "rejected", pl.col("chosen"), pl.col("rejected"))
_PLAIN: Final = (
    PlainRecords(
        kind="events",
        turns={"prompt": Turns("prompt", "user"), "completion": Turns("completion", "assistant")},
        types={"label": BOOLEAN},
        fields=_LABEL,
        where=pl.col("label").is_not_null(),
    ),
    PlainRecords(
        kind="events",
        turns={"prompt": Turns("prompt"), "completion": Turns("completion", starts="assistant")},
        types={"label": BOOLEAN},
        fields=_LABEL,
        where=pl.col("label").is_not_null(),
    ),
    PlainRecords(
        kind="pairs",
        turns={
            "prompt": Turns("prompt", "user"),
            **{name: Turns(path, "assistant") for name, path in _ANSWERS.items()},
        },
        types=dict.fromkeys(_SCORES.values(), NUMBER),
        fields=_PREFERRED,
        where=pl.col("margin").is_null() | (pl.col("margin") >= 0),
    ),
    PlainRecords(
        kind="pairs",
        turns={
            "prompt": Turns("prompt"),
            **{name: Turns(path, starts="assistant") for name, path in _ANSWERS.items()},
        },
        types=dict.fromkeys(_SCORES.values(), NUMBER),
        fields=_PREFERRED,
        where=pl.col("margin").is_null() | (pl.col("margin") >= 0),
    ),
    PlainRecords(
        kind="pairs",
        turns=_SHARED,
        types={**dict.fromkeys(_SCORES.values(), NUMBER), **dict.fromkeys(_ANSWERS.values(), MESSAGE_LIST)},
        fields=_PREFERRED,
        where=_PART_LAST & (pl.col("margin") >= 0).fill_null(value=True),
    ),
)

TRL: Final = Format(
    name="trl",
    kind="both",
    summary="TRL's unpaired_preference (prompt, completion, label) and preference (prompt, chosen, rejected).",
    label_rule="label true is desirable and false undesirable; 'chosen' is preferred to 'rejected', whatever their "
    "scores.",
    fields="prompt, completion, label (true or false), or chosen, rejected and mostly prompt; optional tools, "
    "score_chosen, score_rejected, margin",
    keys=frozenset(
        {"prompt", "completion", "label", "chosen", "rejected", "tools", "score_chosen", "score_rejected", "margin"}
    ),
    parse=_parse,
    plain=_PLAIN,
)
