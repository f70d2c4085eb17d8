"""Fields of a record, read strictly: the wanted type or a rejection that names the field and the value.

An absent field and a null one are the same, and so is a blank text where an id or a text may be absent. Nothing is
converted from one type to another, except what tables write otherwise: a time may be text, and an id a whole number,
which stands among nulls as a float. `feedback.formats.parts.cells` reads numbers and booleans in cells of CSV files.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from feedback.formats.drafts import Time
from feedback.records.strict_json import decode_json
from schemas.errors import RecordRejectedError
from schemas.reasons import RejectReason

__all__ = [
    "BOOLEAN_CELLS",
    "first_key",
    "id_text",
    "json_value",
    "need",
    "need_id",
    "need_list",
    "need_number",
    "need_object",
    "optional_bool",
    "optional_id",
    "optional_number",
    "optional_object",
    "optional_rater",
    "optional_text",
    "optional_time",
    "optional_tools",
    "optional_words",
    "reject",
    "shown",
    "strict_bool",
]

_SHOWN: Final = 40
BOOLEAN_CELLS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
"""Booleans as JSON, pandas and spreadsheets write them into text."""
_SECONDS: Final = re.compile(r"[0-9]{9,10}(\.[0-9]+)?")
"""Seconds since 1970: of 1990 to 2100, as all times are that are taken."""
_WHOLE: Final = 2.0**53
"""Floats up to here tell whole numbers apart."""


def reject(reason: RejectReason, detail: str) -> NoReturn:
    """Refuse the record.

    Raises:
        RecordRejectedError: always.
    """
    raise RecordRejectedError(reason, detail)


def shown(value: Any) -> str:
    """`value` as it is shown in a detail: short, and a container by its kind only.

    >>> shown("maybe"), shown([1, 2])
    ("'maybe'", 'a list')
    """
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def first_key(record: Mapping[str, Any], *keys: str) -> str:
    """The first of several keys that holds something, or the first of all.

    Args:
        record: the object.
        keys: names that one field has in different versions of a source.
    """
    return next((key for key in keys if record.get(key) is not None), keys[0])


def json_value(text: str, field: str) -> Any:
    """The value of JSON that lies in a text field.

    Raises:
        RecordRejectedError: it is no JSON, or two readers could understand it differently.
    """
    try:
        return decode_json(text.encode("utf-8", "surrogatepass"))
    except RecordRejectedError as error:
        raise RecordRejectedError(
            error.reason, f"field {field!r} holds text that is no sound JSON: {error.detail}"
        ) from error


def need(record: Mapping[str, Any], key: str) -> Any:
    """The value of `key`.

    Raises:
        RecordRejectedError: it is absent or null.
    """
    value = record.get(key)
    if value is None:
        reject(RejectReason.MISSING_FIELD, f"field {key!r} is absent or null")
    return value


def need_object(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The object in `key`.

    Raises:
        RecordRejectedError: it is absent, null, or of another type.
    """
    need(record, key)
    return optional_object(record, key)


