"""The doctor of a store: finds what is wrong with it, heals what can be healed, and explains the rest.

    commits ─► files of the latest version ─► files of versions that datasets need ─► what crashes left behind

A damaged file is made again from the raw copies of the files that its rows came from, and only if they give as many
rows as are missing: never are there fewer rows than before without an error.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from feedback.store.durable import flush_folder, move_durably, private_folder
from feedback.store.faults import faultpoint
from feedback.store.log import DataFile, named_files
from feedback.store.mending import DAMAGED, Mended, mend, needs_mending, pending_landings, refuse_lost_commits
from feedback.store.opened import OpenedStore
from feedback.store.parquet import checked
from feedback.store.partial_names import PARTIAL
from feedback.store.places import fetched, is_remote, listed
from feedback.store.receipts import unfinished_receipts
from feedback.store.registry import Registry
from feedback.store.repair import repair_files
from schemas.errors import CorruptionError, ThumblineError
from schemas.manifest import file_sha256

__all__ = ["DoctorReport", "Finding", "examine"]

_OF_LOG: Final = re.compile(r"[0-9]{20}\.(json|checkpoint.*\.parquet)|_last_checkpoint")
_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Args:
        what: what is wrong, a sentence.
        where: the file or folder.
        done: what was done about it, or is to be done, a sentence.
        is_healed: whether it is well now; what is not is why the exit code is 5.
    """

    what: str
    where: str
    done: str
    is_healed: bool


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """What the doctor found.

    Args:
        version: the latest version, as it is now.
        files: files of it that were checked, byte for byte.
        bytes: their size.
        findings: what was wrong; nothing where all is well.
    """

    version: int
    files: int
    bytes: int
    findings: tuple[Finding, ...]

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong any more."""
        return all(one.is_healed for one in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """JSON values of this report."""
        return {**asdict(self), "findings": [asdict(one) for one in self.findings], "is_well": self.is_well}


def examine(store: OpenedStore) -> DoctorReport:
    """Look at all of a store and heal what can be healed; nobody else may work on it meanwhile.

    Raises:
        CorruptionError: a commit before the last one cannot be read, so that nothing else can be said.
    """
    refuse_lost_commits(store.log)
    findings = list(_mended(mend(store))) if needs_mending(store) else []
    findings += _damaged_copies(store)  # before anything is made again from them
    files = store.log.files()
    findings += _damaged(store, files)
    findings += _unreadable_versions(store)
    if all(one.is_healed for one in findings):  # else what no commit names may be all that is left of something
        findings += _left_behind(store)
    findings += _open_to_others(store)
    findings += _unfinished(store)
    files = store.log.files()
    return DoctorReport(store.log.version(), len(files), sum(file.bytes for file in files), tuple(findings))


def _mended(mended: Mended) -> Iterator[Finding]:
    for path in mended.set_aside:
        done = f"It was set aside, and {mended.rows:,} rows came back from {len(mended.taken_in)} raw files."
        if mended.forgotten is not None:
            done += f" The forgetting of receipt {mended.forgotten} was committed again."
        yield Finding("The last commit was torn.", str(path), done, True)


def _damaged(store: OpenedStore, files: Sequence[DataFile]) -> list[Finding]:
    bad = {file: problem for file in files if (problem := _problem(file, store.table)) is not None}
    if not bad:
        return []
    try:
        repair_files(store, list(bad))
    except ThumblineError as error:
        done = f"It cannot be made again ({error.what}). Restore it from a backup"
        return [Finding(problem, str(store.table / file.path), f"{done}.", False) for file, problem in bad.items()]
    done = "Its rows were made again from the raw copies."
    return [Finding(problem, str(store.table / file.path), done, True) for file, problem in bad.items()]


def _problem(file: DataFile, root: Path) -> str | None:
    try:
        checked([file], root)
    except CorruptionError as error:
        return f"{_begun(error.what)}."
    return None


def _begun(what: str) -> str:
    """As the beginning of a sentence."""
    return what[:1].upper() + what[1:]


def _damaged_copies(store: OpenedStore) -> Iterator[Finding]:
    """Raw copies that are not what came: no row is lost by it, but none could be made again from them."""
    copies = dict.fromkeys(copy for one in store.landings.all() for copy in (*one.read, *one.other))
    for copy in copies:
        try:
            path, wanted = fetched(store.landings.path(copy)), store.landings.kept_sha256(copy)
        except CorruptionError as error:
            yield Finding(f"{_begun(error.what)}.", str(error.where), "Restore it from a backup.", False)
            continue
        if wanted is None or (path.is_file() and file_sha256(path) == wanted):
            continue
        if path.is_file():
            move_durably(path, private_folder(store.folder / DAMAGED) / f"raw-{copy.sha256}", point="aside")
        yield Finding(
            "A raw copy is missing, or holds other bytes than came.",
            str(path),
            "No row is lost. To have a copy again, take the same file in once more.",
            True,
        )


def _unreadable_versions(store: OpenedStore) -> Iterator[Finding]:
    """Versions behind datasets of which a file is missing: of no consequence for what is in the store now."""
    there = set(listed(store.table, "kind=*/*"))
    for version in sorted(Registry(store.folder).pinned()):
        if version > store.log.version():
            continue
        missing = [file.path for file in store.log.files(version) if store.table / file.path not in there]
        if missing:
            yield Finding(
                f"Version {version}, which a dataset was made of, cannot be read any more.",
                str(store.table / missing[0]),
                "Somebody in it was forgotten since, or its files were removed; later versions are whole.",
                True,
            )


def _left_behind(store: OpenedStore) -> Iterator[Finding]:
    """What a crash left: files that no commit names, things half made, landings that nobody was told of."""
    if is_remote(store.folder):
        yield from _begun_elsewhere(store)
        return
    named = named_files(store.log)
    orphans = [path for path in store.table.glob("kind=*/*") if path.relative_to(store.table).as_posix() not in named]
    strays = [path for path in store.log.log_folder.iterdir() if not _OF_LOG.fullmatch(path.name)]
    halves = [
        *strays,
        *store.folder.glob("staging/*"),
        *store.folder.glob("raw/incoming-*"),
        *store.folder.rglob(f"*{PARTIAL}"),
    ]
    for path, what in [
        *((path, "A file belongs to no commit.") for path in orphans),
        *((path, "Something half made was left behind.") for path in halves),
    ]:
        faultpoint("doctor.remove.before", path)
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        yield Finding(what, str(path), "It was removed.", True)
    for landing in pending_landings(store):
        store.landings.drop([landing])
        yield Finding(
            "A raw file was copied, and its ingest never ended.",
            ", ".join(copy.name for copy in landing.read),
            "The copy was removed; run the same ingest again.",
            True,
        )
    flush_folder(store.folder)


def _begun_elsewhere(store: OpenedStore) -> Iterator[Finding]:
    """What a crash left in a bucket, or what another machine is about to finish: nobody can tell, so it stays."""
    named = {store.table / name for name in named_files(store.log)}
    for path in listed(store.table, "kind=*/*"):
        if path not in named:
            yield Finding("A file belongs to no commit.", str(path), "Clear it up with --vacuum HOURS.", True)
    for landing in pending_landings(store):
        yield Finding(
            "A raw file was copied, and its ingest has not ended.",
            ", ".join(copy.name for copy in landing.read),
            "Nothing, as it may be running on another machine; run the same ingest again if it is not.",
            True,
        )


def _unfinished(store: OpenedStore) -> Iterator[Finding]:
    for receipt in unfinished_receipts(store.folder):
        yield Finding(
            "Somebody was to be forgotten, and the call was broken off.",
            f"forgotten/{receipt}.json",
            "Make the same call of thumbline forget again; only its caller knows the id.",
            False,
        )


def _open_to_others(store: OpenedStore) -> Iterator[Finding]:
    for path in () if is_remote(store.folder) else (store.folder, *store.folder.rglob("*")):
        wanted = _FOLDER_MODE if path.is_dir() else _FILE_MODE
        if path.stat().st_mode & 0o777 != wanted:
            path.chmod(wanted)
            yield Finding("Others could get at it.", str(path), f"Its mode is {wanted:o} now.", True)
