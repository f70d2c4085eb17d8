"""Columns of Arrow made from texts, numbers and polars columns.

Arrow loads pandas, a quarter of a second, before it looks at a list or an array that is not its own. So what is made
here goes through polars or is put together from buffers.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from schemas.messages import MESSAGES

__all__ = [
    "as_field",
    "bytes_between",
    "gathered",
    "indices",
    "one_chunk",
    "one_turn_each",
    "repeated",
    "text_offsets",
]


_MOST_PIECES: Final = 200


def one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """The column as one array; copied only where it has several."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def gathered(table: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
    """Some rows of a table: what stands behind each other is copied as a whole, unless that is in many pieces.

    Args:
        table: the rows.
        rows: which of them, at least one. [N].
    """
    cuts = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    if len(cuts) > _MOST_PIECES:
        return table.combine_chunks().take(indices(rows.astype(np.int32))).combine_chunks()
    pieces = [table.slice(int(rows[begin]), end - begin) for begin, end in pairwise(cuts)]
    return pa.concat_tables(pieces).combine_chunks()


def as_field(column: pa.Array | pl.Series | None, field: pa.Field, count: int) -> pa.Array:
    """A column as an array of the field's type; without a column, empty lists or nulls.

    Args:
        column: the values, those of Arrow in the field's type.
        field: its type.
        count: number of rows.
    """
    if isinstance(column, pl.Series):
        return column.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(field.type)
    if column is not None:
        return column
    if pa.types.is_list(field.type):
        offsets = indices(np.zeros(count + 1, dtype=np.int32))
        return pa.ListArray.from_arrays(offsets, pa.nulls(0, pa.string()), type=field.type)
    return pa.nulls(count, field.type)


def repeated(value: str, count: int) -> pa.Array:
    """The same text, `count` times."""
    text = value.encode("utf-8")
    offsets = np.arange(count + 1, dtype=np.int32) * np.int32(len(text))
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text * count))


def one_turn_each(role: str, texts: pa.Array) -> pa.Array:
    """Each text as a list of one turn. [N] of `schemas.messages.MESSAGES`.

    Args:
        role: who says it.
        texts: what is said. [N] string.
    """
    turns = pa.StructArray.from_arrays([repeated(role, len(texts)), texts], fields=list(MESSAGES.value_type))
    return pa.ListArray.from_arrays(indices(np.arange(len(texts) + 1, dtype=np.int32)), turns, type=MESSAGES)


def indices(places: NDArray[np.int32]) -> pa.Array:
    """Numbers as an array, without a copy. [N] int32."""
    return pa.Array.from_buffers(pa.int32(), len(places), [None, pa.py_buffer(places)])


def text_offsets(texts: pa.Array) -> NDArray[np.int32]:
    """Where each text begins in the bytes of all, and the end. [N + 1] int32.

    Args:
        texts: texts. [N] string.
    """
    if not len(texts):
        return np.zeros(1, dtype=np.int32)
    return np.frombuffer(texts.buffers()[1], dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]


def bytes_between(data: bytes | memoryview, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> pl.Series:
    """Pieces of `data`, without a copy. [N] binary.

    Args:
        data: bytes.
        starts: first byte of each piece, in rising order and behind the end of the piece before. [N].
        ends: byte behind the last one of each. [N].
    """
    if not len(starts):
        return pl.Series(dtype=pl.Binary)
    # Every other value is what lies between two pieces.
    offsets = np.append(np.stack((starts, ends), axis=1).reshape(-1), len(data))
    whole = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )
    return pl.Series(whole).gather_every(2)
