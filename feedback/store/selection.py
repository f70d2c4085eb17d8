"""Some of a store's rows as files: those that came after a version, up to another, without versions that are left out.

rows of every revision ─► store_version in (since, until], not left out ─► Parquet files for `ingest_validated`
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from feedback.ingest import ValidatedFiles
from feedback.stage import counted
from feedback.store.store import Store
from feedback.store.tables import VERSION

__all__ = ["count_since", "select_rows"]


def select_rows(
    store: Store, work: Path, *, since: int = 0, until: int | None = None, exclude: Sequence[int] = ()
) -> ValidatedFiles:
    """The rows of some versions, for who reads them as the stage `ingest` gives its tables.

    Args:
        store: the store.
        work: a folder of the caller's, for the files; they hold text of users.
        since: rows of this version and of those before it are left out.
        until: the last version; null takes the latest.
        exclude: versions that are left out between.

    Raises:
        InputNotFoundError: there is no such version, or its files were cleared up.
        CorruptionError: a file is damaged; it is named.
    """
    last = store.version if until is None else until
    frames = {
        "events": store.events_since(since, last),
        "pairs": store.pairs_since(since, last),
        "quarantine": store.quarantine(last).filter(pl.col(VERSION) > since),
    }
    files: dict[str, tuple[Path, ...]] = {}
    for name, frame in frames.items():
        path = work / f"{name}.parquet"
        frame.filter(~pl.col(VERSION).is_in(list(exclude))).sink_parquet(path, row_group_size=50_000)
        files[name] = (path,)
    whole = store.validated(last)
    left_out = f", without {counted(len(exclude), 'version')} that you leave out" if exclude else ""
    return ValidatedFiles(
        **files,
        sources=whole.sources,
        config={"store": {"id": store.id, "since": since, "until": last, "exclude": sorted(exclude)}},
        notes=(f"Versions {since + 1} to {last} of the store{left_out}; each row is in them once.",),
    )


def count_since(store: Store, since: int, until: int, exclude: Sequence[int] = ()) -> dict[str, int]:
    """How many `events`, `pairs` and rejected records came after a version, every revision counted.

    Args:
        store: the store.
        since: rows of this version and of those before it do not count.
        until: the last version.
        exclude: versions that do not count.
    """
    frames = {
        "events": store.events_since(since, until),
        "pairs": store.pairs_since(since, until),
        "rejected": store.quarantine(until).filter(pl.col(VERSION) > since),
    }
    kept = ~pl.col(VERSION).is_in(list(exclude))
    return {name: int(frame.filter(kept).select(pl.len()).collect().item()) for name, frame in frames.items()}
