"""Which plain records have nothing under the keys that plain ones have nothing under, see `feedback.formats.plain`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.formats.parts.attributes import others_of
from feedback.formats.plain import ITEM, PlainRecords, steps_of
from feedback.ingest.plain.turns import are_empty, value_at, value_in

__all__ = ["are_items_sound", "are_sound"]

Flags = NDArray[np.bool_]


def are_sound(table: pa.Table, shape: PlainRecords, read: frozenset[str]) -> Flags:
    """Which records have nothing beyond what plain ones have, as far as the format reads it. [N] bool.

    Args:
        table: records. [N].
        shape: what is plain.
        read: all fields that the format reads.
    """
    tops = {steps_of(path)[0] for path in shape.paths()}
    sound = np.ones(table.num_rows, np.bool_)
    for name in table.column_names:
        if name in read - tops - shape.unread:
            _refuse_values(sound, table.column(name), may_be_empty=name not in shape.absent)
    for path in () if shape.items is None else shape.items.around:
        steps, around = steps_of(path), value_at(table, path)
        known = {steps_of(one)[: len(steps) + 1] for one in shape.paths()}
        for field in around.type if around is not None and pa.types.is_struct(around.type) else ():
            if (*steps, field.name) not in known:
                _refuse_values(sound, value_in(around, field.name), may_be_empty=True)
    return sound & _are_objects_sound(table, shape, is_item=False)


def are_items_sound(items: pa.Table, shape: PlainRecords) -> Flags:
    """The same of items. [N] bool.

    Args:
        items: a row for each. [N].
        shape: what is plain.
    """
    is_there: Flags = pl.Series(items.column(ITEM).is_valid()).to_numpy()
    return is_there & _are_objects_sound(items, shape, is_item=True)


def _are_objects_sound(table: pa.Table, shape: PlainRecords, *, is_item: bool) -> Flags:
    """What must be null within objects: those of items, or all others."""
    sound = np.ones(table.num_rows, np.bool_)
    for path in shape.nulls:
        if (steps_of(path)[0] == ITEM) == is_item and (column := value_at(table, path)) is not None:
            _refuse_values(sound, column, may_be_empty=True)
    for path, names in shape.attributes.items():
        held = value_at(table, path) if (steps_of(path)[0] == ITEM) == is_item else None
        if held is not None and pa.types.is_struct(held.type):
            sound &= _are_attributes(held, names)
    return sound


def _are_attributes(held: pa.StructArray, names: Sequence[str]) -> Flags:
    """Where nothing stands under a key around a name that is sought, or below one that is null itself."""
    sound = np.ones(len(held), np.bool_)
    for field in held.type:
        is_around, below = others_of(field.name, tuple(names))
        if is_around:
            _refuse_values(sound, value_in(held, field.name), may_be_empty=False)
        for name in below:
            is_known = held.type.get_field_index(name) >= 0
            sound &= pl.Series(value_in(held, name).is_valid()).to_numpy() if is_known else False
    return sound


def _refuse_values(sound: Flags, column: pa.Array | pa.ChunkedArray, *, may_be_empty: bool) -> None:
    """Where a column that must be null is not."""
    if column.null_count < len(column):
        is_null = ~np.asarray(pl.Series(column.is_valid()).to_numpy())
        sound &= (is_null | are_empty(column)) if may_be_empty else is_null
