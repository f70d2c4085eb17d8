"""Damaged files of the store, made again from the raw copies of the files that their rows came from.

damaged files ─► versions that brought their rows ─► landings of these ─► ingest ─► rows that no sound file has
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from feedback.store.durable import move_durably, private_folder
from feedback.store.landing import Landing
from feedback.store.log import DataFile
from feedback.store.mending import DAMAGED
from feedback.store.new_rows import NewRows
from feedback.store.opened import OpenedStore
from feedback.store.places import fetched
from feedback.store.source_rows import read_source_rows
from feedback.store.tables import SOURCE, TOMBSTONE
from feedback.store.take_in import read_landings, staging_folder
from feedback.store.tombstones import read_tombstones
from schemas.errors import CorruptionError
from schemas.progress import silent

__all__ = ["repair_files"]


def repair_files(store: OpenedStore, damaged: Sequence[DataFile]) -> None:
    """Put files with the same rows in the place of damaged ones, in one commit; the damaged ones are set aside.

    Args:
        store: the store; nobody else may work on it meanwhile.
        damaged: files of its latest version.

    Raises:
        CorruptionError: the raw copies do not give the rows that are missing; the store is as it was.
        InputNotFoundError: a raw copy is not there any more; likewise.
    """
    if any(file.kind == TOMBSTONE for file in damaged):
        raise CorruptionError("it says who was forgotten, which no raw file does", where=store.table)
    version = store.log.version()
    lost = {file.path for file in damaged}
    sound = [file for file in store.log.files(version) if file.path not in lost]
    with ExitStack() as undo, staging_folder(store.folder) as staging:
        for file in damaged:
            _set_aside(store, file, undo)
        added = list(_made_again(store, damaged, sound, staging))
        if _rows(added) != _rows(damaged):
            raise CorruptionError(
                f"the raw copies give {_told(_rows(added))} where {_told(_rows(damaged))} are missing",
                where=store.table,
            )
        made = {file.path for file in added}
        new = [file for file in added if file.path not in lost]
        removed = [file for file in damaged if file.path not in made]
        if new or removed:
            about = {"replaced": [file.path for file in removed]}
            store.log.commit(version + 1, new, removed, operation="repair", about=about, changes_data=False)
        undo.pop_all()


def _made_again(
    store: OpenedStore, damaged: Sequence[DataFile], sound: Sequence[DataFile], staging: Path
) -> Iterator[DataFile]:
    """Files of the rows that are in no sound file, version by version."""
    here = list(sound)
    forgotten = read_tombstones(here, store.table, store.key)
    for version, landings in sorted(_landings(store, damaged, sound).items()):
        work = staging / str(version)
        work.mkdir()
        result, taken = read_landings(store, landings, work, max_rejected_share=1.0, engine=None, progress=silent)
        rows = NewRows(result, store.table, work)
        lacking = [one for one in taken if any(file.kind == SOURCE for file in damaged)]
        made = rows.write(rows.choose(here, forgotten), lacking, version)
        here += made
        yield from made


def _landings(store: OpenedStore, damaged: Sequence[DataFile], sound: Sequence[DataFile]) -> dict[int, list[Landing]]:
    """The landings whose rows may have been in the damaged files, by the version that brought them."""
    wanted = {version for file in damaged for version in range(file.first_version, file.last_version + 1)}
    known = {one.landing: one.version for one in read_source_rows(sound, store.table)}
    lost_notes = [file for file in damaged if file.kind == SOURCE]
    found: dict[int, list[Landing]] = {}
    for landing in store.landings.all():
        # A landing without a note is one whose note was in a damaged file.
        version = known.get(landing.id, lost_notes[0].first_version if lost_notes else 0)
        if version in wanted:
            found.setdefault(version, []).append(landing)
    return found


def _set_aside(store: OpenedStore, file: DataFile, undo: ExitStack) -> None:
    path = store.table / file.path
    if not fetched(path).is_file():
        return
    aside = private_folder(store.folder / DAMAGED) / f"{file.kind}-{path.name}"
    move_durably(path, aside, point="aside")
    undo.callback(move_durably, aside, path, point="aside.undo")


def _rows(files: Iterable[DataFile]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for file in files:
        counts[file.kind] += file.rows
    return counts


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} rows of kind {kind!r}" for kind, count in sorted(counts.items())) or "no rows"
