"""Times of records, as points in UTC and a word on how far they can be trusted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from schemas.errors import RecordRejectedError
from schemas.reasons import RejectReason

__all__ = ["EPOCH_SECONDS", "read_time"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST: Final = datetime(1990, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(2100, 1, 1, tzinfo=UTC)
EPOCH_SECONDS: Final = ((_FIRST - _EPOCH).total_seconds(), (_LAST - _EPOCH).total_seconds())
"""The years 1990 to 2100 in seconds since 1970: numbers outside are no times in seconds."""


def read_time(value: Any) -> tuple[datetime | None, str]:
    """The point in time that `value` stands for, and its quality: exact, naive (no zone, read as UTC) or missing.

    >>> read_time("2026-01-05T09:51:39Z") == read_time(1767606699)
    True

    Args:
        value: ISO 8601 text, also with ` UTC` for its zone as BigQuery writes it, seconds since 1970, a datetime, or
            None.

    Raises:
        RecordRejectedError: it is none of these, or not between 1990 and 2100 (milliseconds read as seconds are not).
    """
    if value is None:
        return None, "missing"
    if isinstance(value, str):
        value = _from_text(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        value = _from_seconds(value)
    if not isinstance(value, datetime):
        raise RecordRejectedError(RejectReason.BAD_TIME, f"the time is a {type(value).__name__}, not text or a number")
    quality = "naive" if value.tzinfo is None else "exact"
    value = value.replace(tzinfo=UTC) if value.tzinfo is None else value
    if not _FIRST <= value <= _LAST:
        raise RecordRejectedError(RejectReason.BAD_TIME, f"the time {value.isoformat()} is not between 1990 and 2100")
    return value.astimezone(UTC), quality


def _from_text(text: str) -> datetime:
    try:
        return datetime.fromisoformat(f"{text[:-4]}+00:00" if text.endswith(" UTC") and ":" in text else text)
    except ValueError as error:
        detail = f"the time {text[:40]!r} is not ISO 8601, for example 2026-01-05T09:51:39Z"
        raise RecordRejectedError(RejectReason.BAD_TIME, detail) from error


def _from_seconds(value: float) -> datetime:
    if not EPOCH_SECONDS[0] <= value <= EPOCH_SECONDS[1]:
        detail = f"the time {value!r} is not a number of seconds between 1990 and 2100"
        raise RecordRejectedError(RejectReason.BAD_TIME, detail)
    return _EPOCH + timedelta(seconds=value)
