"""Columns of drafts become tables: ids, hashes, times and keyed raters are worked out here, and raw user ids end here.

Everything is done to whole columns, and most of it while other threads run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.hashing import ids_of_texts
from feedback.ingest.arrow_columns import as_field, one_chunk, repeated
from feedback.ingest.draft_columns import DraftColumns, DraftKind
from feedback.ingest.event_time import read_time
from feedback.ingest.plain.times import Times, read_any_times
from feedback.ingest.rater_key import rater_keys
from feedback.ingest.turn_hashes import list_hashes
from schemas.errors import RecordRejectedError
from schemas.reasons import RejectReason

__all__ = ["Broken", "DraftTable", "Row", "draft_table", "rows_to_table", "told_table"]

Row = tuple[Any, ...]
"""Values in the order of an Arrow schema."""

_MARGIN: Final = "margin"
_BETWEEN: Final = "\x1f"
_NULL: Final = "\x00"
_IDS: Final = frozenset({"event_id", "pair_id", "source_record_id", "raw_sha256"})
_SAID: Final = (
    *("op", "event_ts", "updated_ts", "conversation_id", "message_id", "model_id", "model_a", "model_b"),
    *("prompt_hash", "completion_hash", "response_a_hash", "response_b_hash", "tools", "signal", "raw_value"),
    *("margin", "score_a", "score_b", "presented_first", "reason_codes", "comment", "lang", "consent"),
)
"""Columns whose values come from the source."""


@dataclass(frozen=True, slots=True, order=True)
class Broken:
    """A draft that cannot be a row.

    Args:
        owner: number of its record.
        order: which of its record's drafts it is.
        reason: a `RejectReason`.
        detail: what is wrong.
    """

    owner: int
    order: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class DraftTable:
    """Rows of drafts.

    Args:
        table: the rows, a null in place of a time that cannot be read. [N].
        owners: number of the record of each. [N].
        broken: the drafts that cannot be rows.
    """

    table: pa.Table
    owners: NDArray[np.int64]
    broken: tuple[Broken, ...]

    def without(self, owners: Iterable[int]) -> DraftTable:
        """The rows of all other records."""
        is_kept = ~np.isin(self.owners, np.fromiter(owners, np.int64))
        if is_kept.all():
            return self
        table = self.table.filter(pl.Series(is_kept).to_arrow())
        return DraftTable(table, self.owners[is_kept], self.broken)


def draft_table(columns: DraftColumns, source: str, digests: pl.Series, key: bytes) -> DraftTable:
    """The table of all drafts of one kind in a block.

    Args:
        columns: the drafts.
        source: name of the source.
        digests: what each record of the block is known by, a sha256 in hex digits. [R] string.
        key: key for user ids.
    """
    schema = columns.kind.schema
    owners = np.array(columns.owners, dtype=np.int64)
    rows = len(owners)
    if not rows:
        return DraftTable(rows_to_table((), schema), owners, ())
    columns_told = columns.table()
    told = {name: one_chunk(columns_told.column(name)) for name in columns_told.column_names}
    times = {name: read_any_times(values) for name, values in columns.times.items()}
    table = told_table(columns.kind, told, times, digests.gather(pl.Series(owners)), source, key, columns.repeats)
    return DraftTable(table, owners, tuple(_find_broken(columns, told.get(_MARGIN), times)))


def told_table(
    kind: DraftKind,
    told: Mapping[str, pa.Array | pl.Series],
    times: Mapping[str, Times],
    digests: pl.Series,
    source: str,
    key: bytes,
    repeats: Mapping[int, int] | None = None,
) -> pa.Table:
    """Rows of what is told of each.

    Args:
        kind: events or pairs.
        told: the columns that are copied, one that is not there being null; the turns, and their hashes where
            they are known already; `record_id` and `rater` as they came. [N].
        times: what the fields with times say; one that is not there is missing.
        digests: what the record of each is known by, a sha256 in hex digits. [N] string.
        source: name of the source.
        key: key for user ids.
        repeats: how many rows of the same record with the same id stand before one, by its place.
    """
    rows = len(digests)
    made = dict(told)
    for name in kind.turns:
        if f"{name}_hash" not in made:
            made[f"{name}_hash"] = list_hashes(made[name])
    record_ids = made.pop("record_id", None)
    made |= _moments(times, rows)
    made["group_id"] = made["prompt_hash"]
    made["source"] = repeated(source, rows)
    if (rater := made.pop("rater", None)) is not None:
        made["rater_key"] = rater_keys(pl.Series(rater), key)
    known = {field.name: as_field(made.get(field.name), field, rows) for field in kind.schema if field.name not in _IDS}
    has_ids = record_ids is not None and pl.Series(record_ids).null_count() < rows
    ids = _ids(kind, repeats or {}, record_ids, digests, _revisions(known) if has_ids else digests, source)
    arrays = [
        known[field.name] if field.name in known else as_field(ids[field.name], field, rows) for field in kind.schema
    ]
    return pa.Table.from_arrays(arrays, schema=kind.schema)


def rows_to_table(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """A table of `schema` from rows in its order."""
    if not rows:
        return pa.Table.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)
    columns = list(zip(*rows, strict=True))
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _revisions(columns: Mapping[str, pa.Array]) -> pl.Series:
    """What the source says in each record, as one text: two revisions of a record differ in it. [N] string.

    Whatever else stands in a record's bytes does not count: fields that nobody reads and that change by themselves,
    such as when a user was last seen, the order of keys, white space, the kind of file. Nor does what is made here,
    such as the label that a map gives.

    Args:
        columns: of the table, all but the ids.
    """
    frame = pl.DataFrame({name: pl.Series(columns[name]) for name in _SAID if name in columns})
    parts = [
        pl.lit(_NULL) if columns[name].null_count == len(frame) else _as_text(name, kind).fill_null(_NULL)
        for name, kind in frame.schema.items()
    ]
    return frame.select(pl.concat_str(parts, separator=_BETWEEN)).to_series()


def _as_text(name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(kind, pl.List):
        return column.list.join(_BETWEEN)
    if isinstance(kind, pl.Datetime):
        column = column.to_physical()
    return column if kind == pl.String else column.cast(pl.String)


def _ids(
    kind: DraftKind,
    repeats: Mapping[int, int],
    given: pa.Array | pl.Series | None,
    digests: pl.Series,
    revisions: pl.Series,
    source: str,
) -> dict[str, pl.Series]:
    """Ids of rows and of records; a record without an id is known by its digest, and all its bytes are its revision."""
    own_ids = pl.Series([None], dtype=pl.String).new_from_index(0, len(digests)) if given is None else pl.Series(given)
    numbers = pl.Series([None], dtype=pl.Int64).new_from_index(0, len(digests))
    if repeats:
        numbers = numbers.scatter(list(repeats), list(repeats.values()))
    own, raw, number = pl.col("own"), pl.col("raw"), pl.col("number")
    record_id = pl.when(own.str.len_bytes() > 0).then(own).otherwise(pl.lit("sha256:") + raw.str.head(32))
    if repeats:
        record_id = record_id + pl.when(number.is_null()).then(pl.lit("")).otherwise(
            pl.lit("#") + number.cast(pl.String)
        )
    columns = {"own": own_ids.cast(pl.String), "raw": digests, "number": numbers, "said": revisions}
    frame = pl.DataFrame(columns).with_columns(id=record_id)
    revision = pl.when(own.str.len_bytes() > 0).then(pl.col("said")).otherwise(raw)
    own_id = next(iter(kind.schema.names))
    return {
        own_id: frame.select(ids_of_texts(source, pl.col("id"), revision)).to_series(),
        "source_record_id": frame["id"],
        "raw_sha256": digests,
    }


def _moments(times: Mapping[str, Times], rows: int) -> dict[str, pa.Array | pl.Series]:
    """When it was judged and changed, and how far that can be trusted: as far as the worse of both."""
    given, changed = times.get("event_time"), times.get("updated_time")
    if given is None:
        return _changed(changed, rows)
    if changed is None:
        return {"event_ts": given.when, "ts_quality": given.quality}
    first, second = given.quality, changed.quality
    is_naive = (first == "naive") | (second == "naive")
    is_missing = (first == "missing") & (second == "missing")
    frame = pl.DataFrame({"is_naive": is_naive, "is_missing": is_missing})
    worse = (
        pl.when("is_naive").then(pl.lit("naive")).when("is_missing").then(pl.lit("missing")).otherwise(pl.lit("exact"))
    )
    return {
        "event_ts": given.when,
        "updated_ts": changed.when,
        "ts_quality": frame.select(worse.alias("quality")).to_series(),
    }


def _changed(changed: Times | None, rows: int) -> dict[str, pa.Array | pl.Series]:
    """The same where no field says when it was judged."""
    if changed is None:
        return {"ts_quality": repeated("missing", rows)}
    return {"updated_ts": changed.when, "ts_quality": changed.quality}


def _find_broken(columns: DraftColumns, margins: Any, times: dict[str, Times]) -> Iterator[Broken]:
    """For each draft that cannot be a row the first thing that is wrong with it."""
    wrong = dict(columns.broken)
    if margins is not None:
        values = pl.Series(margins)
        for place in (values < 0).arg_true().to_list():
            detail = f"the margin is {values[place]}; expected 0 or more"
            wrong.setdefault(place, (RejectReason.RULE_VIOLATION, detail))
    for name, read in times.items():
        for place in (~read.is_read).arg_true().to_list():
            try:
                read_time(columns.times[name][place])
            except RecordRejectedError as error:
                wrong.setdefault(place, (error.reason, error.detail))
    for place, (reason, detail) in wrong.items():
        yield Broken(columns.owners[place], columns.orders.get(place, 0), reason, detail)
