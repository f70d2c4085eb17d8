"""Some of a store's rows as files: those that came after a version, up to another, without versions that are left out.

rows of every revision ─► store_version in (since, until], not left out ─► Parquet files for `ingest_validated`
                                            or a vote that is taken back

To leave a version out never gives back what somebody took back in it: whoever retracts a vote does so for good.
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
    store: Store,
    work: Path,
    *,
    since: int = 0,
    until: int | None = None,
    exclude: Sequence[int] = (),
    at: int | None = None,
) -> ValidatedFiles:
    """The rows of some versions, for who reads them as the stage `ingest` gives its tables.

    Args:
        store: the store.
        work: a folder of the caller's, for the files; they hold text of users.
        since: rows of this version and of those before it are left out.
        until: the last version; null takes the latest.
        exclude: versions that are left out between, all but the votes that were taken back in them.
        at: the version whose rows these are; null takes `until`. A later one knows who was forgotten since.

    Raises:
        InputNotFoundError: there is no such version, or its files were cleared up.
        CorruptionError: a file is damaged; it is named.
    """
    last = store.version if until is None else until
    read = last if at is None else at
    files: dict[str, tuple[Path, ...]] = {}
    for name, frame in _frames(store, since, last, exclude, read, with_retractions=True).items():
        path = work / f"{name}.parquet"
        frame.sink_parquet(path, row_group_size=50_000)
        files[name] = (path,)
    whole = store.validated(read)
    out = f", without {counted(len(exclude), 'version')} that you leave out, but with the votes taken back there"
    return ValidatedFiles(
        **files,
        sources=whole.sources,
        config={"store": {"id": store.id, "since": since, "until": last, "exclude": sorted(exclude)}},
        notes=(f"Versions {since + 1} to {last} of the store{out if exclude else ''}; each row is in them once.",),
    )


def count_since(
    store: Store, since: int, until: int, exclude: Sequence[int] = (), *, at: int | None = None
) -> dict[str, int]:
    """How many `events`, `pairs` and records in `quarantine` came after a version, every revision counted.

    Args:
        store: the store.
        since: rows of this version and of those before it do not count.
        until: the last version.
        exclude: versions that do not count.
        at: as in `select_rows`.
    """
    frames = _frames(store, since, until, exclude, until if at is None else at)
    return {name: int(frame.select(pl.len()).collect().item()) for name, frame in frames.items()}


def _frames(
    store: Store, since: int, until: int, exclude: Sequence[int], at: int, *, with_retractions: bool = False
) -> dict[str, pl.LazyFrame]:
    """The rows of each kind that came in some versions, as they are in the version `at`."""
    version = pl.col(VERSION)
    came, is_wanted = (version > since) & (version <= until), ~version.is_in(list(exclude))
    of_events = is_wanted | (pl.col("op") == "retract") if with_retractions else is_wanted
    return {
        "events": store.events(at, revisions="all").filter(came & of_events),
        "pairs": store.pairs(at, revisions="all").filter(came & is_wanted),
        "quarantine": store.quarantine(at).filter(came & is_wanted),
    }
