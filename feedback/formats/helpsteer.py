"""Formats `helpsteer2` and `helpsteer3`: NVIDIA's answers that people rated and compared.

    helpsteer2   prompt, response, helpfulness 0 to 4, ...             a rating: 3 and 4 up, 0 and 1 down, 2 no label
                 prompt, response_1, response_2, preference_strength   a comparison
    helpsteer3   context, response1, response2, overall_preference     a comparison

A comparison is a whole number from -3 to 3: negative prefers the first answer, positive the second, 0 is a tie, and
the margin is its size. Of a rating only the helpfulness makes a label, the scale's upper and lower two steps, which is
our rule and not the authors'; who wants another one maps the file (`mapped` with thresholds). Its other four attributes
describe an answer and judge nothing. `strength` keeps the helpfulness.

A prompt of HelpSteer2 with several turns is one text, with `<extra_id_1>Assistant` and `<extra_id_1>User` on lines
between them. HelpSteer3's `individual_preference` holds what each annotator said, without who it was; the overall
preference is made of it and is what is read. Its other tables (`feedback`, `edit`, `edit_quality`) compare no answers
to a prompt. Fields were read in the cards of nvidia/HelpSteer2 and nvidia/HelpSteer3 and in NVIDIA/NeMo-Aligner.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from feedback.formats.drafts import Draft, EventDraft, Format, PairDraft
from feedback.formats.parts.field_columns import stripped
from feedback.formats.parts.fields import need, reject, shown
from feedback.formats.parts.turn_columns import marked_parts, named_turns
from feedback.formats.parts.turns import read_messages, read_text
from feedback.formats.plain import TEXT, WHOLE, PlainRecords, Turns
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = ["HELPSTEER2", "HELPSTEER3"]

_LABELS: Final = {4: True, 3: True, 2: None, 1: False, 0: False}
_STRONGEST: Final = 3
_TURN: Final = re.compile(r"\n*<extra_id_1>(User|Assistant)\n")
_ROLES: Final = {"User": "user", "Assistant": "assistant"}


def _parse_2(record: dict[str, Any]) -> Iterator[Draft]:
    yield _comparison_2(record) if record.get("response_1") is not None else _rating(record)


def _comparison_2(record: dict[str, Any]) -> PairDraft:
    answers = read_text(record, "response_1", "assistant"), read_text(record, "response_2", "assistant")
    return _comparison(_marked_turns(record), answers, record, "preference_strength")


def _parse_3(record: dict[str, Any]) -> Iterator[PairDraft]:
    prompt = read_messages(need(record, "context"), "context")
    answers = read_text(record, "response1", "assistant"), read_text(record, "response2", "assistant")
    yield _comparison(prompt, answers, record, "overall_preference")


def _comparison(
    prompt: list[Message], answers: tuple[Message, Message], record: dict[str, Any], field: str
) -> PairDraft:
    strength = need(record, field)
    if type(strength) is not int or abs(strength) > _STRONGEST:
        reject(RejectReason.UNKNOWN_LABEL, f"field {field!r} is {shown(strength)}; expected a whole number, -3 to 3")
    return PairDraft(
        prompt=prompt,
        response_a=[answers[0]],
        response_b=[answers[1]],
        outcome="tie" if strength == 0 else "a" if strength < 0 else "b",
        raw_value=strength,
        rater_kind="annotator",
        margin=float(abs(strength)),
    )


def _rating(record: dict[str, Any]) -> EventDraft:
    prompt, answer = _marked_turns(record), read_text(record, "response", "assistant")
    helpfulness = need(record, "helpfulness")
    if type(helpfulness) is not int or helpfulness not in _LABELS:
        detail = f"field 'helpfulness' is {shown(helpfulness)}; expected a whole number, 0 to 4"
        reject(RejectReason.UNKNOWN_LABEL, detail)
    return EventDraft(
        prompt=prompt,
        completion=[answer],
        signal="rating",
        raw_value=helpfulness,
        label=_LABELS[helpfulness],
        rater_kind="annotator",
        strength=float(helpfulness),
    )


def _marked_turns(record: dict[str, Any]) -> list[Message]:
    """The turns of a prompt; the first one has no mark before it."""
    first, *rest = _TURN.split(read_text(record, "prompt", "user")["content"])
    turns: list[Message] = [] if rest and not first.strip() else [{"role": "user", "content": first}]
    turns += [{"role": _ROLES[name], "content": said} for name, said in zip(rest[::2], rest[1::2], strict=True)]
    return turns


_ATTRIBUTES: Final = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
_SCALE: Final = "prefers the first answer from -3 to -1, the second from 1 to 3, and 0 is a tie"


_PARTS: Final = pl.col("prompt parts")
_CUT: Final = {"prompt parts": marked_parts(pl.col("prompt"), _TURN.pattern)}


def _plain_comparison(prompt: Turns, answers: tuple[str, str], strength: str, unread: frozenset[str]) -> PlainRecords:
    said = pl.col(strength)
    return PlainRecords(
        kind="pairs",
        turns={
            "prompt": prompt,
            "response_a": Turns(answers[0], "assistant"),
            "response_b": Turns(answers[1], "assistant"),
        },
        types={strength: WHOLE, **({} if prompt.made is None else {prompt.path: TEXT})},
        parts={} if prompt.made is None else _CUT,
        fields={
            "outcome": pl.when(said == 0).then(pl.lit("tie")).when(said < 0).then(pl.lit("a")).otherwise(pl.lit("b")),
            "raw_value": said.cast(pl.String),
            "rater_kind": pl.lit("annotator"),
            "margin": said.abs().cast(pl.Float64),
        },
        where=said.is_between(-_STRONGEST, _STRONGEST),
        unread=unread,
    )


_UNREAD_2: Final = frozenset(
    {
        *(name for name in _ATTRIBUTES if name != "helpfulness"),
        *("split", "preference_statement", "preference_elaboration", "three_most_similar_preferences"),
        "all_preferences_unprocessed",
    }
)
_UNREAD_3: Final = frozenset({"domain", "language", "individual_preference"})
_IS_MARKED_FIRST: Final = (stripped(_PARTS.list.first()) == "") & (_PARTS.list.len() > 1)
_MARKED: Final = Turns(
    "prompt",
    made=named_turns(pl.when(_IS_MARKED_FIRST).then(_PARTS.list.slice(1)).otherwise(_PARTS), _ROLES),
)
_PLAIN_2: Final = (
    PlainRecords(
        kind="events",
        turns={"prompt": _MARKED, "completion": Turns("response", "assistant")},
        types={"helpfulness": WHOLE, "prompt": TEXT},
        parts=_CUT,
        fields={
            "signal": pl.lit("rating"),
            "label": pl.col("helpfulness").replace_strict(_LABELS, default=None, return_dtype=pl.Boolean),
            "raw_value": pl.col("helpfulness").cast(pl.String),
            "rater_kind": pl.lit("annotator"),
            "strength": pl.col("helpfulness").cast(pl.Float64),
        },
        where=pl.col("helpfulness").is_in(list(_LABELS)),
        unread=_UNREAD_2,
    ),
    _plain_comparison(_MARKED, ("response_1", "response_2"), "preference_strength", _UNREAD_2),
)
_PLAIN_3: Final = _plain_comparison(Turns("context"), ("response1", "response2"), "overall_preference", _UNREAD_3)

HELPSTEER2: Final = Format(
    name="helpsteer2",
    kind="both",
    summary="NVIDIA's HelpSteer2: answers with ratings by people, or its table of preferences.",
    label_rule="helpfulness 3 and 4 are desirable, 0 and 1 undesirable, 2 gives no label; preference_strength "
    f"{_SCALE}.",
    fields="prompt, response, helpfulness, or prompt, response_1, response_2, preference_strength",
    keys=frozenset(
        {*("prompt", "response", "helpfulness", "response_1", "response_2", "preference_strength", *_UNREAD_2)}
    ),
    parse=_parse_2,
    plain=_PLAIN_2,
)

HELPSTEER3: Final = Format(
    name="helpsteer3",
    kind="pairs",
    summary="NVIDIA's HelpSteer3 preferences: two answers to a conversation, compared by people.",
    label_rule=f"overall_preference {_SCALE}.",
    fields="context (messages), response1, response2, overall_preference",
    keys=frozenset({"context", "response1", "response2", "overall_preference", *_UNREAD_3}),
    parse=_parse_3,
    plain=(_PLAIN_3,),
)
