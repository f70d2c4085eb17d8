"""Judgements in lists as rows of their own, see `feedback.formats.plain`.

record with a list of three ─► three rows, each an item with the fields around it
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.formats.plain import ITEM, Items, PlainRecords, steps_of
from feedback.ingest.arrow_columns import indices, one_chunk, text_offsets
from feedback.ingest.plain.sound import are_items_sound
from feedback.ingest.plain.turns import value_at

__all__ = ["Spread", "spread_items"]

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Spread:
    """The judgements of a table of records.

    Args:
        table: a row for each, in the order of the records. [N].
        owners: the row of its record. [N].
        is_sound: which records have no item that is not plain. [R].
        without: the rows of records without a judgement.
    """

    table: pa.Table
    owners: Places
    is_sound: NDArray[np.bool_]
    without: Places


def spread_items(table: pa.Table, shape: PlainRecords, items: Items) -> Spread | None:
    """The judgements of a table of records; None where none can be told.

    Args:
        table: records. [R].
        shape: what is plain.
        items: where the judgements are.
    """
    lists = value_at(table, items.path)
    if lists is None or not pa.types.is_list(lists.type) or ITEM in table.column_names:
        return None
    # A list that is null, or in an object that is, has no items.
    firsts = text_offsets(lists).astype(np.int64)
    values = lists.values.slice(int(firsts[0]), int(firsts[-1] - firsts[0]))
    owners, is_sound = np.repeat(np.arange(len(lists)), np.diff(firsts)), np.ones(len(lists), np.bool_)
    found = pa.table({ITEM: values})
    is_sound[owners[~are_items_sound(found, shape)]] = False
    judged = values if items.judged is None else value_at(found, items.judged)
    is_judged = np.zeros(len(values), np.bool_) if judged is None else pl.Series(judged.is_valid()).to_numpy()
    if not is_judged.all():
        chosen = np.flatnonzero(is_judged)
        values, owners = values.take(indices(chosen.astype(np.int32))), owners[chosen]
    without = np.ones(len(lists), np.bool_)
    without[owners] = False
    around = table.select(sorted({steps_of(path)[0] for path in shape.texts()} & set(table.column_names)))
    if len(owners) != table.num_rows or without.any():
        around = around.take(indices(owners.astype(np.int32)))
    columns = {name: one_chunk(around.column(name)) for name in around.column_names}
    return Spread(pa.table({ITEM: values, **columns}), owners, is_sound, np.flatnonzero(without))
