"""What plain records tell, as expressions over their fields: ids, texts, numbers and outcomes as drafts have them.

A field is a column that is named by its dotted path, see `feedback.formats.plain`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import polars as pl

__all__ = [
    "are_said",
    "higher",
    "id_of",
    "is_id",
    "is_said",
    "is_short_number",
    "json_list",
    "json_of",
    "number_of",
    "seconds_of_nanoseconds",
    "stripped",
    "text_of",
]

_BILLION: Final = 1_000_000_000
_LEAST_FIXED, _MOST_FIXED = 1e-4, 1e15
_BLANK: Final = "".join(sign for sign in map(chr, range(0x3001)) if sign.isspace())
"""White space as Python sees it, which is a little more than polars does."""


def is_said(path: str) -> pl.Expr:
    """Where a text is not blank."""
    return pl.col(path).str.strip_chars(_BLANK).str.len_bytes() > 0


def is_id(path: str) -> pl.Expr:
    """Where an id is absent, or such that it can be told from others."""
    return pl.col(path).is_null() | (stripped(pl.col(path).cast(pl.String)).str.len_bytes() > 0)


def is_short_number(path: str) -> pl.Expr:
    """Where a float is there and has the same JSON in Python and in polars, which write exponents differently."""
    number = pl.col(path)
    return number.is_not_null() & ((number == 0) | number.abs().is_between(_LEAST_FIXED, _MOST_FIXED))


def are_said(path: str) -> pl.Expr:
    """Where a list of texts is absent, or none of them is blank."""
    words = pl.col(path)
    return words.is_null() | words.list.eval(stripped(pl.element()).str.len_bytes() > 0).list.all(ignore_nulls=False)


def id_of(path: str) -> pl.Expr:
    """An id as text."""
    return pl.col(path).cast(pl.String)


def text_of(path: str) -> pl.Expr:
    """A text as it is copied: a blank one is none."""
    return pl.when(is_said(path)).then(pl.col(path))


def number_of(path: str) -> pl.Expr:
    """A number."""
    return pl.col(path).cast(pl.Float64)


def json_of(path: str, values: Mapping[Any, str]) -> pl.Expr:
    """The JSON of a value that is one of few.

    Args:
        path: the field.
        values: the JSON of each.
    """
    return pl.col(path).replace_strict(list(values), list(values.values()), default=None, return_dtype=pl.String)


def json_list(*paths: str) -> pl.Expr:
    """The JSON of a list of whole numbers, or of floats, see `is_short_number`."""
    parts = [part for path in paths for part in (pl.lit(", "), pl.col(path).cast(pl.String))]
    return pl.concat_str(pl.lit("["), *parts[1:], pl.lit("]"))


def seconds_of_nanoseconds(number: pl.Expr) -> pl.Expr:
    """Seconds from a whole number of nanoseconds, or its digits: what Python gives for the number through a billion.

    Whole seconds and the rest are turned into floats apart: the sum is rounded once, since seconds after 1970 are never
    so near to the middle between two floats that the first rounding matters.
    """
    whole = number.cast(pl.Int64, strict=False)
    return (whole // _BILLION).cast(pl.Float64) + (whole % _BILLION).cast(pl.Float64) / _BILLION


def higher(path_a: str, path_b: str) -> pl.Expr:
    """The outcome of two scores of which the higher one is better; equal scores are a tie."""
    a, b = pl.col(path_a), pl.col(path_b)
    return pl.when(a == b).then(pl.lit("tie")).when(a > b).then(pl.lit("a")).otherwise(pl.lit("b"))


def stripped(text: pl.Expr) -> pl.Expr:
    """A text without the white space around it, as Python sees it."""
    return text.str.strip_chars(_BLANK)
