"""Plain records become rows column by column, see `feedback.formats.plain`.

    lines ─► columns of Arrow ─► which records are plain ─► what they tell ─► a table ─► rules ─► rows

What is plain is decided here, narrowly: every value of a type that the format wants, nothing blank, no field beyond
those that its plain records have, and no rule broken. All other records, the faulty ones among them, go the way of
drafts, which says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.formats import Format
from feedback.formats.plain import ANSWER_TURNS, MESSAGE_LIST, PROMPT_TURNS, PlainRecords
from feedback.hashing import sha256_of
from feedback.ingest.arrow_columns import bytes_between, gathered, one_turn_each, repeated
from feedback.ingest.draft_columns import EVENTS, PAIRS, DraftKind
from feedback.ingest.draft_tables import told_table
from feedback.ingest.partners import Partners
from feedback.ingest.plain_threads import Threaded, read_threads
from feedback.ingest.plain_times import Times, read_times
from feedback.ingest.plain_turns import (
    are_empty,
    are_messages,
    are_said,
    as_messages,
    said_in,
    value_at,
)
from feedback.ingest.turn_hashes import list_hashes, turn_hashes
from feedback.records.json_columns import Lines, read_columns
from schemas.rules import violations

__all__ = ["LeftOut", "PlainRows", "choose_shape", "plain_schema", "read_plain"]

Record = dict[str, Any]
Places = NDArray[np.int64]
Known = Callable[[Places, pl.Series], pl.Series]

_KINDS: Final = {"events": EVENTS, "pairs": PAIRS}
_TIMES: Final = ("event_time", "updated_time")
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


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Plain records without a judgement, which are left out and counted.

    Args:
        places: the lines that they are on. [N].
        what: what they are counted as.
        names: fields of the records that hold something, and that the format does not read.
    """

    places: Places
    what: str
    names: tuple[str, ...]


def choose_shape(source_format: Format, sample: Sequence[Record]) -> PlainRecords | None:
    """The shape that most records of a sample could have, with the names that these have, or None where none could."""
    if source_format.keys is None:
        return None
    counts = [sum(_may_be(record, shape) for record in sample) for shape in source_format.plain]
    best = max(range(len(counts)), key=counts.__getitem__, default=None)
    return _named(source_format.plain[best], sample) if best is not None and counts[best] else None


def plain_schema(shape: PlainRecords, sample: Sequence[Record]) -> pa.Schema:
    """The types that the fields of plain records have, as far as a sample tells.

    Args:
        shape: what is plain.
        sample: some records of the file.
    """
    types = {path: _type_of(path, choice, sample) for path, choice in shape.types.items()}
    for turns in shape.turns.values():
        if turns.made is None and shape.threads is None:
            types[turns.path] = pa.string() if turns.role else _MESSAGE_LIST
    return pa.schema(_nested({tuple(path.split(".")): kind for path, kind in types.items()}))


def read_plain(
    lines: Lines,
    shape: PlainRecords,
    schema: pa.Schema,
    read: frozenset[str],
    source: str,
    key: bytes,
    partners: Partners | None = None,
) -> Iterator[PlainRows | LeftOut]:
    """The rows of the plain records on some lines, and those that are left out.

    Args:
        lines: the lines.
        shape: what is plain.
        schema: types of the fields, see `plain_schema`.
        read: all fields that the format reads.
        source: name of the source.
        key: key for user ids.
        partners: what the records find in other lines of their file, for shapes with threads.
    """
    for places, table in read_columns(lines, schema):
        if shape.threads is None:
            yield from _plain_rows(table, lines, places, shape, read, source, key)
            continue
        if partners is None or {PROMPT_TURNS, ANSWER_TURNS} & set(table.column_names):
            continue
        found = read_threads(table, places, lines, shape.threads, partners)
        if len(found.left_out):
            yield LeftOut(places[found.left_out], shape.threads.what, _held(table, found.left_out, read))
        known = partial(_known, found, lines)
        yield from _plain_rows(found.table, lines, places[found.rows], shape, read, source, key, known)


