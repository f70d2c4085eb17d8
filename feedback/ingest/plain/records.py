"""Plain records become rows column by column, see `feedback.formats.plain`.

    lines ─► columns of Arrow ─► judgements of plain records ─► a table ─► rules ─► rows

What is plain is decided here, narrowly: every value of a type that the format wants, nothing blank, no field beyond
those that its plain records have, and no rule broken. All other records, the faulty ones among them, go the way of
drafts, which says what is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.formats.plain import ANSWER_TURNS, PROMPT_TURNS, PlainRecords
from feedback.hashing import sha256_of
from feedback.ingest.arrow_columns import bytes_between, gathered, one_turn_each, repeated
from feedback.ingest.draft_columns import EVENTS, PAIRS, DraftKind
from feedback.ingest.draft_tables import told_table
from feedback.ingest.partners import Partners
from feedback.ingest.plain.joined import find_joined
from feedback.ingest.plain.judgements import TIMES, Judgements, find_judgements, of_whole_records
from feedback.ingest.plain.threads import read_threads
from feedback.ingest.plain.turns import as_messages
from feedback.ingest.row_ids import have_ids
from feedback.ingest.turn_hashes import list_hashes, turn_hashes
from feedback.records.json_columns import Lines
from schemas.rules import violations

__all__ = ["LeftOut", "PlainRows", "PlainSource", "Tables", "read_plain"]

Places = NDArray[np.int64]
Tables = Iterable[tuple[Places, pa.Table]]

_KINDS: Final = {"events": EVENTS, "pairs": PAIRS}
_RECORD: Final = "record"


@dataclass(frozen=True, slots=True)
class PlainRows:
    """Rows of plain records.

    Args:
        kind: events or pairs.
        places: the line of each. [N].
        table: the rows. [N].
        names: fields of the records that hold something.
        records: the lines of the records. [R].
    """

    kind: DraftKind
    places: Places
    table: pa.Table
    names: tuple[str, ...]
    records: Places


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What plain records hold that is left out and counted.

    Args:
        counts: how much of it, by what it is counted as.
        records: the lines of records that hold nothing else. [R].
        names: fields of these that hold something, and that the format does not read.
    """

    counts: Counter[str]
    records: Places
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainSource:
    """What is known of a source before its lines are read.

    Args:
        shapes: what is plain; one shape where something is joined.
        schema: types of the fields, see `feedback.ingest.plain.shapes`.
        joined: types of the fields of what the records find in another file.
        read: all fields that the format reads.
        name: name of the source.
        key: key for user ids.
        partners: what the records find in another file, or in other lines of their own.
    """

    shapes: tuple[PlainRecords, ...]
    schema: pa.Schema
    joined: pa.Schema | None = None
    read: frozenset[str]
    name: str
    key: bytes
    partners: Partners | None = None

    @property
    def seen(self) -> tuple[str, ...] | None:
        """Keys beside those of the schema that say something; None where every key may."""
        keys = [shape.seen for shape in self.shapes]
        return None if None in keys else tuple(dict.fromkeys(key for one in keys for key in one or ()))


def read_plain(lines: Lines, source: PlainSource, tables: Tables) -> Iterator[PlainRows | LeftOut]:
    """The rows of the plain records on some lines, and what is left out of them.

    Args:
        lines: the lines.
        source: what is known of them.
        tables: those that are records of its schema, as columns, with the line of each row.
    """
    for places, table in tables:
        taken: list[Places] = []
        for shape in source.shapes:
            for rows in _read_shape(table, lines, places, shape, source):
                taken.append(rows.records)
                yield rows
            is_left = np.isin(places, np.concatenate(taken), invert=True) if taken else np.ones(len(places), np.bool_)
            if shape is source.shapes[-1] or not is_left.any():
                break
            table, places = gathered(table, np.flatnonzero(is_left)), places[is_left]


def _read_shape(
    table: pa.Table, lines: Lines, places: Places, shape: PlainRecords, source: PlainSource
) -> Iterator[PlainRows | LeftOut]:
    """The rows of the records of one shape among those of a table."""
    partners = source.partners
    if any(name.startswith(shape.never) for name in table.column_names):
        return
    if shape.threads is not None:
        if partners is None or {PROMPT_TURNS, ANSWER_TURNS} & set(table.column_names):
            return
        threaded = read_threads(table, places, lines, shape.threads, partners)
        if len(threaded.left_out):
            counts = Counter({shape.threads.what: len(threaded.left_out)})
            yield LeftOut(counts, places[threaded.left_out], _held(table, threaded.left_out, source.read))
        yield from _plain_rows(threaded.table, lines, places[threaded.rows], shape, source)
    elif shape.joined is not None:
        if partners is not None and source.joined is not None:
            found = find_joined(table, shape.joined, source.joined, partners)
            if found is not None:
                yield from _plain_rows(found.table, lines, places[found.rows], shape, source)
    else:
        yield from _plain_rows(table, lines, places, shape, source)


