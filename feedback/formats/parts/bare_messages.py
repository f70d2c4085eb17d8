"""Lists of messages of many records with what is read of a message: who speaks, and the text, which is not copied."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from feedback.formats.plain import MESSAGE_LIST, Named
from schemas.messages import ROLES

__all__ = ["CALLS", "bare_messages"]

CALLS: Final = ("tool_calls", "function_call")
"""What text cannot hold: `feedback.formats.parts.turns` rejects a message with it, and reads no other key."""


def bare_messages(lists: pa.Array, named: Named) -> pa.ListArray | None:
    """The lists with `role` and `content` in each message; None where they are no lists of such messages.

    A message that calls a tool, or whose role is not known, has no role here, and a list that is null is empty.

    Args:
        lists: lists of messages. [N].
        named: what is read of them.
    """
    if not pa.types.is_list(lists.type) or not pa.types.is_struct(lists.type.value_type):
        return None
    kind = lists.type.value_type
    places = [kind.get_field_index(name) for name in (named.role, named.content)]
    if min(places) < 0 or any(kind.field(place).type != pa.string() for place in places):
        return None
    held = lists.values.flatten()
    speaks = _roles(held[places[0]], named)
    for name in CALLS:
        place = kind.get_field_index(name)
        if place >= 0 and held[place].null_count < len(held[place]):
            speaks = _where_empty(speaks, held[place])
    said = pa.StructArray.from_arrays([speaks, held[places[1]]], fields=list(MESSAGE_LIST[0].value_type))
    offsets = np.frombuffer(lists.buffers()[1], np.int32)[lists.offset : lists.offset + len(lists) + 1]
    return pa.ListArray.from_arrays(
        pa.Array.from_buffers(pa.int32(), len(offsets), [None, pa.py_buffer(offsets)]), said
    )


def _roles(names: pa.StringArray, named: Named) -> pa.StringArray:
    """The role of each name; null for one that is not known."""
    given = pl.Series(names)
    if all(named.roles.get(role) == role for role in ROLES) and given.is_in(ROLES).all():
        return names
    return _as_text(given.replace_strict(named.roles, default=None, return_dtype=pl.String))


def _where_empty(texts: pa.StringArray, column: pa.Array) -> pa.StringArray:
    """The texts, null where a column has something else than null or an empty list."""
    held = pl.Series(column)
    is_empty = held.is_null() | (held.list.len() == 0 if pa.types.is_list(column.type) else False)
    return _as_text(pl.select(pl.when(is_empty.fill_null(value=True)).then(pl.Series(texts))).to_series())


def _as_text(texts: pl.Series) -> pa.StringArray:
    return texts.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())
