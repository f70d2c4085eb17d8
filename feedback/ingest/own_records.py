"""What the records of a block find in their own block, where all that belong together are in it.

    columns ─► ids ─┐
    other lines ────┴─► index of the block's records, as `feedback.ingest.joined_file` has one of a file

What a block says of its ids is enough to see, when all blocks are read, whether records that belong together lay in two
blocks, see `feedback.ingest.groups`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.formats.drafts import Join
from feedback.formats.mapping.paths import parse_path
from feedback.formats.parts.field_columns import stripped
from feedback.ingest.block_records import spoken_lines
from feedback.ingest.block_sizes import most_records
from feedback.ingest.found_ids import FoundIds, find_ids, find_line_ids
from feedback.ingest.joined_file import JoinedRecords, records_by_id
from feedback.ingest.plain.turns import value_at
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
    ids = np.full(len(lines), None, dtype=object)
    is_told = np.zeros(len(lines), dtype=np.bool_)
    for places, table in tables:
        column = value_at(table, join.other)
        if column is not None and column.type == pa.string():
            ids[places] = _named(column)
            is_told[places] = True
    rest = spoken_lines(lines, ~is_told)
    found = find_line_ids(lines, rest, parse_path(join.other, "the format's join"))
    ids[rest] = found.ids
    is_told[rest] = True
    starts, ends = lines.starts.copy(), lines.ends.copy()
    starts[rest], ends[rest] = found.starts, found.ends
    places = np.flatnonzero(is_told)
    return _own(FoundIds(lines.data, ids[places].tolist(), starts[places], ends[places], len(places), found.unread))


def own_list(records: list[RawRecord], join: Join) -> OwnRecords:
    """Records that were decoded where they were read."""
    return _own(find_ids(records, parse_path(join.other, "the format's join")))


def _named(column: pa.Array) -> list[str | None]:
    """The texts that are ids, see `id_text`."""
    text = pl.col(_ID)
    named = pl.DataFrame({_ID: pl.Series(column)}).select(pl.when(stripped(text).str.len_bytes() > 0).then(text))
    return named.to_series().to_list()


def _own(found: FoundIds) -> OwnRecords:
    names, starts, ends = found.named()
    records = records_by_id(memoryview(found.data), names, starts, ends)
    keys = records.keys[np.diff(records.keys, prepend=~records.keys[:1]) != 0]
    size = int((ends - starts).sum())
    told = BlockIds(
        keys=keys.astype(">u8").tobytes().hex(),
        with_id=len(records),
        bytes=size,
        unread=dict(sorted(found.unread.items())),
        is_dense=found.count > _MARGIN * most_records(len(keys), size, is_itself=True),
    )
    return OwnRecords(records, told)
