"""The rows of a version of the store, as lazy frames: all revisions, the latest ones, or those that came since.

An edit or a retraction is a revision: another event of the same record. The latest one is told by its time and by
what was done (`feedback.revision_order`), then by its id, never by when it was taken in; so the order of exports does
not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import polars as pl
import pyarrow as pa

from feedback.revision_order import op_rank
from feedback.store.log import DataFile
from feedback.store.parquet import checked
from feedback.store.tables import EVENT, VERSION, file_schema

__all__ = ["Revisions", "latest_revisions", "rows_of_kind", "since"]

Revisions = Literal["latest", "all"]

_RECORD: Final = ("source", "source_record_id")


def rows_of_kind(kind: str, files: Sequence[DataFile], root: Path) -> pl.LazyFrame:
    """The rows of one kind, every revision, in no order that means anything.

    Args:
        kind: their kind.
        files: files of a version.
        root: the table's folder.

    Raises:
        CorruptionError: a file is damaged; it is named.
    """
    paths = checked([file for file in files if file.kind == kind], root)
    if not paths:
        return pl.DataFrame(pa.Table.from_batches([], file_schema(kind))).lazy()
    return pl.scan_parquet(paths, glob=False)


def latest_revisions(rows: pl.LazyFrame, kind: str) -> pl.LazyFrame:
    """The latest revision of each record, without those that were retracted.

    Args:
        rows: every revision.
        kind: `event` or `pair`.
    """
    own = "event_id" if kind == EVENT else "pair_id"
    when = pl.coalesce("updated_ts", "event_ts") if kind == EVENT else pl.col("event_ts")
    order = [when, *([op_rank()] if kind == EVENT else []), pl.col(own)]
    latest = rows.group_by(_RECORD).agg(pl.col(own).sort_by(order, nulls_last=False).last())
    kept = rows.join(latest.select(own), on=own, how="semi")
    return kept.filter(pl.col("op") != "retract") if kind == EVENT else kept


def since(rows: pl.LazyFrame, version: int, until: int | None) -> pl.LazyFrame:
    """Those of the rows that came after a version.

    Args:
        rows: every revision.
        version: the version.
        until: the last version of interest; null has no limit.
    """
    chosen = rows.filter(pl.col(VERSION) > version)
    return chosen if until is None else chosen.filter(pl.col(VERSION) <= until)
