"""Values of MongoDB's extended JSON, as `mongoexport` writes them: `{"$oid": ...}` for ids, `{"$date": ...}` for times.

A date is ISO 8601 text in the relaxed form, and `{"$numberLong": "<milliseconds since 1970>"}` in the canonical one.
Plain values are read as they are, since exports by other means hold them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from feedback.formats.drafts import Time
from feedback.formats.parts.fields import optional_id, optional_rater, reject, shown
from schemas.reasons import RejectReason

__all__ = ["mongo_id", "mongo_rater", "mongo_time"]

_WHOLE: Final = re.compile(r"-?\d{1,15}")
_MILLISECONDS: Final = 1000


def mongo_id(record: Mapping[str, Any], key: str) -> str | None:
    """The id in `key`; None where it is absent.

    Raises:
        RecordRejectedError: it is no id.
    """
    return optional_id({key: _plain(record.get(key), "$oid")}, key)


def mongo_rater(record: Mapping[str, Any], key: str) -> str | None:
    """The id of a person in `key`, which no detail shows; None where it is absent.

    Raises:
        RecordRejectedError: it is no id.
    """
    return optional_rater({key: _plain(record.get(key), "$oid")}, key)


def mongo_time(record: Mapping[str, Any], key: str) -> Time | None:
    """The time in `key`, as text or in seconds since 1970; None where it is absent.

    Raises:
        RecordRejectedError: the canonical form does not hold a whole number.
    """
    value = _plain(record.get(key), "$date")
    if not isinstance(value, dict):
        time: Time | None = value
        return time
    number = value.get("$numberLong")
    if not isinstance(number, str) or not _WHOLE.fullmatch(number):
        reject(RejectReason.BAD_TIME, f"field {key!r} is {shown(number)}; expected a number of milliseconds as text")
    return int(number) / _MILLISECONDS


def _plain(value: Any, wrapper: str) -> Any:
    return value[wrapper] if isinstance(value, dict) and wrapper in value else value
