"""Format `ultrafeedback`: prompts with answers that GPT-4 rated, as pairs or as all answers with their ratings.

    pairs:  prompt, chosen, rejected, and scores     raw:  instruction, completions [ {response, model, annotations} ]

Pairs come in several dialects that differ in the names of the scores: HuggingFaceH4's `score_chosen`, Argilla's
`chosen-rating` and `chosen_avg_rating`, and `chosen_rating` of other copies. `chosen` and `rejected` repeat the prompt
as conversations, or are text. Equal scores are a tie: somebody had to fill both columns.

A raw record's score is `fine-grained_score`, or else the mean of the ratings of its aspects, those that are `N/A` left
out. `overall_score` is not read: it comes from the critique, where some answers that were called bad got 10 of 10. The
setting `ranking` says which answers stand against each other. The system prompts that each answer was written under
(`custom_system_prompt`) differ within a record, so they are no part of its prompt.

The rater is a model. Fields are those of openbmb/UltraFeedback, HuggingFaceH4/ultrafeedback_binarized and
argilla/ultrafeedback-binarized-preferences (and -cleaned), read in code that loads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import polars as pl

from feedback.formats.drafts import Draft, Format, PairDraft
from feedback.formats.parts.field_columns import higher, is_short_number, json_list, text_of
from feedback.formats.parts.fields import need, need_number, optional_number, optional_text, reject, shown
from feedback.formats.parts.ranked import RANKED_PAIRS, levels_of, pairs_of_levels, preferred
from feedback.formats.parts.turns import read_completion, read_prompt, read_text, split_answers
from feedback.formats.plain import FLOAT, MESSAGE_LIST, TEXT, PlainRecords, Turns
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = ["ULTRAFEEDBACK"]

_SCORES: Final = ("score_{}", "{}-rating", "{}_rating", "{}_avg_rating")
_MODELS: Final = ("{}-model", "{}_model")
_ANSWERS: Final = ("{}", "{}_response")
_DIALECTS: Final = tuple((score, "{}-model" if "-" in score else "{}_model") for score in _SCORES)
_PROMPTS: Final = ("prompt", "instruction")


def _parse(record: dict[str, Any], ranking: str) -> Iterator[Draft]:
    return _ranked(record, ranking) if record.get("completions") is not None else _binarized(record)


def _binarized(record: dict[str, Any]) -> Iterator[PairDraft]:
    given = _first(record, _PROMPTS)
    prompt = None if given is None else read_prompt(record[given], given)
    answers = {
        side: read_completion(need(record, _first(record, _ANSWERS, side) or side), side)
        for side in ("chosen", "rejected")
    }
    scores = [_score_of(record, side) for side in answers]
    outcome = preferred(*scores)
    if outcome == "b":
        detail = f"'chosen' scored {scores[0]:g} and 'rejected' {scores[1]:g}, so one of the two says the opposite"
        reject(RejectReason.RULE_VIOLATION, detail)
    models = [
        None if (name := _first(record, _MODELS, side)) is None else optional_text(record, name) for side in answers
    ]
    shared, better, worse = split_answers(prompt, answers["chosen"], answers["rejected"])
    yield _pair(shared, (better, scores[0], models[0]), (worse, scores[1], models[1]), outcome)


def _score_of(record: dict[str, Any], side: str) -> float:
    names = [name.format(side) for name in _SCORES]
    name = _first(record, _SCORES, side)
    if name is None:
        reject(RejectReason.MISSING_FIELD, f"fields {', '.join(map(repr, names))} are absent or null")
    return need_number(record, name)


def _ranked(record: dict[str, Any], ranking: str) -> Iterator[PairDraft]:
    prompt = [read_text(record, "instruction", "user")]
    answers = record["completions"]
    if not isinstance(answers, list) or not all(isinstance(one, dict) for one in answers):
        reject(RejectReason.WRONG_TYPE, f"field 'completions' is {shown(answers)}; expected a list of answers")
    scored = [(score, one) for one in answers if (score := _score(one)) is not None]
    levels = levels_of((-score, (score, one)) for score, one in scored)
    is_judged = False
    for better, worse in pairs_of_levels(levels, ranking):
        is_judged = True
        yield _pair(prompt, _side(*better), _side(*worse), "a")
    if not is_judged:
        reject(RejectReason.NO_JUDGEMENT, f"no two of the {len(answers)} answers have different scores")


_Side = tuple[list[Message], float, str | None]
"""An answer, its score and its model."""


def _side(score: float, answer: dict[str, Any]) -> _Side:
    return [read_text(answer, "response", "assistant")], score, optional_text(answer, "model")


def _pair(prompt: list[Message], a: _Side, b: _Side, outcome: str) -> PairDraft:
    return PairDraft(
        prompt=prompt,
        response_a=a[0],
        response_b=b[0],
        outcome=outcome,
        raw_value=[a[1], b[1]],
        rater_kind="llm_judge",
        margin=a[1] - b[1],
        score_a=a[1],
        score_b=b[1],
        model_a=a[2],
        model_b=b[2],
    )


def _first(record: Mapping[str, Any], names: tuple[str, ...], side: str = "") -> str | None:
    """The first of the names that the record has a value for."""
    return next((name for name in (one.format(side) for one in names) if record.get(name) is not None), None)


def _score(answer: Mapping[str, Any]) -> float | None:
    """The score of a raw answer; None where nothing rates it."""
    score = optional_number(answer, "fine-grained_score")
    aspects = answer.get("annotations")
    if score is not None or aspects is None:
        return score
    if not isinstance(aspects, dict):
        reject(RejectReason.WRONG_TYPE, f"field 'annotations' is {shown(aspects)}; expected an object of aspects")
    found = [rating for name, aspect in aspects.items() for rating in _ratings(name, aspect)]
    return sum(found) / len(found) if found else None


def _ratings(name: str, aspect: Any) -> Iterator[float]:
    """The ratings of one aspect; the first release has a list of them."""
    for one in aspect if isinstance(aspect, list) else [aspect]:
        rating = one.get("Rating") if isinstance(one, dict) else None
        if rating == "N/A":
            continue
        if not isinstance(rating, str) or rating not in _LIKERT:
            reject(RejectReason.UNKNOWN_LABEL, f"the rating of {name!r} is {shown(rating)}; expected 1 to 5 or N/A")
        yield float(rating)


_LIKERT: Final = ("1", "2", "3", "4", "5")


def _plain(score: str, model: str) -> Iterator[PlainRecords]:
    """Pairs in one dialect, their answers as conversations that repeat the prompt, or as text."""
    prompt, answers = pl.col("prompt"), {"response_a": "chosen", "response_b": "rejected"}
    scores, models = ([name.format(side) for side in answers.values()] for name in (score, model))
    known: dict[str, Any] = {
        "kind": "pairs",
        "fields": {
            "outcome": higher(*scores),
            "raw_value": json_list(*scores),
            "rater_kind": pl.lit("llm_judge"),
            "margin": pl.col(scores[0]) - pl.col(scores[1]),
            "score_a": pl.col(scores[0]),
            "score_b": pl.col(scores[1]),
            "model_a": text_of(models[0]),
            "model_b": text_of(models[1]),
        },
        "unread": frozenset({"prompt_id", "messages", "source", "models", "correct_answers", "incorrect_answers"}),
    }
    types = {**dict.fromkeys(scores, FLOAT), **dict.fromkeys(models, TEXT)}
    is_scored = is_short_number(scores[0]) & is_short_number(scores[1]) & (pl.col(scores[0]) >= pl.col(scores[1]))
    said = {name: pl.col(path) for name, path in answers.items()}
    first = [turns.list.first().struct for turns in said.values()]
    yield PlainRecords(
        **known,
        turns={
            "prompt": Turns("prompt", "user", made=prompt),
            **{name: Turns(path, starts="assistant", made=said[name].list.slice(1)) for name, path in answers.items()},
        },
        types={**types, "prompt": TEXT, **dict.fromkeys(answers.values(), MESSAGE_LIST)},
        where=pl.all_horizontal(
            is_scored,
            *(turn.field("role") == "user" for turn in first),
            *(turn.field("content") == prompt for turn in first),
        ),
    )
    yield PlainRecords(
        **known,
        turns={
            "prompt": Turns("prompt", "user"),
            **{name: Turns(path, "assistant") for name, path in answers.items()},
        },
        types=types,
        where=is_scored,
    )


ULTRAFEEDBACK: Final = Format(
    name="ultrafeedback",
    kind="pairs",
    summary="UltraFeedback, rated by GPT-4: binarized pairs in all their dialects, or raw records with all answers.",
    label_rule="The answer with the higher score is preferred, and equal scores are a tie; of raw answers the best is "
    "preferred to the worst by their fine-grained scores (--ranking neighbours: each to the next).",
    fields="prompt, chosen, rejected, score_chosen, score_rejected, or instruction, completions (response "
    "and fine-grained_score or annotations)",
    keys=frozenset(
        {
            *("prompt", "prompt_id", "messages", "chosen", "rejected", "source", "instruction", "completions"),
            *("models", "correct_answers", "incorrect_answers"),
            *(one.format(side) for one in (*_ANSWERS, *_SCORES, *_MODELS) for side in ("chosen", "rejected")),
        }
    ),
    parse=partial(_parse, ranking="extremes"),
    plain=tuple(one for dialect in _DIALECTS for one in _plain(*dialect)),
    rankings=MappingProxyType({ranking: partial(_parse, ranking=ranking) for ranking in RANKED_PAIRS}),
)
