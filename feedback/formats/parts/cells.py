"""Cells of tables that hold more than text: numbers, booleans, and lists that were written into a string as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from feedback.formats.parts.fields import BOOLEAN_CELLS, need, optional_bool, optional_number, reject, shown
from feedback.records.strict_json import decode_json
from schemas.errors import RecordRejectedError
from schemas.reasons import RejectReason

__all__ = ["bool_cell", "list_cell", "number_cell"]

_TEXTS: Final = msgspec.json.Decoder(list[str | None])


def bool_cell(record: Mapping[str, Any], key: str) -> bool | None:
    """The boolean in `key`, as it is or as the word for it; None where it is absent.

    >>> [bool_cell({"consent": value}, "consent") for value in (True, "False", None)]
    [True, False, None]

    Raises:
        RecordRejectedError: it is anything else; 1 and 0 are no booleans.
    """
    value = record.get(key)
    return optional_bool({key: BOOLEAN_CELLS.get(value, value) if isinstance(value, str) else value}, key)


def number_cell(record: Mapping[str, Any], key: str) -> float | None:
    """The number in `key`, as it is or as text; None where it is absent.

    >>> [number_cell({"strength": value}, "strength") for value in (1, "0.5", None)]
    [1.0, 0.5, None]

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


def list_cell(record: Mapping[str, Any], key: str) -> list[Any]:
    """The list in `key`, as it is or as JSON in a string.

    >>> list_cell({"prompt": '["Hello", null]'}, "prompt")
    ['Hello', None]

    Raises:
        RecordRejectedError: it is absent, no list, or JSON that is ambiguous or damaged.
    """
    value = need(record, key)
    if isinstance(value, str) and value.strip():
        try:
            return _TEXTS.decode(value)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            pass  # it is no list of texts, or no JSON: read again, it is said which
        try:
            value = decode_json(value.encode("utf-8", "surrogatepass"))
        except RecordRejectedError as error:
            detail = f"field {key!r} holds JSON that cannot be read: {error.detail}"
            raise RecordRejectedError(error.reason, detail) from error
    if not isinstance(value, list):
        reject(RejectReason.WRONG_TYPE, f"field {key!r} is {shown(value)}; expected a list, or one as JSON in a string")
    return value
