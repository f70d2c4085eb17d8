"""Raw files into the store, each row once.

    raw files ─► landings ─► known already ───────────────────────────────► counted
                    └──────► ingest ─► rows that are new ─► Parquet ─► commit ─► acknowledged
                                              ▲                          │
                                              └── another writer was first

What is new is found by the ids alone: those that came are looked for in the id columns of the store, and the rest is
appended blindly.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from feedback.engine import Engine
from feedback.ingest import IngestResult, ingest
from feedback.store.durable import private_folder, remove_durably
from feedback.store.landing import Landing
from feedback.store.log import CommitConflictError, DataFile, Log
from feedback.store.new_rows import NewRows
from feedback.store.opened import OpenedStore
from feedback.store.raw_erasure import erase_raw
from feedback.store.source_rows import TakenFile, read_source_rows
from feedback.store.summary import IngestSummary
from feedback.store.tombstones import read_tombstones
from schemas.errors import DataGateError, InputError, ThumblineError
from schemas.progress import Progress

__all__ = ["read_landings", "staging_folder", "take_in"]

_MOST_ATTEMPTS: Final = 100
"""Writers that may come first, one after the other, before this one gives up; each time one of them gets through."""


def take_in(
    store: OpenedStore,
    landings: Sequence[Landing],
    *,
    max_rejected_share: float,
    engine: Engine | None,
    progress: Progress,
) -> IngestSummary:
    """Take landings in; those that are in the store already are only counted.

    Args:
        store: the store.
        landings: what is to be in it.
        max_rejected_share: largest share of records that may go to quarantine, in [0, 1].
        engine: who reads the files; None takes all cores of this machine.
        progress: told about the bytes read.

    Raises:
        TooManyRejectedError: more records went to quarantine than allowed; the landings are removed.
        InputError: a file is not in its format; likewise.
        CorruptionError: a file of the store is damaged.
        ThumblineError: the disk is full, or others wrote all the time.
    """
    before = store.log.version()
    wanted = {landing.id: landing for landing in landings}
    taken = read_source_rows(store.log.files(before), store.log.folder)
    known = [one for one in taken if one.landing in wanted]
    here = {one.landing for one in known}
    new = [landing for landing in wanted.values() if landing.id not in here]
    if not new:
        return IngestSummary.of_known(known, before)
    with staging_folder(store.folder) as staging:
        try:
            result, read = read_landings(
                store, new, staging, max_rejected_share=max_rejected_share, engine=engine, progress=progress
            )
        except (DataGateError, InputError):
            # Another call, which allowed more, may have taken the same file in meanwhile.
            here = {one.landing for one in read_source_rows(store.log.files(), store.log.folder)}
            store.landings.drop([landing for landing in new if landing.id not in here])
            raise
        rows = NewRows(result, store.log.folder, staging)
        return _commit(store, rows, read, known, result)


@contextmanager
def staging_folder(folder: Path) -> Iterator[Path]:
    """A folder for what is being made; it is removed behind the block, and by the doctor where that was not reached."""
    work = private_folder(folder / "staging" / f"{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def read_landings(
    store: OpenedStore,
    landings: Sequence[Landing],
    work: Path,
    *,
    max_rejected_share: float,
    engine: Engine | None,
    progress: Progress,
) -> tuple[IngestResult, list[tuple[Landing, TakenFile]]]:
    """The tables of landings, in a folder, and what became of each of their files.

    Args:
        store: the store.
        landings: what to read.
        work: the folder.
        max_rejected_share: largest share of records that may go to quarantine, in [0, 1].
        engine: who reads; None takes all cores of this machine.
        progress: told about the bytes read.

    Raises:
        TooManyRejectedError: more records went to quarantine than allowed.
        InputError: a file is not in its format, or its copy is not there any more.
    """
    sources = [config for landing in landings for config in store.landings.config(landing, work)]
    result = ingest(
        sources,
        work / "tables",
        max_rejected_share=max_rejected_share,
        key=store.key,
        with_keys=False,
        engine=engine,
        progress=progress,
    )
    owners = [landing for landing in landings for _ in landing.read]
    files = result.source_files[: len(owners)]
    return result, [
        (landing, TakenFile(landing.id, file, counts))
        for landing, file, counts in zip(owners, files, result.counts, strict=True)
    ]


def _commit(
    store: OpenedStore,
    rows: NewRows,
    read: Sequence[tuple[Landing, TakenFile]],
    known: Sequence[TakenFile],
    result: IngestResult,
) -> IngestSummary:
    log = store.log
    for _ in range(_MOST_ATTEMPTS):
        version = log.version()
        files = log.files(version)
        here = {one.landing for one in read_source_rows(files, log.folder)}
        still = [(landing, one) for landing, one in read if landing.id not in here]
        forgotten = read_tombstones(files, log.folder, store.key)
        chosen = rows.choose(files, forgotten)
        if not still and not chosen.has_any:
            return IngestSummary.of_read(read, known, chosen, result, version, version)
        if forgotten:
            # Before the commit, after which nobody would look at the copies again.
            erase_raw(store.landings, [landing for landing, _ in read], forgotten, raw=chosen.erased)
        added = rows.write(chosen, still, version + 1)
        try:
            log.commit(version + 1, added, operation="ingest", about={"counts": chosen.to_dict()})
        except CommitConflictError:
            _remove_unused(added, log)
            continue
        return IngestSummary.of_read(read, known, chosen, result, version, version + 1)
    raise ThumblineError(
        f"others wrote to the store {_MOST_ATTEMPTS} times while this call tried to",
        where=store.folder,
        todo="Run the same command again when less is going on",
    )


def _remove_unused(files: Sequence[DataFile], log: Log) -> None:
    """Remove files that were written in vain; one that another writer wrote too, byte for byte, may be in use."""
    used = {file.path for file in log.files()}
    for file in files:
        if file.path not in used:
            remove_durably(log.folder / file.path, point="unused")
