"""Chat turns of many records at once that are no lists of messages: JSON in a text, and attributes with places.

Turns are as `feedback.formats.parts.trace_texts` and `feedback.formats.parts.attributes` give them for one record.
Whatever is not written in the commonest shape is null here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.formats.parts.cell_columns import listed, placed
from feedback.formats.parts.trace_texts import ROLES, TEXT_PARTS
from feedback.records.json_columns import Lines, read_columns

__all__ = ["may_be_json", "messages_in_attributes", "messages_in_texts", "system_in_texts"]

_CELL: Final = "cell"
_TURNS: Final = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
_PART: Final = pa.struct([("type", pa.string()), ("text", pa.string()), ("content", pa.string())])
_TURN: Final = pa.struct(
    [
        *((name, pa.string()) for name in ("role", "content", "type", "finish_reason", "name", "id")),
        ("parts", pa.list_(_PART)),
    ]
)
_THOUGHTS: Final = ("reasoning", "thinking")
_NULL_TEXT: Final = r'"(text|content)"\s*:\s*null'
"""A part whose text is null is none of the commonest, while one without that field may be."""
_PLACE: Final = re.compile(r"(0|[1-9][0-9]{0,4})\.message\.(role|content)")
_Numbers = NDArray[np.int64]


def may_be_json(text: pl.Expr) -> pl.Expr:
    """Where a text begins like an object or a list."""
    return text.str.contains(r"^[\s\x1c-\x1f\x85]*[{\[]")


def messages_in_texts(path: str) -> pl.Expr:
    """The turns of the JSON list of messages that a text is; null where it is anything else."""
    return pl.col(path).map_batches(_read_messages, return_dtype=_TURNS)


def system_in_texts(path: str) -> pl.Expr:
    """The text of a turn of the system: of a JSON list of parts, or a text as it is; null where it is anything else."""
    text = pl.col(path)
    parts = pl.when(may_be_json(text)).then(text).map_batches(_read_parts, return_dtype=pl.String)
    return pl.when(may_be_json(text)).then(parts).otherwise(text)


def messages_in_attributes(held: pa.StructArray, name: str) -> pl.Series:
    """The turns of messages that are written as attributes with places, `NAME.0.message.role` and `.content`.

    Args:
        held: attributes. [N].
        name: what stands before the places.

    Returns:
        [N] list of structs `role`, `content`; null where a message has anything else, or where there is none.
    """
    columns: dict[int, dict[str, pa.StringArray]] = {}
    is_odd = np.zeros(len(held), np.bool_)
    for field, column in zip(held.type, held.flatten(), strict=True):
        if not field.name.startswith(f"{name}."):
            continue
        match = _PLACE.fullmatch(field.name, len(name) + 1)
        if match is None or column.type != pa.string():
            is_odd |= pl.Series(column.is_valid()).to_numpy()
        else:
            columns.setdefault(int(match[1]), {})[match[2]] = column
    return _in_places([(place, columns[place]) for place in sorted(columns)], is_odd)


def _in_places(columns: Sequence[tuple[int, Mapping[str, pa.StringArray]]], is_odd: NDArray[np.bool_]) -> pl.Series:
    """The messages of each row, by their places from 0 on."""
    rows, count = len(is_odd), np.zeros(len(is_odd), np.int64)
    nothing = pa.nulls(rows, pa.string())
    said: dict[str, list[pa.StringArray]] = {"role": [], "content": []}
    for place, parts in columns:
        both = {part: parts.get(part, nothing) for part in said}
        has_role, has_content = (pl.Series(one.is_valid()).to_numpy() for one in both.values())
        is_odd = is_odd | (has_role != has_content) | (has_role & (count != place))
        count += has_role
        for part, one in both.items():
            said[part].append(one)
    is_whole = ~is_odd & (count > 0)
    counts = count[is_whole]
    starts = np.concatenate(([0], np.cumsum(counts)))
    # One place's texts behind the other's: message m of row r is at m * rows + r.
    at = np.repeat(np.flatnonzero(is_whole), counts) + (np.arange(starts[-1]) - np.repeat(starts[:-1], counts)) * rows
    texts = {part: pl.Series(pa.chunked_array(many, pa.string())).gather(pl.Series(at)) for part, many in said.items()}
    role = texts["role"].replace_strict(ROLES, default=None, return_dtype=pl.String)
    is_known = _all_right(role.is_not_null().to_numpy(), starts)
    if not is_known.all():
        kept = pl.Series(np.repeat(is_known, counts))
        role, texts["content"] = role.filter(kept), texts["content"].filter(kept)
        is_whole[is_whole] = is_known
        starts = np.concatenate(([0], np.cumsum(counts[is_known])))
    return _placed_turns(pl.DataFrame({"role": role, "content": texts["content"]}), starts, is_whole)


def _placed_turns(turns: pl.DataFrame, starts: _Numbers, is_whole: NDArray[np.bool_]) -> pl.Series:
    numbers = np.full(len(is_whole), -1)
    numbers[is_whole] = np.arange(len(starts) - 1)
    values = turns.to_struct().to_arrow(compat_level=pl.CompatLevel.newest())
    return placed(listed(values, starts, _TURNS), numbers)


def _read_messages(cells: pl.Series) -> pl.Series:
    lists, is_read = _lists_in(cells, _TURN)
    starts, values = _starts(lists), _values(lists)
    content = pl.Series(values.field("content"), dtype=pl.String)
    content = pl.select(pl.coalesce(content, _joined(values.field("parts")))).to_series()
    role = pl.Series(values.field("role"), dtype=pl.String)
    role = role.replace_strict(ROLES, default=None, return_dtype=pl.String)
    is_right = (role.is_not_null() & content.is_not_null()).to_numpy() & _has_only(values, _TURN)
    is_whole = _all_right(is_right, starts) & (np.diff(starts) > 0)
    kept = np.repeat(is_whole, np.diff(starts))
    turns = pl.DataFrame({"role": role, "content": content}).filter(pl.Series(kept))
    numbers = np.flatnonzero(is_read)[is_whole]
    whole = np.zeros(len(cells), np.bool_)
    whole[numbers] = True
    return _placed_turns(turns, np.concatenate(([0], np.cumsum(np.diff(starts)[is_whole]))), whole)


def _read_parts(cells: pl.Series) -> pl.Series:
    lists, is_read = _lists_in(cells, _PART)
    texts = _joined(lists)
    rows = np.full(len(cells), -1)
    rows[is_read] = np.arange(len(texts))
    return placed(texts, rows)


def _lists_in(cells: pl.Series, kind: pa.StructType) -> tuple[pa.ListArray, NDArray[np.bool_]]:
    """The lists of objects that texts hold as JSON, and which texts do, in their order."""
    line = pl.concat_str(pl.lit(f'{{"{_CELL}":'), pl.col(_CELL), pl.lit("}\n"))
    is_list = pl.col(_CELL).str.starts_with("[") & ~pl.col(_CELL).str.contains(_NULL_TEXT)
    told = pl.when(is_list & ~pl.col(_CELL).str.contains("\n", literal=True)).then(line).fill_null("\n")
    packed = cells.alias(_CELL).to_frame().select(told).to_series().rechunk()
    text = packed.to_arrow(compat_level=pl.CompatLevel.oldest())
    offsets = np.frombuffer(text.buffers()[1] or bytes(8), dtype=np.int64)
    lines = Lines(memoryview(text.buffers()[2] or b""), offsets[: len(cells)], offsets[1 : len(cells) + 1] - 1)
    is_read = np.zeros(len(cells), np.bool_)
    schema = pa.schema([(_CELL, pa.list_(kind))])
    tables = []
    for places, table in read_columns(lines, schema):
        # What looks like a list may be a list and other fields, and Arrow takes null for a list.
        others = [table.column(name) for name in table.column_names[1:]]
        is_alone = ~pl.Series(table.column(_CELL)).is_null().to_numpy()
        for other in others:
            is_alone &= pl.Series(other).is_null().to_numpy()
        is_read[places[is_alone]] = True
        tables.append(table.select([_CELL]).filter(pl.Series(is_alone).to_arrow()))
    whole = pa.concat_tables([schema.empty_table(), *tables], promote_options="permissive").combine_chunks()
    return whole.column(_CELL).combine_chunks(), is_read


def _joined(parts: pa.ListArray) -> pl.Series:
    """The text of each list of parts, without thoughts; null where one is not as usual, or there is none."""
    starts, values = _starts(parts), _values(parts)
    frame = pl.DataFrame({name: pl.Series(values.field(name), dtype=pl.String) for name in ("type", "text", "content")})
    kind, said = pl.col("type"), pl.coalesce("text", "content")
    told = frame.select(
        said.alias("said"),
        is_right=kind.is_in((*TEXT_PARTS, *_THOUGHTS)) & said.is_not_null(),
        is_thought=kind.is_in(_THOUGHTS).fill_null(value=False),
    )
    is_right = told["is_right"].fill_null(value=False).to_numpy() & _has_only(values, _PART)
    is_whole = _all_right(is_right, starts) & (np.diff(starts) > 0) & pl.Series(parts.is_valid()).to_numpy()
    if len(values) == len(parts) and (np.diff(starts) == 1).all() and not told["is_thought"].any():
        return pl.select(pl.when(pl.Series(is_whole)).then(told["said"])).to_series()
    owners = pl.Series("owner", np.repeat(np.arange(len(parts)), np.diff(starts)))
    texts = told.with_columns(owners, said=pl.when("is_thought").then(pl.lit("")).otherwise("said"))
    joined = texts.group_by("owner").agg(pl.col("said").str.join(""))
    every = pl.DataFrame({"owner": np.arange(len(parts))}).join(joined, on="owner", how="left", maintain_order="left")
    return pl.select(pl.when(pl.Series(is_whole)).then(every["said"])).to_series()


def _has_only(objects: pa.StructArray, kind: pa.StructType) -> NDArray[np.bool_]:
    """Where an object is there, and has nothing under other keys."""
    has_only: NDArray[np.bool_] = pl.Series(objects.is_valid()).to_numpy()
    for field, column in zip(objects.type, objects.flatten(), strict=True):
        if kind.get_field_index(field.name) < 0 and column.null_count < len(column):
            has_only = has_only & ~pl.Series(column.is_valid()).to_numpy()
    return has_only


def _all_right(is_right: NDArray[np.bool_], starts: _Numbers) -> NDArray[np.bool_]:
    """Which lists have nothing but what is right in them."""
    wrong = np.concatenate(([0], np.cumsum(~is_right)))
    are_right: NDArray[np.bool_] = wrong[starts[1:]] == wrong[starts[:-1]]
    return are_right


def _starts(lists: pa.ListArray) -> _Numbers:
    """Where each list begins in the values of all, and the end. [N + 1]."""
    if not len(lists):
        return np.zeros(1, np.int64)
    offsets = np.frombuffer(lists.buffers()[1], np.int32)[lists.offset : lists.offset + len(lists) + 1]
    starts: _Numbers = (offsets - offsets[0]).astype(np.int64)
    return starts


def _values(lists: pa.ListArray) -> pa.Array:
    """What is in the lists, one list's behind the other's."""
    starts = _starts(lists)
    first = int(np.frombuffer(lists.buffers()[1], np.int32)[lists.offset]) if len(lists) else 0
    return lists.values.slice(first, int(starts[-1]))
