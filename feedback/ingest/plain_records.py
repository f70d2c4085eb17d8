"""Plain records become rows column by column, see `feedback.formats.plain`.

    lines ─► columns of Arrow ─► which records are plain ─► what they tell ─► a table ─► rules ─► rows

What is plain is decided here, narrowly: every value of a type that the format wants, nothing blank, no field beyond
those that its plain records have, and no rule broken. All other records, the faulty ones among them, go the way of
drafts, which says what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.formats import Format
from feedback.formats.plain import MESSAGE_LIST, PlainRecords, Turns
from feedback.hashing import sha256_of, turns_hash
from feedback.ingest.arrow_columns import bytes_between, gathered, indices, one_chunk, one_turn_each, text_offsets
from feedback.ingest.draft_columns import EVENTS, PAIRS, DraftKind
from feedback.ingest.draft_tables import told_table
from feedback.ingest.plain_times import Times, read_times
from feedback.records.json_columns import Lines, read_columns
from schemas.messages import MESSAGES, ROLES
from schemas.rules import violations

__all__ = ["PlainRows", "choose_shape", "plain_schema", "read_plain"]

Record = dict[str, Any]
Places = NDArray[np.int64]

_KINDS: Final = {"events": EVENTS, "pairs": PAIRS}
_TIMES: Final = ("event_time", "updated_time")
_MAY_BEGIN_BLANK: Final = np.isin(np.arange(256), [*range(9, 14), *range(28, 33), 0xC2, 0xE1, 0xE2, 0xE3])
"""First bytes of white space, in UTF-8."""
_RECORD: Final = "record"
_ROW: Final = "row"
_ALL: Final = "all"
_MESSAGE_LIST: Final = MESSAGE_LIST[0]
_PYTHON: Final = {pa.string(): str, pa.bool_(): bool, pa.int64(): int, pa.float64(): float}


@dataclass(frozen=True, slots=True)
class PlainRows:
    """Rows of plain records.

    Args:
        kind: events or pairs.
        places: the lines that they are on. [N].
        table: the rows. [N].
        names: fields of the records that hold something.
    """

    kind: DraftKind
    places: Places
    table: pa.Table
    names: tuple[str, ...]


def choose_shape(source_format: Format, sample: Sequence[Record]) -> PlainRecords | None:
    """The shape of plain records that most of a sample could have, or None where none could."""
    if source_format.keys is None:
        return None
    counts = [sum(_may_be(record, shape) for record in sample) for shape in source_format.plain]
    best = max(range(len(counts)), key=counts.__getitem__, default=None)
    return source_format.plain[best] if best is not None and counts[best] else None


def plain_schema(shape: PlainRecords, sample: Sequence[Record]) -> pa.Schema:
    """The types that the fields of plain records have, as far as a sample tells.

    Args:
        shape: what is plain.
        sample: some records of the file.
    """
    types = {path: _type_of(path, choice, sample) for path, choice in shape.types.items()}
    for turns in shape.turns.values():
        if turns.made is None:
            types[turns.path] = pa.string() if turns.role else _MESSAGE_LIST
    return pa.schema(_nested({tuple(path.split(".")): kind for path, kind in types.items()}))


def read_plain(
    lines: Lines, shape: PlainRecords, schema: pa.Schema, read: frozenset[str], source: str, key: bytes
) -> Iterator[PlainRows]:
    """The rows of the plain records on some lines.

    Args:
        lines: the lines.
        shape: what is plain.
        schema: types of the fields, see `plain_schema`.
        read: all fields that the format reads.
        source: name of the source.
        key: key for user ids.
    """
    for places, table in read_columns(lines, schema):
        is_plain = _find(table, shape, read)
        if not is_plain.any():
            continue
        if not is_plain.all():
            rows = np.flatnonzero(is_plain)
            places, table = places[rows], gathered(table, rows)
        made = _rows(table, lines, places, shape, source, key)
        kind = _KINDS[shape.kind]
        checked = pl.DataFrame(pl.from_arrow(made.select(list(kind.rules.types))))
        broken = [one.row for one in violations(checked, kind.rules)]
        if broken:
            is_kept = np.ones(len(places), dtype=np.bool_)
            is_kept[broken] = False
            kept = np.flatnonzero(is_kept)
            if not len(kept):
                continue
            places, table, made = places[kept], gathered(table, kept), gathered(made, kept)
        columns = zip(table.column_names, table.columns, strict=True)
        yield PlainRows(kind, places, made, tuple(name for name, one in columns if one.null_count < len(places)))


def _find(table: pa.Table, shape: PlainRecords, read: frozenset[str]) -> NDArray[np.bool_]:
    """Which records of a table are plain, as far as can be told before their rows are made."""
    tops = {path.partition(".")[0] for path in _paths(shape)}
    others = [name for name in table.column_names if name in read - tops - shape.unread]
    nulls = [column for path in shape.nulls if (column := _at(table, path)) is not None]
    frame = _narrow(table, shape)
    times = [read_times(column).is_read for column in _times(frame, shape).values()]
    told = frame.select(pl.all_horizontal(*times, shape.where).fill_null(value=False).alias(_ALL))[_ALL]
    # A condition that names no column has one row.
    is_plain = np.array(told.to_numpy() if len(told) == frame.height else np.full(frame.height, told[0]))
    for column in (*(table.column(name) for name in others), *nulls):
        if column.null_count < len(column):
            is_plain &= ~np.asarray(pl.Series(column.is_valid()).to_numpy()) | _are_empty(column)
    for turns in shape.turns.values():
        said = _said(table, frame, turns)
        if said is None:
            return np.zeros(table.num_rows, dtype=np.bool_)
        is_plain &= _are_messages(said, turns.starts) if turns.role is None else _are_said(said)
    return is_plain


def _rows(table: pa.Table, lines: Lines, places: Places, shape: PlainRecords, source: str, key: bytes) -> pa.Table:
    frame = _narrow(table, shape)
    fields = frame.select(pl.col(_ROW), **shape.fields)
    times: dict[str, Times] = {name: read_times(fields[name]) for name in _TIMES if name in fields.columns}
    told: dict[str, pa.Array | pl.Series] = {
        name: column for name, column in fields.to_dict().items() if name not in (*_TIMES, _ROW)
    }
    for name, turns in shape.turns.items():
        said = _said(table, frame, turns)
        told[name] = one_turn_each(turns.role, said) if turns.role else _as_messages(said)
        told[f"{name}_hash"] = _hashes_of_several(told[name])
    records = bytes_between(lines.data, lines.starts[places], lines.ends[places])
    digests = records.to_frame(_RECORD).select(sha256_of(pl.col(_RECORD))).to_series()
    if shape.kind == "events" and "op" not in told:
        told["op"] = pl.Series(["create"]).new_from_index(0, len(places))
    return told_table(_KINDS[shape.kind], told, times, digests, source, key)


def _narrow(table: pa.Table, shape: PlainRecords) -> pl.DataFrame:
    """The fields that are no turns, by their paths, and the number of each row."""
    columns: dict[str, Any] = {_ROW: np.arange(table.num_rows)}
    for path in shape.types:
        found = _at(table, path)
        columns[path] = pl.Series(path, pa.nulls(table.num_rows, pa.string()) if found is None else found)
    return pl.DataFrame(columns)


def _times(frame: pl.DataFrame, shape: PlainRecords) -> dict[str, pl.Series]:
    told = {name: shape.fields[name] for name in _TIMES if name in shape.fields}
    return frame.select(**told).to_dict() if told else {}


def _paths(shape: PlainRecords) -> Iterator[str]:
    yield from shape.types
    yield from (turns.path for turns in shape.turns.values() if turns.made is None)


def _may_be(record: Record, shape: PlainRecords) -> bool:
    """Whether a record has all that a shape needs."""
    for turns in shape.turns.values():
        value = _value_at(record, turns.path)
        if value is None or (turns.made is None and not isinstance(value, str if turns.role else list)):
            return False
    return all(_value_at(record, path) is not None for path in shape.needs)


def _value_at(record: Record, path: str) -> Any:
    value: Any = record
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _type_of(path: str, choice: Sequence[pa.DataType], sample: Sequence[Record]) -> pa.DataType:
    """The type of the field's first value, if it is one that it may have; else the first of these."""
    if len(choice) == 1:
        return choice[0]
    for record in sample:
        value = _value_at(record, path)
        if value is not None:
            return next((one for one in choice if _PYTHON[one] is type(value)), choice[0])
    return choice[0]


