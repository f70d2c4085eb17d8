"""The judgements of plain records, as far as columns tell: which records are plain, and what they say.

    columns ─► are they sound ─► items ─► fields, times and turns ─► of the plain ones

See `feedback.ingest.plain.records`, which makes rows of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.formats.plain import Items, PlainRecords
from feedback.ingest.arrow_columns import gathered
from feedback.ingest.plain.items import Spread, spread_items
from feedback.ingest.plain.sound import are_sound
from feedback.ingest.plain.times import Times, read_times
from feedback.ingest.plain.turns import are_messages, are_said, said_in, value_at

__all__ = ["TIMES", "Judgements", "find_judgements", "of_whole_records"]

Places = NDArray[np.int64]

TIMES: Final = ("event_time", "updated_time")
"""The draft's fields that are times."""
_ROW: Final = "row"
_ALL: Final = "all"
_LEFT_OUT: Final = "left out"


@dataclass(frozen=True, slots=True)
class Judgements:
    """The judgements of plain records, as far as can be told before their rows are made.

    Args:
        owners: the row of the record of each, in rising order. [N].
        fields: the draft's fields that are no turns. [N].
        times: what its fields with times say. [N].
        said: what its turns are made of. [N].
        left_out: what records hold that is left out: the row of the record, and what it is counted as.
    """

    owners: Places
    fields: pl.DataFrame
    times: dict[str, Times]
    said: dict[str, pa.Array]
    left_out: Sequence[tuple[int, str]]

    def without(self, owners: Places) -> Judgements:
        """The same without what some records have left out."""
        if not len(owners) or not self.left_out:
            return self
        gone = set(owners.tolist())
        return replace(self, left_out=[one for one in self.left_out if one[0] not in gone])


def find_judgements(table: pa.Table, shape: PlainRecords, read: frozenset[str]) -> Judgements | None:
    """The judgements of the plain records of a table; None where there are none."""
    is_sound = are_sound(table, shape, read)
    if shape.items is None:
        return _found_in(table, np.arange(table.num_rows), is_sound, shape, [])
    spread = spread_items(table, shape, shape.items)
    if spread is None:
        return None
    is_sound = is_sound & spread.is_sound
    left_out = _without(table, spread, is_sound, shape, shape.items)
    return _found_in(spread.table, spread.owners, is_sound[spread.owners], shape, left_out)


def _without(
    table: pa.Table, spread: Spread, is_sound: NDArray[np.bool_], shape: PlainRecords, items: Items
) -> list[tuple[int, str]]:
    """The plain records without a judgement."""
    rows = spread.without[is_sound[spread.without]]
    if not len(rows):
        return []
    told = _narrow(table, shape).select((items.where & (pl.col(_ROW) >= 0)).alias(_ALL))[_ALL]
    return [(row, items.without) for row in rows[told.fill_null(value=False).to_numpy()[rows]].tolist()]


def _found_in(
    table: pa.Table,
    owners: Places,
    is_plain: NDArray[np.bool_],
    shape: PlainRecords,
    left_out: list[tuple[int, str]],
) -> Judgements | None:
    """The judgements of plain records among those of a table, each with its record and whether that may be plain."""
    nothing = Judgements(owners[:0], pl.DataFrame(), {}, {}, left_out) if left_out else None
    if not len(owners):
        return nothing
    told = _told(_narrow(table, shape), shape)
    times = {name: read_times(told[name]) for name in TIMES if name in shape.fields}
    is_left = told[_LEFT_OUT].is_not_null().to_numpy()
    is_plain = is_plain & told[_ALL].fill_null(value=False).to_numpy()
    for one in times.values():
        is_plain &= one.is_read.to_numpy() | is_left
    said: dict[str, pa.Array] = {}
    for name, turns in shape.turns.items():
        found = said_in(table, told.get_column(name, default=None), turns)
        if found is None:
            is_plain &= is_left
            break
        said[name] = found
        is_plain &= (are_messages(found, turns.starts) if turns.role is None else are_said(found)) | is_left
    is_plain = ~of_whole_records(~is_plain, owners)
    if is_plain.all() and not is_left.any():
        return Judgements(owners, told, times, said, left_out)
    gone = np.flatnonzero(is_plain & is_left)
    left_out = left_out + list(
        zip(owners[gone].tolist(), told[_LEFT_OUT].gather(pl.Series(gone)).to_list(), strict=True)
    )
    rows = np.flatnonzero(is_plain & ~is_left)
    if not len(rows):
        return replace(nothing, left_out=left_out) if nothing else None
    chosen, which = gathered(table, rows), pl.Series(rows)
    told = told[which]
    again = {name: said_in(chosen, told.get_column(name, default=None), one) for name, one in shape.turns.items()}
    said = {name: found for name, found in again.items() if found is not None}
    return Judgements(owners[rows], told, {name: one.at(which) for name, one in times.items()}, said, left_out)


def of_whole_records(are_so: NDArray[np.bool_], owners: Places) -> NDArray[np.bool_]:
    """Which rows are of a record of which any is so."""
    if not are_so.any():
        return are_so
    whole = np.zeros(int(owners.max()) + 1, np.bool_)
    whole[owners[are_so]] = True
    return whole[owners]


def _told(frame: pl.DataFrame, shape: PlainRecords) -> pl.DataFrame:
    """The draft's fields, the turns that are made, whether all that must hold does, and what is left out."""
    made = {name: turns.made for name, turns in shape.turns.items() if turns.made is not None}
    for name, part in shape.parts.items():
        frame = frame.with_columns(part.alias(name))
    left_out = pl.lit(None, pl.String) if shape.left_out is None else shape.left_out
    # Of a row's number too, since an expression that names no column has one row.
    is_there = pl.col(_ROW) >= 0
    return frame.select(
        pl.col(_ROW),
        (shape.where & is_there).alias(_ALL),
        pl.when(is_there).then(left_out).alias(_LEFT_OUT),
        **shape.fields,
        **made,
    )


def _narrow(table: pa.Table, shape: PlainRecords) -> pl.DataFrame:
    """The fields that are no turns, by their paths, and the number of each row."""
    columns: dict[str, Any] = {_ROW: np.arange(table.num_rows)}
    counted = () if shape.joined is None else [f"{shape.joined.into}.{name}" for name in shape.joined.counted]
    for path in (*shape.types, *counted):
        found = value_at(table, path)
        columns[path] = pl.Series(path, pa.nulls(table.num_rows, pa.string()) if found is None else found)
    columns |= {path: columns[name].rename(path) for path, (name, *_) in shape.names.items() if name in columns}
    for name, (path, make) in shape.columns.items():
        held = value_at(table, path)
        columns[name] = make(held) if held is not None else pl.Series(name, [None]).new_from_index(0, table.num_rows)
    return pl.DataFrame(columns)