def _plain_rows(
    table: pa.Table, lines: Lines, places: Places, shape: PlainRecords, source: PlainSource
) -> Iterator[PlainRows | LeftOut]:
    """The rows of a table of records."""
    found = find_judgements(table, shape, source.read) if table.num_rows else None
    if found is None:
        return
    kept, owners = np.zeros(0, np.int64), found.owners
    if len(owners):
        records = owners[np.flatnonzero(np.diff(owners, prepend=-1))]
        digests = _digests(lines, places[records])
        if len(records) < len(owners):
            digests = digests.gather(pl.Series(np.searchsorted(records, owners)))
        made = _rows(found, digests, shape, source)
        is_broken = of_whole_records(_are_broken(made, shape) | _lack_ids(found, shape), owners)
        kept = np.flatnonzero(~is_broken)
        found = found.without(owners[is_broken])
    if len(kept):
        owners = owners[kept]
        records = owners[np.flatnonzero(np.diff(owners, prepend=-1))]
        made = made if len(kept) == made.num_rows else gathered(made, kept)
        names = _held(table, records, frozenset(_made_here(shape)))
        yield PlainRows(_KINDS[shape.kind], places[owners], made, names, places[records])
    if found.left_out:
        counts = Counter(what for _, what in found.left_out)
        others = np.setdiff1d([owner for owner, _ in found.left_out], owners if len(kept) else ())
        yield LeftOut(counts, places[others.astype(np.int64)], _held(table, others.astype(np.int64), source.read))


def _made_here(shape: PlainRecords) -> set[str]:
    """Fields that no record has of its own."""
    made = {PROMPT_TURNS, ANSWER_TURNS} if shape.threads is not None else set()
    return made | ({shape.joined.into} if shape.joined is not None else set())


def _held(table: pa.Table, rows: Places, read: frozenset[str]) -> tuple[str, ...]:
    """The fields beyond those that are read in which some rows hold something."""
    return tuple(name for name in table.column_names if name not in read and _is_held(table.column(name), rows))


def _is_held(column: pa.ChunkedArray, rows: Places) -> bool:
    """Whether any of some rows of a column is not null: for most columns its number of nulls tells."""
    if column.null_count in (0, len(column)) or len(rows) == len(column):
        return bool(len(rows)) and column.null_count < len(column)
    return bool(pl.Series(column.is_valid()).gather(pl.Series(rows)).any())


def _digests(lines: Lines, places: Places) -> pl.Series:
    """The sha256 of the bytes of each record, hex digits."""
    records = bytes_between(lines.data, lines.starts[places], lines.ends[places])
    return records.to_frame(_RECORD).select(sha256_of(pl.col(_RECORD))).to_series()


def _rows(found: Judgements, digests: pl.Series, shape: PlainRecords, source: PlainSource) -> pa.Table:
    told: dict[str, pa.Array | pl.Series] = {name: found.fields[name] for name in shape.fields if name not in TIMES}
    for name, turns in shape.turns.items():
        said = found.said[name]
        if turns.role:
            told[name], told[f"{name}_hash"] = one_turn_each(turns.role, said), turn_hashes(turns.role, said)
        else:
            told[name] = as_messages(said)
            told[f"{name}_hash"] = list_hashes(told[name])
    if shape.kind == "events":
        told.setdefault("op", repeated("create", len(digests)))
    repeats = _repeats(found, told.get("record_id")) if shape.items is not None else None
    return told_table(_KINDS[shape.kind], told, found.times, digests, source.name, source.key, repeats)


def _repeats(found: Judgements, ids: pa.Array | pl.Series | None) -> dict[int, int]:
    """How many rows of the same record with the same id stand before one, by its place."""
    if (np.diff(found.owners) != 0).all():
        return {}
    own = pl.lit(None, pl.String) if ids is None else pl.Series(ids)
    frame = pl.DataFrame({"owner": found.owners}).with_columns(own.alias("id"))
    before = frame.select(pl.int_range(pl.len()).over("owner", "id").alias("before"))["before"].to_numpy()
    return {place: int(before[place]) for place in np.flatnonzero(before).tolist()}


def _lack_ids(found: Judgements, shape: PlainRecords) -> NDArray[np.bool_]:
    """Which rows have no id although their records find others, which are then part of what they are known by."""
    if shape.joined is None and shape.threads is None:
        return np.zeros(len(found.owners), dtype=np.bool_)
    ids = found.fields.get_column("record_id", default=None)
    return np.ones(len(found.owners), dtype=np.bool_) if ids is None else ~have_ids(ids)


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
