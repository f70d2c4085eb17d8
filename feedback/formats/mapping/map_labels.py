"""What a map says a judgement means: labels, thresholds, outcomes, and the answer that was shown first."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NoReturn

import polars as pl
import pyarrow as pa

from feedback.formats.mapping.asked_once import ask_once, meant
from feedback.formats.mapping.map_config import MapConfig
from feedback.formats.mapping.mapped_values import json_text
from feedback.formats.parts.cells import number_cell
from feedback.formats.parts.fields import reject, shown
from schemas.errors import RecordRejectedError
from schemas.reasons import RejectReason

__all__ = ["first_shown", "json_of", "label_of", "outcome_of", "told_values"]

_LABELS: Final = {"up": True, "down": False, "none": None}
_WHOLE: Final = re.compile(r"(-?\d+)\.0", re.ASCII)
_SIDES: Final = {"a": "a", "b": "b", "chosen": "a", "rejected": "b"}


def label_of(config: MapConfig, value: Any) -> bool | None:
    """The label that a value means.

    Raises:
        RecordRejectedError: the map knows no such value.
    """
    known = config.labels
    word = _word(known, value)
    if word is not None:
        return _LABELS[word]
    limits = config.thresholds
    if limits is None or value is None:
        return _refuse("label", value, known)
    number = number_cell({"label": value}, "label")
    if number is None or limits.down_to < number < limits.up_from:
        return None
    return number >= limits.up_from


def outcome_of(config: MapConfig, value: Any) -> str:
    """The outcome that a value means.

    Raises:
        RecordRejectedError: the map knows no such value.
    """
    word = _word(config.outcomes, value)
    return _refuse("outcome", value, config.outcomes) if word is None else word


def first_shown(config: MapConfig, value: Any) -> str | None:
    """Which answer was shown first: named as outcomes are, or `a` and `b`, or `chosen` and `rejected`.

    Raises:
        RecordRejectedError: it is none of these.
    """
    if value is None:
        return None
    known = _SIDES | {word: side for word, side in config.outcomes.items() if side in ("a", "b")}
    side = _word(known, value)
    return _refuse("presented_first", value, known) if side is None else side


def told_values(held: pa.Array, read: Callable[[Any], Any], kind: pl.DataType) -> pl.Series:
    """What many values mean: whether that can be told by column, what it is, and their JSON.

    Args:
        held: the values. [N].
        read: what one means.
        kind: type of that.

    Returns:
        [N] of a struct `is_known`, `means`, `raw_value`.
    """
    told = pl.Struct({"is_known": pl.Boolean, "means": kind, "raw_value": pl.String})
    return ask_once(pl.DataFrame({"value": pl.Series(held)}), partial(_tell, read=read), told)


def json_of(value: Any) -> str:
    """The JSON of a raw value."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _tell(row: tuple[Any, ...], *, read: Callable[[Any], Any]) -> tuple[Any, ...]:
    said = {_said(one, read) for one in meant(row[0])}
    (first, *others) = said
    return (False, None, None) if first is None or others else (True, *first)


def _said(value: Any, read: Callable[[Any], Any]) -> tuple[Any, str] | None:
    try:
        return read(value), json_of(value)
    except (RecordRejectedError, OverflowError):
        return None


def _word(known: Mapping[str, str], value: Any) -> str | None:
    """What a map calls a value; `1` is also 1.0, which is how tables with gaps hold whole numbers."""
    text = json_text(value)
    whole = _WHOLE.fullmatch(text)
    return known.get(text) or (None if whole is None else known.get(whole[1]))


def _refuse(field: str, value: Any, known: Mapping[str, str]) -> NoReturn:
    if value is None:
        reject(RejectReason.MISSING_FIELD, f"field {field!r} is absent or null, and the map has no 'null'")
    listed = ", ".join(sorted(known)) or "a number"
    reject(RejectReason.UNKNOWN_LABEL, f"field {field!r} is {shown(value)}; the map knows {listed}")