def _plain_rows(
    table: pa.Table,
    lines: Lines,
    places: Places,
    shape: PlainRecords,
    read: frozenset[str],
    source: str,
    key: bytes,
    known: Known | None = None,
) -> Iterator[PlainRows]:
    """The rows of a table of records; `known` says what they are known by, if not by their own bytes."""
    found = _found(table, shape, read) if table.num_rows else None
    if found is None:
        return
    places = places[found.rows]
    digests = _digests(lines, places)
    made = _rows(found, digests if known is None else known(found.rows, digests), shape, source, key)
    kept = np.flatnonzero(~_are_broken(made, shape))
    if not len(kept):
        return
    records = found.table
    if len(kept) < len(places):
        places, made, records = places[kept], gathered(made, kept), gathered(records, kept)
    columns = zip(records.column_names, records.columns, strict=True)
    made_here = {PROMPT_TURNS, ANSWER_TURNS} if shape.threads is not None else ()
    names = tuple(name for name, one in columns if one.null_count < len(places) and name not in made_here)
    yield PlainRows(_KINDS[shape.kind], places, made, names)


def _known(found: Threaded, lines: Lines, rows: Places, digests: pl.Series) -> pl.Series:
    return found.digests(rows, digests, lines)


def _held(table: pa.Table, rows: Places, read: frozenset[str]) -> tuple[str, ...]:
    """The fields beyond those that are read in which some rows hold something."""
    others = [name for name in table.column_names if name not in read]
    return tuple(name for name in others if pl.Series(table.column(name).is_valid()).gather(pl.Series(rows)).any())


@dataclass(frozen=True, slots=True)
class _Found:
    """The plain records of a table, as far as can be told before their rows are made.

    Args:
        rows: which rows of the table they are. [N].
        table: the records. [N].
        fields: the draft's fields that are no turns. [N].
        times: what its fields with times say. [N].
        said: what its turns are made of. [N].
    """

    rows: Places
    table: pa.Table
    fields: pl.DataFrame
    times: dict[str, Times]
    said: dict[str, pa.Array]


def _found(table: pa.Table, shape: PlainRecords, read: frozenset[str]) -> _Found | None:
    """The plain records of a table; None where there are none."""
    told = _told(_narrow(table, shape), shape)
    times = {name: read_times(told[name]) for name in _TIMES if name in shape.fields}
    is_plain = told[_ALL].fill_null(value=False).to_numpy(writable=True)
    for one in times.values():
        is_plain &= one.is_read.to_numpy()
    for column, may_be_empty in _to_be_null(table, shape, read):
        if column.null_count < len(column):
            is_null = ~np.asarray(pl.Series(column.is_valid()).to_numpy())
            is_plain &= (is_null | are_empty(column)) if may_be_empty else is_null
    said: dict[str, pa.Array] = {}
    for name, turns in shape.turns.items():
        found = said_in(table, told.get_column(name, default=None), turns)
        if found is None:
            return None
        said[name] = found
        is_plain &= are_messages(found, turns.starts) if turns.role is None else are_said(found)
    if is_plain.all():
        return _Found(np.arange(table.num_rows), table, told, times, said)
    rows = np.flatnonzero(is_plain)
    if not len(rows):
        return None
    chosen, which = gathered(table, rows), pl.Series(rows)
    told = told[which]
    again = {name: said_in(chosen, told.get_column(name, default=None), one) for name, one in shape.turns.items()}
    said = {name: found for name, found in again.items() if found is not None}
    return _Found(rows, chosen, told, {name: one.at(which) for name, one in times.items()}, said)


def _told(frame: pl.DataFrame, shape: PlainRecords) -> pl.DataFrame:
    """The draft's fields, the turns that are made, and whether all that must hold does."""
    made = {name: turns.made for name, turns in shape.turns.items() if turns.made is not None}
    for name, part in shape.parts.items():
        frame = frame.with_columns(part.alias(name))
    # Of a row's number too, since an expression that names no column has one row.
    return frame.select(pl.col(_ROW), (shape.where & (pl.col(_ROW) >= 0)).alias(_ALL), **shape.fields, **made)


def _to_be_null(
    table: pa.Table, shape: PlainRecords, read: frozenset[str]
) -> Iterator[tuple[pa.Array | pa.ChunkedArray, bool]]:
    """The values that no plain record has, each with whether an empty list is none."""
    tops = {path.partition(".")[0] for path in _paths(shape)}
    for name in table.column_names:
        if name in read - tops - shape.unread:
            yield table.column(name), name not in shape.absent
    yield from ((column, True) for path in shape.nulls if (column := value_at(table, path)) is not None)