def optional_object(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The object in `key`; an empty one where it is absent.

    Raises:
        RecordRejectedError: it is of another type.
    """
    value = record.get(key)
    if value is not None and not isinstance(value, dict):
        reject(RejectReason.WRONG_TYPE, f"field {key!r} is {shown(value)}; expected an object")
    return value or {}


def need_list(record: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects in `key`.

    Raises:
        RecordRejectedError: it is absent, null, or anything but a list of objects.
    """
    value = need(record, key)
    if not isinstance(value, list):
        reject(RejectReason.WRONG_TYPE, f"field {key!r} is {shown(value)}; expected a list")
    for place, item in enumerate(value):
        if not isinstance(item, dict):
            reject(RejectReason.WRONG_TYPE, f"{key}[{place}] is {shown(item)}; expected an object")
    return value


def need_number(record: Mapping[str, Any], key: str) -> float:
    """The number in `key`.

    Raises:
        RecordRejectedError: it is absent, null, or not a finite number.
    """
    return _number(need(record, key), key)


def strict_bool(record: Mapping[str, Any], key: str) -> bool:
    """The label of `key`, which must be true or false, or that word as a cell of a CSV file holds it.

    >>> strict_bool({"label": "False"}, "label")
    False

    Raises:
        RecordRejectedError: it is absent, null, or anything else; 1 and 0 are no booleans.
    """
    value = need(record, key)
    label = BOOLEAN_CELLS.get(value) if isinstance(value, str) else value
    if not isinstance(label, bool):
        reject(RejectReason.UNKNOWN_LABEL, f"field {key!r} is {shown(value)}; expected true or false")
    return label


def optional_text(record: Mapping[str, Any], key: str) -> str | None:
    """The text of `key`; None where it is absent or blank.

    Raises:
        RecordRejectedError: it is not text.
    """
    value = record.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        reject(RejectReason.WRONG_TYPE, f"field {key!r} is {shown(value)}; expected text")
    return value if value.strip() else None


def need_id(record: Mapping[str, Any], key: str) -> str:
    """The id in `key`, text or a whole number.

    Raises:
        RecordRejectedError: it is absent, null, blank, or of another type.
    """
    return optional_id(record, key) or reject(RejectReason.MISSING_FIELD, f"field {key!r} is absent, null or blank")


def optional_id(record: Mapping[str, Any], key: str) -> str | None:
    """The id in `key`, text or a whole number; None where it is absent or blank: one blank id for many makes them one.

    >>> optional_id({"id": 7, "model": " "}, "id"), optional_id({"id": 7, "model": " "}, "model")
    ('7', None)

    Raises:
        RecordRejectedError: it is of another type.
    """
    value = record.get(key)
    name = id_text(value)
    if name is None and value is not None and not isinstance(value, str):
        reject(RejectReason.WRONG_TYPE, f"field {key!r} is {shown(value)}; expected an id, text or a whole number")
    return name


def optional_rater(record: Mapping[str, Any], key: str) -> str | None:
    """The id of a person in `key`, like `optional_id`. No detail shows it.

    Raises:
        RecordRejectedError: it is of another type.
    """
    value = record.get(key)
    name = id_text(value)
    if name is None and value is not None and not isinstance(value, str):
        reject(RejectReason.WRONG_TYPE, f"field {key!r} is no id of a person; expected text or a whole number")
    return name


def id_text(value: Any) -> str | None:
    """An id as text, or None where the value is none.

    A whole number is its digits, so that the text of a CSV file finds it; so is a float that is whole, which is how
    tables with gaps hold whole numbers.

    >>> [id_text(value) for value in ("u1", 7, 7.0, 7.5, " ", True)]
    ['u1', '7', '7', None, None, None]
    """
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) <= _WHOLE else None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def optional_number(record: Mapping[str, Any], key: str) -> float | None:
    """The number in `key`; None where it is absent.

    Raises:
        RecordRejectedError: it is not a finite number.
    """
    value = record.get(key)
    return None if value is None else _number(value, key)


def optional_bool(record: Mapping[str, Any], key: str) -> bool | None:
    """The boolean in `key`; None where it is absent.

    Raises:
        RecordRejectedError: it is of another type.
    """
    value = record.get(key)
    if value is not None and not isinstance(value, bool):
        reject(RejectReason.WRONG_TYPE, f"field {key!r} is {shown(value)}; expected true or false")
    return value


def optional_time(record: Mapping[str, Any], key: str) -> Time | None:
    """The time in `key` as it came, text or number; None where it is absent or blank.

    `feedback.ingest.event_time` reads it. Seconds since 1970 that a CSV file gives as text are a number; no other text
    of a time looks like them.

    >>> optional_time({"time": "1767606699"}, "time"), optional_time({"time": "20260105"}, "time")
    (1767606699.0, '20260105')
    """
    value: Time | None = record.get(key)
    if isinstance(value, str) and not value.strip():
        return None
    return float(value) if isinstance(value, str) and _SECONDS.fullmatch(value) else value


def optional_words(record: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The words in `key`, a list of text or one text; blank ones are left out.

    Raises:
        RecordRejectedError: it is of another type.
    """
    value = record.get(key)
    if value is None:
        return ()
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        reject(RejectReason.WRONG_TYPE, f"field {key!r} is {shown(value)}; expected text or a list of text")
    return tuple(word for word in words if word.strip())


def optional_tools(record: Mapping[str, Any], key: str) -> str | None:
    """The tool definitions in `key` as JSON; None where there are none.

    Raises:
        RecordRejectedError: it is neither a list of objects nor the JSON of one.
    """
    value = record.get(key)
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = False
    if value is None or value in ("", []):
        return None
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        reject(RejectReason.WRONG_TYPE, f"field {key!r} is {shown(record[key])}; expected a list of tool definitions")
    return json.dumps(value, ensure_ascii=False)


def _number(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        reject(RejectReason.WRONG_TYPE, f"field {key!r} is {shown(value)}; expected a number")
    return float(value)
