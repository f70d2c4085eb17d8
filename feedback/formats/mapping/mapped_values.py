"""Values of the format `mapped`: labels as they stand in JSON, numbers and times that a CSV file gives as text.

Times are read here one by one and, where their column has one type, many at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import polars as pl
import pyarrow as pa

from feedback.formats.drafts import Time
from feedback.formats.parts.field_columns import seconds_of_nanoseconds
from feedback.formats.parts.fields import optional_time

__all__ = ["are_digits", "json_text", "read_scaled_time", "scaled_times"]

_AS_JSON: Final = json.JSONEncoder(default=str).encode
_DIGITS: Final = r"-?\d{9,}(\.\d+)?"
_UNITS: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def json_text(value: Any) -> str:
    """How a map names a value: text as it is, everything else as in JSON.

    >>> [json_text(value) for value in ("up", 1, -1.5, True, None)]
    ['up', '1', '-1.5', 'true', 'null']
    """
    return value if isinstance(value, str) else _AS_JSON(value)


def read_scaled_time(record: Mapping[str, Any], key: str, unit: str) -> Time | None:
    """The time in `key`; a number of `unit` becomes seconds, also where a CSV file gives it as text."""
    value = optional_time(record, key)
    if isinstance(value, str) and re.fullmatch(_DIGITS, value):
        value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value / _UNITS[unit] if unit != "s" else value
    return value


def scaled_times(held: pa.Array, unit: str) -> pl.Series:
    """What `read_scaled_time` says of many values of one type, but for texts that are digits. [N].

    Args:
        held: texts or numbers. [N].
        unit: of the numbers.
    """
    times = pl.Series(held)
    if unit == "s" or times.dtype == pl.String:
        return times
    if unit == "ns" and times.dtype == pl.Int64:
        return pl.select(seconds_of_nanoseconds(pl.lit(times))).to_series()
    return times / _UNITS[unit]


def are_digits(held: pa.Array) -> pl.Series:
    """Where a text is digits, as a CSV file gives a number. [N] bool.

    Args:
        held: texts or numbers. [N].
    """
    times = pl.Series(held)
    if times.dtype != pl.String:
        return pl.Series([False]).new_from_index(0, len(times))
    return times.str.contains(f"^{_DIGITS}$").fill_null(value=False)
