"""Values at a path inside a record, for the format `mapped`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from feedback.formats.drafts import Time
from feedback.formats.fields import optional_number, optional_time, reject, shown
from schemas.errors import ConfigError
from schemas.reasons import RejectReason

__all__ = ["find_value", "json_text", "parse_path", "read_number", "read_scaled_time"]

_STEP: Final = re.compile(r"""(?:^|\.)([^.\[\]"]+)|\[(-?\d+)\]|\["([^"]+)"\]""")
_UNITS: Final = {"s": 1, "ms": 1_000, "us": 1_000_000}


def parse_path(path: str, where: object) -> tuple[str | int, ...]:
    """The steps of a path.

    >>> parse_path('choices[0].message["a.b"]', "map.toml")
    ('choices', 0, 'message', 'a.b')

    Args:
        path: keys with dots between them, `[n]` for a place in a list, and `["key"]` for a key with signs in it.
        where: the map file, for the error.

    Raises:
        ConfigError: it is not a path.
    """
    steps: list[str | int] = []
    end = 0
    while end < len(path) and (match := _STEP.match(path, end)):
        key, place, quoted = match.groups()
        steps.append(int(place) if place is not None else key or quoted)
        end = match.end()
    if not steps or end != len(path):
        raise ConfigError(
            "a path of the map cannot be read", where=where, received=path, expected='a.b, a[0] or a["key.with.dots"]'
        )
    return tuple(steps)


def find_value(record: Any, steps: Sequence[str | int]) -> Any:
    """The value at a path, or None where there is none; text on the way is read as JSON.

    Raises:
        RecordRejectedError: text on the way is not JSON.
    """
    value = record
    for step in steps:
        if isinstance(value, str):
            value = _from_text(value, step)
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value


def json_text(value: Any) -> str:
    """How a map names a value: text as it is, everything else as in JSON.

    >>> [json_text(value) for value in ("up", 1, -1.5, True, None)]
    ['up', '1', '-1.5', 'true', 'null']
    """
    return value if isinstance(value, str) else json.dumps(value, default=str)


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


def _from_text(text: str, step: str | int) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        detail = f"the text before {step!r} in a mapped path is {shown(text)}; expected JSON"
        return reject(RejectReason.INVALID_JSON, detail)
