"""What a map says of many scores at once: its rules are asked once for every different score."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any, Final

import polars as pl

from feedback.formats.mapping.asked_once import ask_once, meant
from feedback.formats.mapping.score_map import ScoreMap, ScoreRule
from feedback.formats.parts.fields import shown
from schemas.errors import RecordRejectedError

__all__ = ["SCORE", "score_fields", "told_scores"]

SCORE: Final = "score"
"""The part that holds what is told of scores."""

_TOLD: Final = pl.Struct(
    {
        "is_known": pl.Boolean,
        "left_out": pl.String,
        "label": pl.Boolean,
        "strength": pl.Float64,
        "raw_value": pl.String,
        "signal": pl.String,
        "rater_kind": pl.String,
    }
)
_UNKNOWN: Final = (False, *[None] * 6)
_NAME: Final = "name"
_AS_JSON: Final = json.JSONEncoder(ensure_ascii=False, default=str).encode


def told_scores(
    known: ScoreMap, name: pl.Expr, values: Sequence[str], may_read: Callable[[ScoreRule], bool]
) -> pl.Expr:
    """What the map says of scores: a struct, of which `is_known` says where a score is one that is read by column.

    Then there is `left_out`, or all that `score_fields` takes from it.

    Args:
        known: the map.
        name: the name of the score, a text.
        values: the fields with its value, the most telling first.
        may_read: whether the texts of a rule's scores can be read by column.
    """
    columns = [name.alias(_NAME), *(pl.col(path).alias(str(place)) for place, path in enumerate(values))]
    return pl.struct(columns).map_batches(partial(_told, known=known, may_read=may_read), return_dtype=_TOLD)


def score_fields() -> dict[str, pl.Expr]:
    """The fields of a draft that a map tells, from the part `SCORE`."""
    return {name: pl.col(SCORE).struct.field(name) for name in ("label", "strength", "raw_value", "signal")}


def _told(scores: pl.Series, *, known: ScoreMap, may_read: Callable[[ScoreRule], bool]) -> pl.Series:
    return ask_once(scores.struct.unnest(), partial(_tell, known=known, may_read=may_read), _TOLD)


def _tell(score: tuple[Any, ...], *, known: ScoreMap, may_read: Callable[[ScoreRule], bool]) -> tuple[Any, ...]:
    """What the map says of one score, in the order of `_TOLD`."""
    name, *values = score
    if name is None:
        return _UNKNOWN
    rule = known.rules.get(name)
    if rule is None:
        return (True, f"scores {shown(name)}, which the map does not name", *[None] * 5)
    table = rule.table
    if table.outcomes or table.answers or table.corrections or not may_read(rule):
        return _UNKNOWN
    said = {_said(rule, one) for one in product(*(meant(value) for value in values))}
    (first, *others) = said
    return _UNKNOWN if first is None or others else (True, None, *first, rule.signal, table.rater_kind)


def _said(rule: ScoreRule, values: Sequence[Any]) -> tuple[bool | None, float | None, str] | None:
    """Label, strength, and the value as its JSON; None where the map does not name it."""
    raw = next((value for value in values if value is not None), None)
    try:
        return rule.label(values), rule.number(values), _AS_JSON(raw)
    except (RecordRejectedError, OverflowError):
        return None