def _digests(lines: Lines, places: Places) -> pl.Series:
    """The sha256 of the bytes of each record, hex digits."""
    records = bytes_between(lines.data, lines.starts[places], lines.ends[places])
    return records.to_frame(_RECORD).select(sha256_of(pl.col(_RECORD))).to_series()


def _rows(found: _Found, digests: pl.Series, shape: PlainRecords, source: str, key: bytes) -> pa.Table:
    told: dict[str, pa.Array | pl.Series] = {name: found.fields[name] for name in shape.fields if name not in _TIMES}
    for name, turns in shape.turns.items():
        said = found.said[name]
        if turns.role:
            told[name], told[f"{name}_hash"] = one_turn_each(turns.role, said), turn_hashes(turns.role, said)
        else:
            told[name] = as_messages(said)
            told[f"{name}_hash"] = list_hashes(told[name])
    if shape.kind == "events":
        told.setdefault("op", repeated("create", len(digests)))
    return told_table(_KINDS[shape.kind], told, found.times, digests, source, key)


def _are_broken(made: pa.Table, shape: PlainRecords) -> NDArray[np.bool_]:
    """Which rows break a rule; of texts none can, but that both answers of a pair are one."""
    if all(turns.role for turns in shape.turns.values()):
        if shape.kind == "events":
            return np.zeros(made.num_rows, dtype=np.bool_)
        first, second = (pl.Series(made.column(f"response_{side}_hash")) for side in "ab")
        are_one: NDArray[np.bool_] = (first == second).to_numpy()
        return are_one
    rules = _KINDS[shape.kind].rules
    is_broken = np.zeros(made.num_rows, dtype=np.bool_)
    checked = pl.DataFrame(pl.from_arrow(made.select(list(rules.types))))
    is_broken[[one.row for one in violations(checked, rules)]] = True
    return is_broken


def _narrow(table: pa.Table, shape: PlainRecords) -> pl.DataFrame:
    """The fields that are no turns, by their paths, and the number of each row."""
    columns: dict[str, Any] = {_ROW: np.arange(table.num_rows)}
    for path in shape.types:
        found = value_at(table, path)
        columns[path] = pl.Series(path, pa.nulls(table.num_rows, pa.string()) if found is None else found)
    columns |= {path: columns[name].rename(path) for path, (name, *_) in shape.names.items() if name in columns}
    return pl.DataFrame(columns)


def _paths(shape: PlainRecords) -> Iterator[str]:
    yield from shape.types
    yield from (turns.path for turns in shape.turns.values() if turns.made is None)


def _named(shape: PlainRecords, sample: Sequence[Record]) -> PlainRecords:
    """The shape with one name for each field that may have several."""
    if not shape.names:
        return shape
    names = {
        path: next((name for name in choice if any(_value_at(one, name) is not None for one in sample)), choice[0])
        for path, choice in shape.names.items()
    }
    return replace(
        shape,
        turns={what: replace(turns, path=names.get(turns.path, turns.path)) for what, turns in shape.turns.items()},
        types={names.get(path, path): choice for path, choice in shape.types.items()},
        names={path: (name,) for path, name in names.items()},
        absent=shape.absent.union(*shape.names.values()).difference(names.values()),
    )


def _may_be(record: Record, shape: PlainRecords) -> bool:
    """Whether a record has all that a shape needs."""
    for turns in shape.turns.values() if shape.threads is None else ():
        names = shape.names.get(turns.path, (turns.path,))
        value = next((found for name in names if (found := _value_at(record, name)) is not None), None)
        if value is None or (turns.made is None and not isinstance(value, str if turns.role else list)):
            return False
    return all(_has_type(_value_at(record, path), shape.types.get(path, ())) for path in shape.needs)


def _has_type(value: Any, choice: Sequence[pa.DataType]) -> bool:
    """Whether a value is there, and of one of some types; of any where there are none."""
    return value is not None and (not choice or any(_PYTHON.get(one, list) is type(value) for one in choice))


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
