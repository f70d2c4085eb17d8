"""Values of the format `mapped`: labels as they stand in JSON, numbers and times that a CSV file gives as text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from feedback.formats.drafts import Time
from feedback.formats.parts.fields import optional_number, optional_time, reject, shown
from schemas.reasons import RejectReason

__all__ = ["json_text", "read_number", "read_scaled_time"]

_AS_JSON: Final = json.JSONEncoder(default=str).encode
_UNITS: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def json_text(value: Any) -> str:
    """How a map names a value: text as it is, everything else as in JSON.

    >>> [json_text(value) for value in ("up", 1, -1.5, True, None)]
    ['up', '1', '-1.5', 'true', 'null']
    """
    return value if isinstance(value, str) else _AS_JSON(value)


def read_number(record: Mapping[str, Any], key: str) -> float | None:
    """The number in `key`, which a CSV file gives as text; None where it is absent.

    Raises:
        RecordRejectedError: it is not a finite number.
    """
    value = record.get(key)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            reject(RejectReason.WRONG_TYPE, f"field {key!r} is {shown(record[key])}; expected a number")
    return optional_number({key: value}, key)


def read_scaled_time(record: Mapping[str, Any], key: str, unit: str) -> Time | None:
    """The time in `key`; a number of `unit` becomes seconds, also where a CSV file gives it as text."""
    value = optional_time(record, key)
    if isinstance(value, str) and re.fullmatch(r"-?\d{9,}(\.\d+)?", value):
        value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value / _UNITS[unit] if unit != "s" else value
    return value
