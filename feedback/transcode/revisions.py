"""Of a record with several revisions, the latest: for formats that cannot say which one replaces another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow as pa

from feedback.convert import find_revisions
from feedback.engine import read_rows, write_arrow
from feedback.ingest import IngestResult
from feedback.revision_order import read_revisions
from feedback.transcode.tally import Tally
from schemas.reasons import DropReason

__all__ = ["latest_revisions"]


def latest_revisions(raw: IngestResult, folder: Path, tally: Tally) -> IngestResult:
    """`raw` with the latest revision of every record, and its other ones counted."""
    folder.mkdir()
    kinds = {"event_id": (raw.event_keys, raw.events), "pair_id": (raw.pair_keys, raw.pairs)}
    events, pairs = (
        _without(paths, name, _replaced(keys, tally), folder, tally) for name, (keys, paths) in kinds.items()
    )
    return replace(raw, events=events, pairs=pairs)


def _replaced(keys: Sequence[Path], tally: Tally) -> pl.Series:
    """The ids of rows that a later revision of their record replaces.

    Later is what `feedback.revision_order` says, where one time is missing as if all were; and where that is alike,
    what comes later in the input.

    Args:
        keys: files of keys of events or of pairs, in the order of the input.
        tally: counts the records whose times do not say which is later.
    """
    revisions = find_revisions(keys)
    if revisions.is_empty():
        return pl.Series([], dtype=pl.String)
    tally.unordered += revisions.filter(~pl.col("is_order_known")).height
    several = revisions.select("record_key")
    rows = pl.concat(read_revisions(path).join(several, on="record_key", maintain_order="left") for path in keys)
    is_timed = pl.col("event_ts").is_not_null().all().over("record_key")
    ordered = rows.with_columns(pl.when(is_timed).then("event_ts")).sort("event_ts", "op_rank", maintain_order=True)
    latest = pl.col("text_id").last().over("record_key")
    return ordered.filter(pl.col("text_id") != latest)["text_id"].unique()


def _without(paths: Sequence[Path], id_name: str, replaced: pl.Series, folder: Path, tally: Tally) -> tuple[Path, ...]:
    """Files of a table without the rows of some ids, which are counted."""
    kept: list[Path] = []
    for path in paths:
        is_kept = ~read_rows(path, [id_name]).to_series().is_in(replaced.implode())
        count = int((~is_kept).sum())
        if count:
            tally.drop(DropReason.SUPERSEDED_REVISION, count)
            with pa.memory_map(str(path)) as source:
                table = pa.ipc.open_file(source).read_all().filter(is_kept.to_arrow())
            path = folder / path.name
            write_arrow(table, path)
        kept.append(path)
    return tuple(kept)
