"""Times of a column are those of `read_time`, one by one."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from feedback.ingest.event_time import read_time
from feedback.ingest.plain.times import read_times

WRITTEN = [
    *("2026-01-05T09:51:39Z", "2026-01-05T09:51:39.123Z", "2026-01-05T09:51:39.123456+00:00"),
    *("2026-01-05T09:51:39.5Z", "2026-01-05T09:51:39", "2026-01-05 09:51:39+01:30", "2026-01-05"),
    *("2025-01-01 10:00:00 UTC", "2025-01-01 10:00:00.123456 UTC"),
    *("2024-02-29T23:59:59Z", "1990-01-01T00:00:00Z", "2099-12-31T23:59:59.999999Z"),
]


@pytest.mark.parametrize("column", [WRITTEN, WRITTEN[:1], [*WRITTEN, None], [1767606699, None], [1767606699.25]])
def test_times_of_a_column_are_those_of_its_values(column: list[Any]) -> None:
    times = read_times(pl.Series(column))
    read = [read_time(value) for value in column]
    assert times.is_read.all()
    assert times.when.to_list() == [when for when, _ in read]
    assert times.quality.to_list() == [quality for _, quality in read]


@pytest.mark.parametrize("value", ["2026-02-30T00:00:00Z", "1989-12-31T23:59:59Z", "soon", 631_151_999, 1767606699000])
def test_what_is_no_time_is_not_read_and_has_none(value: Any) -> None:
    times = read_times(pl.Series([value]))
    assert (times.is_read.to_list(), times.when.to_list()) == ([False], [None])