def _nested(types: Mapping[tuple[str, ...], pa.DataType]) -> list[pa.Field]:
    """Fields with the objects that they lie in."""
    parts: dict[str, dict[tuple[str, ...], pa.DataType]] = {}
    for path, kind in types.items():
        parts.setdefault(path[0], {})[path[1:]] = kind
    return [pa.field(name, inner[()] if () in inner else pa.struct(_nested(inner))) for name, inner in parts.items()]


def _at(table: pa.Table, path: str) -> pa.Array | None:
    """What lies at a path; null where an object around it is null."""
    top, *inner = path.split(".")
    if top not in table.column_names:
        return None
    found = one_chunk(table.column(top))
    for name in inner:
        place = found.type.get_field_index(name) if pa.types.is_struct(found.type) else -1
        if place < 0:
            return None
        found = found.flatten()[place]
    return found


def _said(table: pa.Table, frame: pl.DataFrame, turns: Turns) -> pa.Array | None:
    """The text, or the messages, of each record; None where all have another type."""
    kind = pa.string() if turns.role else _MESSAGE_LIST
    if turns.made is not None:
        made = frame.select(turns.made.alias(turns.path))[turns.path]
        return made.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(kind)
    said = _at(table, turns.path)
    if said is None or (said.type != kind and not (turns.role and pa.types.is_null(said.type))):
        return None
    return said.cast(kind) if turns.role else said


