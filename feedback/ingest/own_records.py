"""What the records of a block find in their own block, where all that belong together are in it.

    columns ─► ids ─┐
    other lines ────┴─► index of the block's records, as `feedback.ingest.joined_file` has one of a file

What a block says of its ids is enough to see, when all blocks are read, whether records that belong together lay in two
blocks, see `feedback.ingest.groups`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.formats.drafts import Join
from feedback.formats.mapping.paths import parse_path
from feedback.ingest.block_records import spoken_lines
from feedback.ingest.block_sizes import most_records
from feedback.ingest.found_ids import find_ids, find_line_ids
from feedback.ingest.joined_file import JoinedRecords, records_by_id
from feedback.ingest.plain.turns import are_said, value_at
from feedback.records.json_columns import Lines
from feedback.records.raw_record import RawRecord

__all__ = ["BlockIds", "OwnRecords", "own_lines", "own_list"]

Places = NDArray[np.int64]
Tables = Sequence[tuple[Places, pa.Table]]

_ID: Final = "id"
_MARGIN: Final = 2
"""A block may have so many times the records that it would have if its file's first lines were like all others."""


@dataclass(frozen=True, slots=True)
class BlockIds:
    """The ids of a block.

    Args:
        keys: a key of 64 bits for each different id, 16 hex digits, in rising order, behind each other.
        with_id: records that have an id.
        bytes: size of these, as JSON.
        unread: records that cannot be read, by `RejectReason`.
        is_dense: whether the block was not read: with all that each record finds, it might not fit into memory.
    """

    keys: str = ""
    with_id: int = 0
    bytes: int = 0
    unread: dict[str, int] = field(default_factory=dict)
    is_dense: bool = False


@dataclass(frozen=True, slots=True)
class OwnRecords:
    """The records of a block by their ids.

    Args:
        records: those that have one.
        ids: what is told of them.
    """

    records: JoinedRecords
    ids: BlockIds


def own_lines(lines: Lines, tables: Tables, join: Join) -> OwnRecords:
    """The records on lines.

    Args:
        lines: the lines.
        tables: those that were read as columns, with the line of each row; their ids need not be read again.
        join: says where ids are.
    """
    is_told = np.zeros(len(lines), dtype=np.bool_)
    places, ids = [np.zeros(0, np.int64)], [pl.Series(dtype=pl.String)]
    for read, table in tables:
        column = value_at(table, join.other)
        if column is not None and column.type == pa.string():
            is_told[read] = True
            places.append(read)
            ids.append(_named(column))
    rest = spoken_lines(lines, ~is_told)
    found = find_line_ids(lines, rest, parse_path(join.other, "the format's join"))
    told = np.concatenate(places)
    starts, ends = (
        np.concatenate((side[told], more)) for side, more in ((lines.starts, found.starts), (lines.ends, found.ends))
    )
    names = pl.concat([*ids, pl.Series(found.ids, dtype=pl.String)])
    if len(rest) or len(ids) > 2:
        order = np.argsort(np.concatenate((told, rest)), kind="stable")
        names, starts, ends = names.gather(order), starts[order], ends[order]
    return _own(lines.data, names, starts, ends, found.unread)


def own_list(records: list[RawRecord], join: Join) -> OwnRecords:
    """Records that were decoded where they were read."""
    found = find_ids(records, parse_path(join.other, "the format's join"))
    names = pl.Series(found.ids, dtype=pl.String)
    return _own(found.data, names, found.starts, found.ends, found.unread)


def _named(column: pa.Array) -> pl.Series:
    """The texts that are ids, see `id_text`."""
    is_named = are_said(column)
    names = pl.Series(column)
    return names if is_named.all() else names.to_frame(_ID).select(pl.when(pl.Series(is_named)).then(_ID)).to_series()


def _own(
    data: bytes | memoryview, names: pl.Series, starts: Places, ends: Places, unread: Mapping[str, int]
) -> OwnRecords:
    """Records by their names, null where one has none."""
    count = len(names)
    if names.null_count():
        has_id = names.is_not_null()
        names, starts, ends = names.filter(has_id), starts[has_id.to_numpy()], ends[has_id.to_numpy()]
    records = records_by_id(memoryview(data), names, starts, ends)
    keys = records.keys[np.diff(records.keys, prepend=~records.keys[:1]) != 0]
    size = int((ends - starts).sum())
    told = BlockIds(
        keys=keys.astype(">u8").tobytes().hex(),
        with_id=len(records),
        bytes=size,
        unread=dict(sorted(unread.items())),
        is_dense=count > _MARGIN * most_records(len(keys), size, is_itself=True),
    )
    return OwnRecords(records, told)
