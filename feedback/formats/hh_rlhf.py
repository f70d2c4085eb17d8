"""Format `hh_rlhf`: two whole transcripts, `chosen` and `rejected`, that part at the last answer.

The answer is what follows the last turn of the assistant; the prompt is everything before. Cutting where the texts
first differ would cut within a word wherever both answers begin alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from feedback.formats.drafts import Format, PairDraft
from feedback.formats.parts.field_columns import stripped
from feedback.formats.parts.fields import need, reject, shown
from feedback.formats.parts.turn_columns import all_but_last, marked_parts, named_turns
from feedback.formats.parts.turns import TRANSCRIPT_ROLES, TRANSCRIPT_TURN, read_transcript
from feedback.formats.plain import TEXT, PlainRecords, Turns
from schemas.reasons import RejectReason

__all__ = ["HH_RLHF", "is_transcript", "parse_transcripts"]

_TURN: Final = "\n\nAssistant:"
_LOST_BYTES: Final = 2  # of a mark, when a text is cut at it: two line ends and a colon for one sign
_BEGINNINGS: Final = ("\n\nHuman:", "\n\nAssistant:")


def is_transcript(value: object) -> bool:
    """Whether `value` is text that begins as a transcript does."""
    return isinstance(value, str) and value.startswith(_BEGINNINGS)


def parse_transcripts(record: dict[str, Any], **known: Any) -> Iterator[PairDraft]:
    """The pair of a record with the transcripts `chosen` and `rejected`.

    Args:
        record: the record.
        known: further fields of the draft.

    Raises:
        RecordRejectedError: a transcript has no answer, or the prompts are not the same.
    """
    chosen_prompt, chosen = _split(record, "chosen")
    rejected_prompt, rejected = _split(record, "rejected")
    if chosen_prompt != rejected_prompt:
        detail = (
            f"the transcripts differ at character {_first_difference(chosen_prompt, rejected_prompt)} of the prompt"
        )
        reject(RejectReason.PROMPTS_DIFFER, detail)
    for field, answer in (("chosen", chosen), ("rejected", rejected)):
        if not answer:
            reject(RejectReason.EMPTY_COMPLETION, f"field {field!r} ends without an answer")
    if chosen == rejected:
        reject(RejectReason.IDENTICAL_RESPONSES, "both transcripts end with the same answer")
    yield PairDraft(
        prompt=read_transcript(chosen_prompt, "chosen") if chosen_prompt.strip() else [],
        response_a=[{"role": "assistant", "content": chosen}],
        response_b=[{"role": "assistant", "content": rejected}],
        outcome="a",
        raw_value="chosen",
        **known,
    )


def _parse(record: dict[str, Any]) -> Iterator[PairDraft]:
    return parse_transcripts(record, rater_kind="annotator")


def _split(record: dict[str, Any], field: str) -> tuple[str, str]:
    text = need(record, field)
    if not isinstance(text, str):
        reject(RejectReason.WRONG_TYPE, f"field {field!r} is {shown(text)}; expected a transcript")
    prompt, turn, answer = text.rpartition(_TURN)
    if not turn:
        reject(RejectReason.WRONG_TYPE, f"field {field!r} has no turn of the assistant ('\\n\\nAssistant:')")
    if "\n\nHuman:" in answer:
        reject(RejectReason.BAD_ROLES, f"field {field!r} ends with a turn of the human")
    return prompt, answer.strip()


def _first_difference(first: str, second: str) -> int:
    pairs = zip(first, second, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def _plain() -> PlainRecords:
    """Transcripts whose prompts are the same to the letter: of the second one, only what is behind it is cut."""
    chosen, rejected = pl.col("chosen"), pl.col("rejected").cast(pl.Binary)
    cut, turns, shared, tail = (pl.col(name) for name in ("cut", "turns", "shared", "tail"))
    said, last = pl.element().struct, turns.list.last().struct
    turn = pl.struct(said.field("role").alias("role"), stripped(said.field("content")).alias("content"))
    is_shared = chosen.cast(pl.Binary).bin.head(shared) == rejected.bin.head(shared)
    answer_bytes = cut.list.last().str.len_bytes() + _LOST_BYTES
    return PlainRecords(
        kind="pairs",
        turns={
            "prompt": Turns("chosen", made=all_but_last(turns)),
            "response_a": Turns("chosen", role="assistant", made=last.field("content")),
            "response_b": Turns("rejected", role="assistant", made=stripped(tail.str.strip_prefix(_TURN))),
        },
        types={"chosen": TEXT, "rejected": TEXT},
        parts={
            "cut": marked_parts(chosen, TRANSCRIPT_TURN.pattern),
            "turns": named_turns(cut.list.slice(1), TRANSCRIPT_ROLES).list.eval(turn),
            "shared": chosen.str.len_bytes() - answer_bytes,
            "tail": pl.when(is_shared).then(rejected.bin.slice(shared)).cast(pl.String),
        },
        fields={"outcome": pl.lit("a"), "raw_value": pl.lit('"chosen"'), "rater_kind": pl.lit("annotator")},
        where=(stripped(cut.list.first()) == "")
        & (last.field("role") == "assistant")
        & tail.str.starts_with(_TURN)
        & (tail.str.count_matches(TRANSCRIPT_TURN.pattern) == 1),
    )


HH_RLHF: Final = Format(
    name="hh_rlhf",
    kind="pairs",
    summary="Anthropic's HH-RLHF: two whole transcripts, split at the last turn of the assistant.",
    label_rule="The answer of 'chosen' is preferred to that of 'rejected'.",
    fields="chosen, rejected (transcripts with '\\n\\nHuman:' and '\\n\\nAssistant:')",
    keys=frozenset({"chosen", "rejected"}),
    parse=_parse,
    plain=(_plain(),),
)
