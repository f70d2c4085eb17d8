"""A last commit that a crash has torn: set aside, and what it held taken in again from the raw copies.

    torn commit ─► damaged/ ─► of a forget: made again ─► landings whose rows are in no commit ─► taken in ─► *.mended

Only the last commit can be torn by a crash. One before it that cannot be read is corruption, and nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from feedback.store.durable import move_durably, private_folder, remove_durably
from feedback.store.landing import Landing
from feedback.store.log import LAST_CHECKPOINT, Log, read_commit
from feedback.store.opened import OpenedStore
from feedback.store.source_rows import read_source_rows
from feedback.store.take_in import take_in
from feedback.store.torn_forget import forget_again
from schemas.errors import CorruptionError, InputNotFoundError
from schemas.progress import silent

__all__ = ["DAMAGED", "Mended", "mend", "needs_mending", "pending_landings", "refuse_lost_commits", "unmended"]

DAMAGED: Final = "damaged"
"""Where in the store's folder lies what was set aside."""

_UNMENDED: Final = ".json"
_MENDED: Final = ".mended"


@dataclass(frozen=True, slots=True)
class Mended:
    """What was done about torn commits.

    Args:
        set_aside: where the torn commits are now.
        taken_in: raw files that were taken in again.
        rows: rows that came back.
        forgotten: receipt of the `forget` whose commit was made again.
    """

    set_aside: tuple[Path, ...] = ()
    taken_in: tuple[str, ...] = ()
    rows: int = 0
    forgotten: str | None = None


def needs_mending(store: OpenedStore) -> bool:
    """Whether the last commit is torn, or one was set aside and its rows are not back yet.

    Raises:
        CorruptionError: a commit before the last one is missing or empty.
    """
    commits = store.log.commits()
    for path in commits[:-1]:
        if path.stat().st_size == 0:
            raise _lost(path, "it is empty")
    return not commits or _is_torn(commits[-1]) or bool(unmended(store.folder))


def unmended(folder: Path) -> list[Path]:
    """Torn commits that were set aside and whose rows are not back yet.

    Args:
        folder: the store's folder.
    """
    return sorted((folder / DAMAGED).glob(f"commit-*{_UNMENDED}"))


def mend(store: OpenedStore) -> Mended:
    """Set torn commits aside and take their rows in again; nobody else may work on the store meanwhile.

    Raises:
        CorruptionError: a commit before the last one cannot be read, or raw copies are not there any more.
    """
    refuse_lost_commits(store.log)
    while _is_torn(store.log.commits()[-1]):
        _set_aside(store, store.log.commits()[-1])
    aside = unmended(store.folder)
    receipt = forget_again(store)
    taken: list[str] = []
    rows = 0
    for landing in pending_landings(store):
        try:
            summary = take_in(store, [landing], max_rejected_share=1.0, engine=None, progress=silent)
        except InputNotFoundError as error:
            raise CorruptionError(
                "rows of a torn commit cannot be taken in again, since their raw copy is gone",
                where=error.where,
                todo="Take the original files in again: thumbline ingest",
            ) from error
        taken += [copy.name for copy in landing.read]
        rows += summary.new
    for path in aside:
        move_durably(path, path.with_suffix(_MENDED), point="mended")
    mended = tuple(path.with_suffix(_MENDED) for path in aside)
    return Mended(mended, tuple(taken), rows, None if receipt is None else receipt.receipt)


def pending_landings(store: OpenedStore) -> list[Landing]:
    """Landings whose rows are in no commit: they were never acknowledged, or their commit was torn."""
    taken = {one.landing for one in read_source_rows(store.log.files(), store.log.folder)}
    return [landing for landing in store.landings.all() if landing.id not in taken]


def refuse_lost_commits(log: Log) -> None:
    """Read every commit but the last one, and refuse where one cannot be read.

    Raises:
        CorruptionError: there is one, or there is no commit at all.
    """
    commits = log.commits()
    if not commits:
        raise CorruptionError("the log of the store is gone", where=log.log_folder, todo="Restore it from a backup")
    for path in commits[:-1]:
        try:
            read_commit(path)
        except CorruptionError as error:
            raise _lost(path, error.what) from error
    if len(commits) == 1 and _is_torn(commits[0]):
        raise _lost(commits[0], "it made the store")


def _set_aside(store: OpenedStore, path: Path) -> None:
    """Move a torn commit away, and with it what was summed up from it."""
    folder = private_folder(store.folder / DAMAGED)
    number = sum(1 for _ in folder.iterdir())
    version = int(path.stem)
    hint = store.log.log_folder / LAST_CHECKPOINT
    remove_durably(hint, point="checkpoint")
    for checkpoint in store.log.log_folder.glob(f"{version:020}.checkpoint*.parquet"):
        remove_durably(checkpoint, point="checkpoint")
    move_durably(path, folder / f"commit-{version}-{number}{_UNMENDED}", point="aside")


def _is_torn(path: Path) -> bool:
    try:
        read_commit(path)
    except CorruptionError:
        return True
    return False


def _lost(path: Path, why: str) -> CorruptionError:
    return CorruptionError(
        f"a commit of the store that others stand on cannot be read ({why})",
        where=path,
        todo="Restore the file from a backup. Nothing is left out silently: until then the store cannot be used",
    )
