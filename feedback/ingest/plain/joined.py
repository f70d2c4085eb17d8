"""What plain records find in another file, as columns beside their own, see `feedback.formats.plain`.

    ids of the records ─► rows of the index ─► lines of the other file ─► columns ─► a field of the records

Only records are read here that find one object, in a line that can be read as columns. All others are for the way of
records that are read one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.formats.parts.fields import id_text
from feedback.formats.plain import Joined
from feedback.ingest.arrow_columns import gathered, indices, one_chunk
from feedback.ingest.partners import Partners
from feedback.ingest.plain.turns import value_at
from feedback.records.json_columns import Lines, read_columns

__all__ = ["Found", "find_joined"]

Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Found:
    """Records with what they find.

    Args:
        rows: which records they are. [N].
        table: the records, with the object that each finds as one field more. [N].
    """

    rows: Places
    table: pa.Table


def find_joined(table: pa.Table, joined: Joined, schema: pa.Schema, partners: Partners) -> Found | None:
    """The records of a table that find one object each; None where none does.

    Args:
        table: records. [R].
        joined: what they find.
        schema: types of its fields.
        partners: has the other file open.
    """
    ids = value_at(table, partners.key) if partners.key and joined.into not in table.column_names else None
    if ids is None or ids.type not in (pa.string(), pa.int64()):
        return None
    names = [id_text(value) for value in pl.Series(ids).to_list()]
    rows = np.array([row for row, name in enumerate(names) if name is not None], dtype=np.int64)
    spans = np.array(partners.spans([name for name in names if name is not None]), dtype=np.int64).reshape(-1, 2)
    is_one = spans[:, 1] - spans[:, 0] == 1
    rows, wanted = rows[is_one], spans[is_one, 0]
    lines, places = partners.lines(wanted)
    records = gathered(table, rows) if 0 < len(rows) < table.num_rows else table
    read = joined.read if joined.read is not None else partial(_read_objects, joined=joined, schema=schema)
    if not len(rows):
        return None
    is_read, objects = read(lines, places, records)
    if not is_read.any():
        return None
    if not is_read.all():
        kept = np.flatnonzero(is_read)
        rows, records = rows[kept], gathered(records, kept)
    into = one_chunk(objects.to_struct_array())
    return Found(rows, records.append_column(joined.into, into))


def _read_objects(
    lines: Lines, places: Places, records: pa.Table, *, joined: Joined, schema: pa.Schema
) -> tuple[NDArray[np.bool_], pa.Table]:
    """Which records find a line that is read as columns, and what they find."""
    numbers, count = np.full(len(lines), -1), 0
    tables: list[pa.Table] = []
    for read, one in read_columns(lines, schema):
        if not any(name in joined.counted or name.startswith(joined.never) for name in one.column_names):
            numbers[read] = np.arange(count, count + len(read))
            count += len(read)
            tables.append(_with_counts(one, lines, read, joined))
    which = numbers[places]
    is_read = which >= 0
    if not is_read.any():
        return is_read, records.slice(0, 0)
    several, which = len(tables) > 1, which[is_read]
    objects = pa.concat_tables(tables, promote_options="permissive").combine_chunks() if several else tables[0]
    if len(which) != len(objects) or (np.diff(which) != 1).any():
        objects = objects.take(indices(which.astype(np.int32))).combine_chunks()
    return is_read, objects


def _with_counts(table: pa.Table, lines: Lines, places: Places, joined: Joined) -> pa.Table:
    """The objects of some lines, with how often bytes stand in each."""
    from feedback.records.line_kernels import count_in_lines  # loads numba

    signs = np.frombuffer(lines.data, np.uint8)
    for name, sought in joined.counted.items():
        counts = np.zeros(len(lines), np.int64)
        count_in_lines(signs, lines.ends, np.frombuffer(sought, np.uint8), counts)
        table = table.append_column(name, pl.Series(counts[places]).to_arrow())
    return table
