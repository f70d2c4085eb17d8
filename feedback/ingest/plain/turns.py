"""What plain records say: texts and lists of messages of many records, as Arrow holds them.

Nothing is copied here that can be passed on as it is; lists of messages are taken apart only to look at them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.formats.parts.bare_messages import bare_messages
from feedback.formats.plain import MESSAGE_LIST, Turns, steps_of
from feedback.ingest.arrow_columns import indices, one_chunk, text_offsets
from schemas.messages import MESSAGES, ROLES

__all__ = ["are_empty", "are_messages", "are_said", "as_messages", "said_in", "value_at", "value_in"]

_MESSAGE_LIST: Final = MESSAGE_LIST[0]
_MAY_BEGIN_BLANK: Final = np.isin(np.arange(256), [*range(9, 14), *range(28, 33), 0xC2, 0xE1, 0xE2, 0xE3])
"""First bytes of white space, in UTF-8."""


def value_at(table: pa.Table, path: str) -> pa.Array | None:
    """What lies at a path; null where an object around it is null, or a list too short."""
    top, *inner = steps_of(path)
    if top not in table.column_names:
        return None
    found = one_chunk(table.column(top))
    for step in inner:
        if isinstance(step, int):
            if not pa.types.is_list(found.type):
                return None
            found = _item_in(found, step)
            continue
        if not pa.types.is_struct(found.type) or found.type.get_field_index(step) < 0:
            return None
        found = value_in(found, step)
    return found


def value_in(objects: pa.StructArray, name: str) -> pa.Array:
    """What objects have under one of their keys; null where the object is."""
    return objects.flatten()[objects.type.get_field_index(name)]


def _item_in(lists: pa.ListArray, place: int) -> pa.Array:
    """What stands at one place of each list, from its end where that is negative; null where nothing does."""
    # A list that is null, or in an object that is, has no items.
    offsets = text_offsets(lists)
    at = offsets[:-1] + place if place >= 0 else offsets[1:] + place
    is_there = (at >= offsets[:-1]) & (at < offsets[1:])
    if is_there.all() and (np.diff(at) == 1).all():
        return lists.values.slice(int(at[0]) if len(at) else 0, len(at))
    known = pa.py_buffer(np.packbits(is_there, bitorder="little"))
    return lists.values.take(pa.Array.from_buffers(pa.int32(), len(at), [known, pa.py_buffer(at.astype(np.int32))]))


def said_in(table: pa.Table, made: pl.Series | None, turns: Turns) -> pa.Array | None:
    """The text, or the messages, of each record; None where all have another type.

    Args:
        table: the records. [N].
        made: the turns, where they are made. [N].
        turns: where they lie otherwise.
    """
    kind = pa.string() if turns.role else _MESSAGE_LIST
    if made is not None:
        return made.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(kind)
    said = value_at(table, turns.path)
    if turns.named is not None and said is not None:
        said = bare_messages(said, turns.named)
    if said is None or (said.type != kind and not (turns.role and pa.types.is_null(said.type))):
        return None
    return said.cast(kind) if turns.role else said


def _text(array: pa.Array) -> pa.Array:
    return array if array.type == pa.string() else array.cast(pa.string())


def are_said(texts: pa.Array) -> NDArray[np.bool_]:
    """Which texts are not blank, decided by the first byte of nearly all."""
    offsets, signs = text_offsets(texts), np.frombuffer(texts.buffers()[2] or b"\0", dtype=np.uint8)
    is_there = offsets[1:] > offsets[:-1]
    begins = np.minimum(offsets[:-1], len(signs) - 1)
    is_said = is_there & ~_MAY_BEGIN_BLANK[signs[begins]]
    for place in np.flatnonzero(is_there & ~is_said).tolist():
        is_said[place] = bool(texts[place].as_py().strip())
    return is_said


def are_empty(column: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    """Which values are empty lists."""
    if not pa.types.is_list(column.type):
        return np.zeros(len(column), dtype=np.bool_)
    is_empty: NDArray[np.bool_] = (pl.Series(column).list.len() == 0).fill_null(value=False).to_numpy()
    return is_empty


def are_messages(lists: pa.ListArray, starts: str | None) -> NDArray[np.bool_]:
    """Which lists hold messages that are copied as they are: each with its role and its content, none unknown.

    Args:
        lists: the lists. [N].
        starts: role of the first message; None takes any.
    """
    flat = pl.DataFrame({name: pl.Series(lists.flatten().field(name)) for name in ("role", "content")})
    is_whole = flat.select(pl.col("role").is_in(ROLES) & pl.col("content").is_not_null()).to_series()
    wrong = np.concatenate(([0], np.cumsum(~is_whole.fill_null(value=False).to_numpy())))
    lengths = pl.Series(lists).list.len().fill_null(0).cast(pl.Int64).to_numpy()
    ends = np.cumsum(lengths)
    are_right: NDArray[np.bool_] = (lengths > 0) & (wrong[ends] == wrong[ends - lengths])
    if starts is not None and len(flat):
        is_start = (flat["role"] == starts).fill_null(value=False).to_numpy()
        are_right &= is_start[np.minimum(ends - lengths, len(flat) - 1)]
    return are_right


def as_messages(lists: pa.ListArray) -> pa.ListArray:
    """Lists of messages in their type; none is null."""
    turns = lists.flatten()
    said = pa.StructArray.from_arrays(
        [_text(turns.field(name)) for name in ("role", "content")], fields=list(MESSAGES.value_type)
    )
    lengths = pl.Series(lists).list.len().cast(pl.Int32).to_numpy()
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    return pa.ListArray.from_arrays(indices(offsets), said, type=MESSAGES)