def _text(array: pa.Array) -> pa.Array:
    return array if array.type == pa.string() else array.cast(pa.string())


def _are_said(texts: pa.Array) -> NDArray[np.bool_]:
    """Which texts are not blank, decided by the first byte of nearly all."""
    offsets, signs = text_offsets(texts), np.frombuffer(texts.buffers()[2] or b"\0", dtype=np.uint8)
    is_there = offsets[1:] > offsets[:-1]
    begins = np.minimum(offsets[:-1], len(signs) - 1)
    is_said = is_there & ~_MAY_BEGIN_BLANK[signs[begins]]
    for place in np.flatnonzero(is_there & ~is_said).tolist():
        is_said[place] = bool(texts[place].as_py().strip())
    return is_said


def _are_empty(column: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    """Which values are empty lists."""
    if not pa.types.is_list(column.type):
        return np.zeros(len(column), dtype=np.bool_)
    is_empty: NDArray[np.bool_] = (pl.Series(column).list.len() == 0).fill_null(value=False).to_numpy()
    return is_empty


def _are_messages(lists: pa.ListArray, starts: str | None) -> NDArray[np.bool_]:
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


def _as_messages(lists: pa.ListArray) -> pa.ListArray:
    """Lists of messages in their type; none is null."""
    turns = lists.flatten()
    said = pa.StructArray.from_arrays(
        [_text(turns.field(name)) for name in ("role", "content")], fields=list(MESSAGES.value_type)
    )
    lengths = pl.Series(lists).list.len().cast(pl.Int32).to_numpy()
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    return pa.ListArray.from_arrays(indices(offsets), said, type=MESSAGES)


def _hashes_of_several(turns: pa.ListArray) -> pa.Array:
    """The hash of each list of several turns; null for those of one, which are worked out for all at once."""
    lengths = pl.Series(turns).list.len().to_numpy()
    if (lengths == 1).all():
        return pa.nulls(len(turns), pa.string())
    said = turns.values
    roles, texts = (pl.Series(said.field(name)).to_list() for name in ("role", "content"))
    hashes: list[str | None] = []
    start = 0
    for count in lengths.tolist():
        end = start + count
        hashes.append(None if count == 1 else turns_hash(zip(roles[start:end], texts[start:end], strict=True)))
        start = end
    return pl.Series(hashes, dtype=pl.String).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())
