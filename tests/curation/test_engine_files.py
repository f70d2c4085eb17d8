"""Files between stages: whole or absent, the same rows back, and rows in partitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from feedback.engine import (
    in_partition_order,
    partition_numbers,
    read_arrow,
    read_rows,
    rows_of_partition,
    scatter,
    write_arrow,
    written_whole,
)
from schemas.errors import DataGateError


def test_a_file_that_was_not_written_to_its_end_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataGateError):
        _write_half(tmp_path / "deep" / "file")
    assert list((tmp_path / "deep").iterdir()) == []
    with written_whole(tmp_path / "deep" / "file") as partial:
        partial.write_text("whole")
    assert (tmp_path / "deep" / "file").read_text() == "whole"


@pytest.mark.parametrize("rows", [0, 3])
def test_rows_between_stages_come_back_as_they_were(tmp_path: Path, rows: int) -> None:
    """Texts, lists of structs and nulls; all columns, and two in another order."""
    votes = [[{"event_id": "e" * 32, "label": True}], [], [{"event_id": "f" * 32, "label": False}] * 2]
    frame = pl.DataFrame({"row_id": ["a" * 32, "b", None], "row_key": [1, 2, 2**63], "votes": votes}).head(rows)
    path = write_arrow(frame, tmp_path / "kept.arrow")
    assert_frame_equal(read_arrow(path), frame)
    assert_frame_equal(read_arrow(path, ("votes", "row_id")), frame.select("votes", "row_id"))


@given(keys=st.lists(st.integers(0, 2**64 - 1), max_size=200), partitions=st.integers(1, 40))
def test_every_key_has_one_partition_in_range(keys: list[int], partitions: int) -> None:
    numbers = partition_numbers(pl.Series(keys, dtype=pl.UInt64), partitions).to_list()
    assert all(0 <= number < partitions for number in numbers)
    assert len(set(zip(keys, numbers, strict=True))) == len(set(keys))


def test_partitions_of_small_keys_are_even() -> None:
    """Keys that are all small, as the smallest of several hashes are, spread as any others."""
    counts = partition_numbers(pl.Series(range(80_000), dtype=pl.UInt64), 8).value_counts()["count"]
    assert counts.len() == 8
    assert counts.min() > 9_700
    assert counts.max() < 10_300


def test_partition_numbers_never_change() -> None:
    """Recorded from the first version; another number would move rows of every staged plan."""
    assert partition_numbers(pl.Series([0, 1, 2**63, 2**64 - 1], dtype=pl.UInt64), 7).to_list() == [6, 1, 5, 6]


@given(keys=st.lists(st.integers(0, 2**64 - 1), max_size=60), partitions=st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_one_table_gives_each_partition_its_rows(tmp_path_factory: Any, keys: list[int], partitions: int) -> None:
    """Whatever the number of partitions, which is not known when the table is written."""
    frame = pl.DataFrame({"key": pl.Series(keys, dtype=pl.UInt64), "row": range(len(keys))})
    path = write_arrow(in_partition_order(frame, frame["key"]), tmp_path_factory.mktemp("table") / "table.arrow")
    for number in range(partitions):
        mine = frame.filter(partition_numbers(frame["key"], partitions) == number)
        assert_frame_equal(rows_of_partition(path, number, partitions).sort("row"), mine)


@pytest.mark.parametrize("partitions", [1, 2, 3, 7])
def test_the_border_between_two_partitions_is_that_of_their_numbers(tmp_path: Path, partitions: int) -> None:
    """To the last place: keys come there once in four thousand million."""
    borders = [number * 2**32 // partitions for number in range(partitions + 1)]
    places = sorted({place + step for place in borders for step in (-1, 0, 1) if 0 <= place + step < 2**32})
    table = pl.DataFrame({"row": places, "__place": pl.Series(places, dtype=pl.UInt32)})
    path = write_arrow(table, tmp_path / "table.arrow")
    for number in range(partitions):
        found = rows_of_partition(path, number, partitions)["row"].to_list()
        assert found == [place for place in places if place * partitions >> 32 == number]


def test_rows_of_one_key_stay_in_their_order(tmp_path: Path) -> None:
    frame = pl.DataFrame({"key": pl.Series([7, 5, 7, 5], dtype=pl.UInt64), "row": [0, 1, 2, 3]})
    path = write_arrow(in_partition_order(frame, frame["key"]), tmp_path / "table.arrow")
    rows = rows_of_partition(path, 0, 1)
    assert rows.filter(pl.col("key") == 7)["row"].to_list() == [0, 2]
    assert rows.filter(pl.col("key") == 5)["row"].to_list() == [1, 3]


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_scattered_rows_come_together_whatever_the_blocks(tmp_path_factory: Any, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("scatter")
    keys = data.draw(st.lists(st.integers(0, 20), max_size=40))
    cut = data.draw(st.integers(0, len(keys)))
    frame = pl.DataFrame({"key": pl.Series(keys, dtype=pl.UInt64), "place": range(len(keys))})
    pieces = []
    for number, block in enumerate((frame[:cut], frame[cut:])):
        pieces += scatter(block, partition_numbers(block["key"], 3), folder, f"{number:05d}").pieces
    for partition in range(3):
        mine = frame.filter(partition_numbers(frame["key"], 3) == partition)
        files = [piece.path for piece in pieces if piece.partition == partition]
        found = pl.concat([frame.clear(), *map(read_rows, files)])
        assert_frame_equal(found, mine, check_row_order=False)


def test_partitions_together_are_not_larger_than_their_rows(tmp_path: Path) -> None:
    """A text taken out of a larger column must not bring all of it along, once for each partition."""
    frame = pl.DataFrame({"text_id": [f"{number:032x}" for number in range(4000)]})
    numbers = pl.Series([number % 20 for number in range(4000)], dtype=pl.UInt32)
    pieces = scatter(frame, numbers, tmp_path / "many", "0").pieces
    (whole,) = scatter(frame, numbers * 0, tmp_path / "one", "0").pieces
    assert len(pieces) == 20
    assert sum(piece.path.stat().st_size for piece in pieces) < 1.5 * whole.path.stat().st_size


def _write_half(path: Path) -> None:
    with written_whole(path) as partial:
        partial.write_text("half")
        raise DataGateError("stopped")
