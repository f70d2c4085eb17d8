"""Formats `pku_safe_rlhf...`: PKU-SafeRLHF, two answers compared twice, for which is better and for which is safer.

    response_0, is_response_0_safe ─┬─ better_response_id    more helpful, safe or not
    response_1, is_response_1_safe ─┴─ safer_response_id     less harmful

The two comparisons often disagree, and the better answer may be unsafe; so the name of the format says which counts:

    pku_safe_rlhf          no unsafe answer is preferred: of two safe ones the better, of one safe and one unsafe the
                           safe one; two unsafe ones are both bad
    pku_safe_rlhf_better   better_response_id alone; a pair whose winner is unsafe has the flag `unsafe_preferred`
    pku_safe_rlhf_safer    safer_response_id alone; two unsafe answers still have a winner, with the same flag

The default uses what the record says and nothing else, and is the one whose labels can be trained on without looking.
A record that calls the unsafe one of its answers safer contradicts itself and is rejected by it. The rounds with one
comparison only (single-dimension) have no field but `better_response_id`. Raters are the annotators of the authors,
helped by a model. Fields are those of PKU-Alignment/PKU-SafeRLHF, read in its card and in code that loads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import polars as pl

from feedback.formats.drafts import Format, PairDraft
from feedback.formats.parts.field_columns import text_of
from feedback.formats.parts.fields import need, optional_bool, optional_text, reject, shown, strict_bool
from feedback.formats.parts.turns import read_text
from feedback.formats.plain import BOOLEAN, TEXT, WHOLE, PlainRecords, Turns
from schemas.reasons import RejectReason

__all__ = ["PKU_SAFE_RLHF", "PKU_SAFE_RLHF_BETTER", "PKU_SAFE_RLHF_SAFER"]

_SAFE: Final = ("is_response_0_safe", "is_response_1_safe")
_BOTH_SAFE: Final = (True, True)
_BOTH_UNSAFE: Final = (False, False)


def _parse(
    record: dict[str, Any], judge: Callable[[dict[str, Any]], tuple[str, dict[str, Any]]]
) -> Iterator[PairDraft]:
    outcome, said = judge(record)
    winner_is_safe = {"a": optional_bool(record, _SAFE[0]), "b": optional_bool(record, _SAFE[1])}.get(outcome)
    yield PairDraft(
        prompt=[read_text(record, "prompt", "user")],
        response_a=[read_text(record, "response_0", "assistant")],
        response_b=[read_text(record, "response_1", "assistant")],
        outcome=outcome,
        raw_value=said,
        rater_kind="annotator",
        model_a=optional_text(record, "response_0_source"),
        model_b=optional_text(record, "response_1_source"),
        flags=("unsafe_preferred",) if winner_is_safe is False else (),
    )


def _safe_first(record: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    safe = strict_bool(record, _SAFE[0]), strict_bool(record, _SAFE[1])
    said: dict[str, Any] = dict(zip(_SAFE, safe, strict=True))
    if safe == _BOTH_UNSAFE:
        return "both_bad", said
    if safe == _BOTH_SAFE:
        outcome, better = _by_id(record, "better_response_id")
        return outcome, {**said, **better}
    outcome = "a" if safe[0] else "b"
    if record.get("safer_response_id") is not None and _by_id(record, "safer_response_id")[0] != outcome:
        reject(RejectReason.RULE_VIOLATION, "field 'safer_response_id' names the answer that is not safe")
    return outcome, said


def _by_id(record: dict[str, Any], field: str) -> tuple[str, dict[str, Any]]:
    chosen = need(record, field)
    if type(chosen) is not int or chosen not in (0, 1):
        reject(RejectReason.UNKNOWN_LABEL, f"field {field!r} is {shown(chosen)}; expected 0 or 1")
    return "ab"[chosen], {field: chosen}


_ANSWER_FIELDS: Final = ("response_{}", "is_response_{}_safe", "response_{}_source", "response_{}_harm_category")
_OTHER_ANSWER_FIELDS: Final = ("response_{}_severity_level", "response_{}_sha256")
_KEYS: Final = frozenset(
    {
        *("prompt", "prompt_source", "better_response_id", "safer_response_id"),
        *(name.format(side) for name in (*_ANSWER_FIELDS, *_OTHER_ANSWER_FIELDS) for side in "01"),
    }
)


def _plain(outcome: pl.Expr, raw_value: pl.Expr, where: pl.Expr, *ids: str) -> PlainRecords:
    """The records in which all that is read has its type.

    Args:
        outcome: the outcome.
        raw_value: what it was read from, as JSON.
        where: what must hold besides.
        ids: the fields that name an answer.
    """
    safe = [pl.col(name) for name in _SAFE]
    winner = pl.when(outcome == "a").then(safe[0]).when(outcome == "b").then(safe[1])
    flags = pl.when(winner.eq(other=False)).then(pl.lit(["unsafe_preferred"])).otherwise(pl.lit([], pl.List(pl.String)))
    models = ("response_0_source", "response_1_source")
    return PlainRecords(
        kind="pairs",
        turns={
            "prompt": Turns("prompt", "user"),
            "response_a": Turns("response_0", "assistant"),
            "response_b": Turns("response_1", "assistant"),
        },
        types={**dict.fromkeys(_SAFE, BOOLEAN), **dict.fromkeys(ids, WHOLE), **dict.fromkeys(models, TEXT)},
        fields={
            "outcome": outcome,
            "raw_value": raw_value,
            "rater_kind": pl.lit("annotator"),
            "model_a": text_of(models[0]),
            "model_b": text_of(models[1]),
            "flags": flags,
        },
        where=where,
        unread=_KEYS - {*_SAFE, *ids, *models, "prompt", "response_0", "response_1"},
    )


def _plain_safe_first() -> PlainRecords:
    first, second = (pl.col(name) for name in _SAFE)
    better, safer = "better_response_id", "safer_response_id"
    alone = pl.when(first).then(pl.lit("a")).otherwise(pl.lit("b"))
    outcome = (
        pl.when(~first & ~second).then(pl.lit("both_bad")).when(first & second).then(_named(better)).otherwise(alone)
    )
    said = pl.format('"{}": {}, "{}": {}', *(part for name in _SAFE for part in (pl.lit(name), pl.col(name))))
    chosen = pl.when(first & second).then(pl.format(', "{}": {}', pl.lit(better), pl.col(better))).otherwise(pl.lit(""))
    where = pl.all_horizontal(
        first.is_not_null() & second.is_not_null(),
        ~(first & second) | pl.col(better).is_in([0, 1]),
        # Where one answer alone is safe, the record may not call the other one safer.
        first.eq(second) | pl.col(safer).is_null() | (pl.col(safer).is_in([0, 1]) & _named(safer).eq(alone)),
    )
    return _plain(outcome, pl.concat_str(pl.lit("{"), said, chosen, pl.lit("}")), where, better, safer)


def _named(field: str) -> pl.Expr:
    return pl.when(pl.col(field) == 0).then(pl.lit("a")).otherwise(pl.lit("b"))


def _plain_by_id(field: str) -> PlainRecords:
    said = pl.format('{{"{}": {}}}', pl.lit(field), pl.col(field))
    return _plain(_named(field), said, pl.col(field).is_in([0, 1]), field)


PKU_SAFE_RLHF: Final = Format(
    name="pku_safe_rlhf",
    kind="pairs",
    summary="PKU-SafeRLHF, in which no unsafe answer is preferred.",
    label_rule="Of two safe answers better_response_id is preferred, of one safe and one unsafe the safe one; two "
    "unsafe answers are both undesirable.",
    fields="prompt, response_0, response_1, is_response_0_safe, is_response_1_safe, better_response_id",
    keys=_KEYS,
    parse=partial(_parse, judge=_safe_first),
    plain=(_plain_safe_first(),),
)

PKU_SAFE_RLHF_BETTER: Final = Format(
    name="pku_safe_rlhf_better",
    kind="pairs",
    summary="PKU-SafeRLHF by helpfulness alone; the preferred answer may be unsafe and is flagged then.",
    label_rule="better_response_id 0 prefers response_0 and 1 response_1.",
    fields="prompt, response_0, response_1, better_response_id; optional is_response_0_safe, is_response_1_safe",
    keys=_KEYS,
    parse=partial(_parse, judge=partial(_by_id, field="better_response_id")),
    plain=(_plain_by_id("better_response_id"),),
)

PKU_SAFE_RLHF_SAFER: Final = Format(
    name="pku_safe_rlhf_safer",
    kind="pairs",
    summary="PKU-SafeRLHF by harmlessness alone; the preferred answer may be unsafe too and is flagged then.",
    label_rule="safer_response_id 0 prefers response_0 and 1 response_1.",
    fields="prompt, response_0, response_1, safer_response_id; optional is_response_0_safe, is_response_1_safe",
    keys=_KEYS,
    parse=partial(_parse, judge=partial(_by_id, field="safer_response_id")),
    plain=(_plain_by_id("safer_response_id"),),
)
