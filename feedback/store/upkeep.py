"""Fewer and larger files, and none that no version needs.

optimize   small files of a kind ─► one file; a version of its own, with the same rows
vacuum     files that neither the latest version nor that of a dataset has, and that were replaced long ago ─► gone
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from feedback.store.durable import remove_durably
from feedback.store.log import DataFile, named_files, read_commit
from feedback.store.opened import OpenedStore
from feedback.store.parquet import checked, write_rows
from feedback.store.places import abandoned, listed
from feedback.store.registry import Registry
from feedback.store.take_in import staging_folder

__all__ = ["Vacuumed", "optimize_store", "vacuum_store"]

_SMALL: Final = 64 << 20
_FULL: Final = 256 << 20
_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """What was cleared up.

    Args:
        files: files deleted.
        bytes: their size.
        kept_versions: versions that can still be read, as the latest one or because a dataset was made of them.
    """

    files: int
    bytes: int
    kept_versions: tuple[int, ...]


def optimize_store(store: OpenedStore) -> int:
    """Put the rows of small files together; how many files became fewer.

    Args:
        store: the store; nobody else may work on it meanwhile.

    Raises:
        CorruptionError: a file is damaged.
    """
    version = store.log.version()
    small = [file for file in store.log.files(version) if file.bytes < _SMALL]
    groups = [group for kind in sorted({file.kind for file in small}) for group in _groups(small, kind)]
    if not groups:
        return 0
    with staging_folder(store.folder) as staging:
        added = [
            write_rows(group[0].kind, _rows(checked(group, store.table)), store.table, staging, version + 1)
            for group in groups
        ]
        removed = [file for group in groups for file in group]
        store.log.commit(version + 1, added, removed, operation="optimize", about={}, changes_data=False)
    return len(removed) - len(added)


def vacuum_store(store: OpenedStore, retention_hours: float) -> Vacuumed:
    """Delete files that no version needs which can still be asked for.

    Args:
        store: the store; nobody else may work on it meanwhile.
        retention_hours: files that were replaced less long ago stay, for who reads them still; at least 0.
    """
    latest = store.log.version()
    versions = sorted({latest, *(one for one in Registry(store.folder).pinned() if one <= latest)})
    needed = {file.path for version in versions for file in store.log.files(version)}
    limit = time.time() * 1000 - retention_hours * _HOUR_MS
    there = set(listed(store.table, "kind=*/*"))
    count = size = 0
    for name, size_of_file in sorted(_replaced_before(store, limit).items()):
        path = store.table / name
        if name not in needed and path in there:
            remove_durably(path, point="vacuum")
            size += size_of_file
            count += 1
    count += _clear_abandoned(store, limit)
    return Vacuumed(count, size, tuple(versions))


def _clear_abandoned(store: OpenedStore, limit: float) -> int:
    """Delete files of a bucket that no commit names and that nobody can be about to name any more; how many."""
    named = {store.table / name for name in named_files(store.log)}
    lost = [path for path in abandoned(store.table, "kind=*/*", limit) if path not in named]
    for path in lost:
        remove_durably(path, point="vacuum")
    return len(lost)


def _groups(files: Sequence[DataFile], kind: str) -> Iterator[list[DataFile]]:
    """Small files of a kind, as many as one file holds; the oldest rows first."""
    group: list[DataFile] = []
    own = (file for file in files if file.kind == kind)
    for file in sorted(own, key=lambda one: (one.first_version, one.path)):
        if sum(one.bytes for one in group) + file.bytes > _FULL:
            if len(group) > 1:
                yield group
            group = []
        group.append(file)
    if len(group) > 1:
        yield group


def _rows(paths: Sequence[Path]) -> Iterator[pa.Table]:
    for path in paths:
        with pq.ParquetFile(path) as opened:
            for group in range(opened.num_row_groups):
                yield opened.read_row_group(group)


def _replaced_before(store: OpenedStore, limit: float) -> dict[str, int]:
    """The files that a commit took out before a time, in milliseconds, and their sizes."""
    found: dict[str, int] = {}
    for path in store.log.commits():
        for action in read_commit(path):
            if "remove" in action and action["remove"]["deletionTimestamp"] <= limit:
                found[action["remove"]["path"]] = action["remove"]["size"]
    return found
