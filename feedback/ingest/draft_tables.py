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

from feedback.ingest.arrow_columns import as_field, one_chunk, repeated
from feedback.ingest.draft_columns import DraftColumns, DraftKind
from feedback.ingest.event_time import read_time
from feedback.ingest.plain.times import Times, read_any_times
from feedback.ingest.rater_key import rater_keys
from feedback.ingest.row_ids import IDS, row_ids
from feedback.ingest.turn_hashes import list_hashes
from schemas.errors import RecordRejectedError
from schemas.reasons import RejectReason

__all__ = ["Broken", "DraftTable", "Row", "draft_table", "rows_to_table", "told_table"]

Row = tuple[Any, ...]
"""Values in the order of an Arrow schema."""

_MARGIN: Final = "margin"


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


def draft_table(
    columns: DraftColumns, source: str, digests: pl.Series, key: bytes, known: pl.Series | None = None
) -> DraftTable:
    """The table of all drafts of one kind in a block.

    Args:
        columns: the drafts.
        source: name of the source.
        digests: the sha256 of the bytes of each record of the block, hex digits. [R] string.
        key: key for user ids.
        known: what each record is known by that has no id, see `told_table`. [R] string.
    """
    schema = columns.kind.schema
    owners = np.array(columns.owners, dtype=np.int64)
    rows = len(owners)
    if not rows:
        return DraftTable(rows_to_table((), schema), owners, ())
    columns_told = columns.table()
    told = {name: one_chunk(columns_told.column(name)) for name in columns_told.column_names}
    times = {name: read_any_times(values) for name, values in columns.times.items()}
    which = pl.Series(owners)
    known = None if known is None else known.gather(which)
    table = told_table(columns.kind, told, times, digests.gather(which), source, key, columns.repeats, known)
    return DraftTable(table, owners, tuple(_find_broken(columns, told.get(_MARGIN), times)))


def told_table(
    kind: DraftKind,
    told: Mapping[str, pa.Array | pl.Series],
    times: Mapping[str, Times],
    digests: pl.Series,
    source: str,
    key: bytes,
    repeats: Mapping[int, int] | None = None,
    known: pl.Series | None = None,
) -> pa.Table:
    """Rows of what is told of each.

    Args:
        kind: events or pairs.
        told: the columns that are copied, one that is not there being null; the turns, and their hashes where
            they are known already; `record_id` and `rater` as they came. [N].
        times: what the fields with times say; one that is not there is missing.
        digests: the sha256 of the bytes of each one's record, hex digits. [N] string.
        source: name of the source.
        key: key for user ids.
        repeats: how many rows of the same record with the same id stand before one, by its place.
        known: what the records are known by that have no id, a sha256 in hex digits; None takes their digests. [N]
            string.
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
    columns = {
        field.name: as_field(made.get(field.name), field, rows) for field in kind.schema if field.name not in IDS
    }
    ids = row_ids(kind, columns, record_ids, digests, source, known=known, repeats=repeats)
    arrays = [
        columns[field.name] if field.name in columns else as_field(ids[field.name], field, rows)
        for field in kind.schema
    ]
    return pa.Table.from_arrays(arrays, schema=kind.schema)


def rows_to_table(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """A table of `schema` from rows in its order."""
    if not rows:
        return pa.Table.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)
    columns = list(zip(*rows, strict=True))
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


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
