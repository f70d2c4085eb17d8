"""Times of many records at once: the commonest ways of writing one as a column, all others one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import polars as pl

from feedback.ingest.event_time import EPOCH_SECONDS, read_time
from schemas.errors import RecordRejectedError

__all__ = ["Times", "read_any_times", "read_times"]

_MICROSECONDS: Final = 1_000_000
_TIME: Final = pl.Datetime("us", "UTC")
_FIRST_SECOND, _LAST_SECOND = EPOCH_SECONDS
_FIRST_TIME, _LAST_TIME = (datetime.fromtimestamp(seconds, UTC) for seconds in EPOCH_SECONDS)
_UTC_TEXT: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{3}|\.[0-9]{6})?(Z|\+00:00)$"
)

_COLUMNS: Final = {str: pl.String, int: pl.Int64, float: pl.Float64}
_GIVEN: Final = "given"
_SECONDS_LENGTH: Final = len("2026-01-05T09:51:39")
_FRACTION: Final = r"\.([0-9]+)"


@dataclass(frozen=True, slots=True)
class Times:
    """What `feedback.ingest.event_time.read_time` says of N values.

    Args:
        is_read: whether it reads the value, or there is none. [N] bool.
        when: the time; null where it is not read. [N] datetime.
        quality: exact, naive or missing. [N] string.
    """

    is_read: pl.Series
    when: pl.Series
    quality: pl.Series

    def at(self, rows: pl.Series) -> Times:
        """Those of some rows."""
        return Times(self.is_read.gather(rows), self.when.gather(rows), self.quality.gather(rows))


def read_times(column: pl.Series) -> Times:
    """The times of a column of texts or numbers, all in one type.

    Args:
        column: times as a source gives them. [N].
    """
    if column.null_count() == len(column):
        return _none_of(len(column))
    given = pl.col(_GIVEN)
    quality = pl.when(given.is_null()).then(pl.lit("missing")).otherwise(pl.lit("exact")).alias("quality")
    if column.dtype == pl.Int64:
        is_read = given.is_between(int(_FIRST_SECOND), int(_LAST_SECOND)).fill_null(value=True)
        when = (pl.when(is_read).then(given) * _MICROSECONDS).cast(_TIME)
        return _times(column.to_frame(_GIVEN).select(is_read.alias("is_read"), when.alias("when"), quality))
    if column.dtype == pl.Float64:
        return _seconds(column)
    when = _utc_times(column)
    is_read = given.is_null() | when.is_between(_FIRST_TIME, _LAST_TIME).fill_null(value=False)
    times = _times(column.to_frame(_GIVEN).select(is_read.alias("is_read"), when.alias("when"), quality))
    others = np.flatnonzero(~times.is_read.to_numpy())
    if not len(others):
        return times
    read = [_one_by_one(value) for value in column[others].to_list()]
    return Times(
        times.is_read.scatter(others, [found is not None for found in read]),
        times.when.scatter(others, pl.Series([found and found[0] for found in read], dtype=_TIME)),
        times.quality.scatter(others, [found[1] if found else "missing" for found in read]),
    )


def _none_of(count: int) -> Times:
    """No time, so many times."""
    values = (pl.Series([True]), pl.Series([None], dtype=_TIME), pl.Series(["missing"]))
    return Times(*(value.new_from_index(0, count) for value in values))


def read_any_times(values: Sequence[Any]) -> Times:
    """The times of values of any types.

    Args:
        values: times as drafts hold them. [N].
    """
    kinds = set(map(type, values)) - {type(None)}
    if len(kinds) <= 1:
        kind = next(iter(kinds), str)
        if kind in _COLUMNS:
            try:
                return read_times(pl.Series(values, dtype=_COLUMNS[kind]))
            except (OverflowError, TypeError, UnicodeEncodeError):
                pass  # a whole number of more than 64 bits, or half of a surrogate pair
    read = [_one_by_one(value) for value in values]
    return Times(
        pl.Series([found is not None for found in read], dtype=pl.Boolean),
        pl.Series([found and found[0] for found in read], dtype=_TIME),
        pl.Series([found[1] if found else "missing" for found in read], dtype=pl.String),
    )


def _seconds(column: pl.Series) -> Times:
    """Times of floats: seconds since 1970, to the microsecond, halves to the even one, as `timedelta` rounds them."""
    seconds = column.fill_null(np.nan).to_numpy()
    is_time = (seconds >= _FIRST_SECOND) & (seconds <= _LAST_SECOND)
    whole = np.floor(np.where(is_time, seconds, 0.0))
    parts = np.rint((np.where(is_time, seconds, 0.0) - whole) * _MICROSECONDS)
    when = pl.Series((whole * _MICROSECONDS + parts).astype(np.int64)).cast(_TIME)
    frame = pl.DataFrame({_GIVEN: column, "is_time": is_time, "when": when})
    is_null = pl.col(_GIVEN).is_null()
    return _times(
        frame.select(
            is_read=is_null | pl.col("is_time"),
            when=pl.when("is_time").then("when"),
            quality=pl.when(is_null).then(pl.lit("missing")).otherwise(pl.lit("exact")),
        )
    )


def _times(frame: pl.DataFrame) -> Times:
    return Times(frame["is_read"], frame["when"], frame["quality"])


def _one_by_one(value: Any) -> tuple[datetime | None, str] | None:
    try:
        return read_time(value)
    except RecordRejectedError:
        return None


def _utc_times(column: pl.Series) -> pl.Expr:
    """The times that are written in the commonest way; null where one is written otherwise."""
    if column.dtype != pl.String:
        return pl.lit(None, dtype=_TIME)
    given = pl.col(_GIVEN)
    text = pl.when(given.str.contains(_UTC_TEXT)).then(given)
    when = text.str.head(_SECONDS_LENGTH).str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False)
    if column.str.contains(".", literal=True).any():
        # Read apart: with the fraction in the format, all take four times as long.
        digits = text.str.extract(_FRACTION).str.pad_end(6, "0").cast(pl.Int64)
        when = when + pl.duration(microseconds=digits.fill_null(0))
    return when.dt.replace_time_zone("UTC")
