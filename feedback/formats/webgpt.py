"""Format `webgpt`: OpenAI's WebGPT comparisons, two answers to a question with a score each.

    question { id, dataset, full_text }     answer_0, score_0     answer_1, score_1

A score is in [-1, 1] and each is the other's negative; 0 and 0 is a tie. Answers cite what the model had read
(`quotes_0`, `quotes_1`), which is not part of the prompt here. A question's id is no record's id: one question is
compared several times. Fields are those of openai/webgpt_comparisons, read in Open-Assistant's loader of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from feedback.formats.drafts import Format, PairDraft
from feedback.formats.parts.field_columns import higher, is_short_number, json_list
from feedback.formats.parts.fields import need, need_number, reject, shown
from feedback.formats.parts.ranked import preferred
from feedback.formats.parts.turns import read_text
from feedback.formats.plain import FLOAT, PlainRecords, Turns
from schemas.reasons import RejectReason

__all__ = ["WEBGPT"]


def _parse(record: dict[str, Any]) -> Iterator[PairDraft]:
    question = need(record, "question")
    if not isinstance(question, dict):
        reject(RejectReason.WRONG_TYPE, f"field 'question' is {shown(question)}; expected an object with full_text")
    scores = need_number(record, "score_0"), need_number(record, "score_1")
    yield PairDraft(
        prompt=[read_text(question, "full_text", "user")],
        response_a=[read_text(record, "answer_0", "assistant")],
        response_b=[read_text(record, "answer_1", "assistant")],
        outcome=preferred(*scores),
        raw_value=list(scores),
        rater_kind="annotator",
        margin=abs(scores[0] - scores[1]),
        score_a=scores[0],
        score_b=scores[1],
    )


_UNREAD: Final = frozenset({f"{name}_{side}" for name in ("quotes", "tokens") for side in "01"})
_PLAIN: Final = PlainRecords(
    kind="pairs",
    turns={
        "prompt": Turns("question.full_text", "user"),
        "response_a": Turns("answer_0", "assistant"),
        "response_b": Turns("answer_1", "assistant"),
    },
    types=dict.fromkeys(("score_0", "score_1"), FLOAT),
    fields={
        "outcome": higher("score_0", "score_1"),
        "raw_value": json_list("score_0", "score_1"),
        "rater_kind": pl.lit("annotator"),
        "margin": (pl.col("score_0") - pl.col("score_1")).abs(),
        "score_a": pl.col("score_0"),
        "score_b": pl.col("score_1"),
    },
    where=is_short_number("score_0") & is_short_number("score_1"),
    unread=_UNREAD,
)

WEBGPT: Final = Format(
    name="webgpt",
    kind="pairs",
    summary="OpenAI's WebGPT comparisons: two answers to a question, with the score that people gave each.",
    label_rule="The answer with the higher score is preferred; equal scores are a tie.",
    fields="question.full_text, answer_0, score_0, answer_1, score_1",
    keys=frozenset({"question", *_UNREAD, *(f"{name}_{side}" for name in ("answer", "score") for side in "01")}),
    parse=_parse,
    plain=(_PLAIN,),
)
