"""Folders of working copies of stores in buckets, in one of their process, and cleared up where that was killed.

The process holds the lock of its folder until it ends: one lock, however often stores are opened. A number of a process
would say nothing: those of two containers may be the same.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from schemas.errors import UsageError
from schemas.lock import take_lock

__all__ = ["clear_up", "new_copy"]

_PREFIX: Final = "thumbline-store-"
_OURS: Final[dict[tuple[int, str], Path]] = {}
"""The folder of this process in a folder for temporary files; one that was forked has one of its own."""


def new_copy() -> Path:
    """A new private folder, which no other process clears up before this one ends.

    Raises:
        UsageError: the file system for temporary files has no locks.
    """
    key = (os.getpid(), tempfile.gettempdir())
    if key not in _OURS or not _OURS[key].is_dir():
        _OURS[key] = _new_held()
        atexit.register(_remove, _OURS[key], os.getpid())
    return Path(tempfile.mkdtemp(dir=_OURS[key]))


def _new_held() -> Path:
    """A new folder whose lock this process holds, by a descriptor that nobody closes."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX)).resolve()
        with suppress(FileNotFoundError, BlockingIOError):  # another process has just taken it for an abandoned one
            try:
                held = _held(folder)
            except UsageError:
                folder.rmdir()
                raise
            if folder.is_dir():
                return folder
            os.close(held)


def _remove(folder: Path, process: int) -> None:
    if process == os.getpid():  # what ends may be a child that was forked
        shutil.rmtree(folder, ignore_errors=True)


def clear_up() -> None:
    """Delete the folders of processes that were killed: their locks are free."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        # What is in use, what another process clears up too, and what is not ours.
        with suppress(FileNotFoundError, NotADirectoryError, BlockingIOError, PermissionError):
            held = _held(folder)
            if os.fstat(held).st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)
            os.close(held)


def _held(folder: Path) -> int:
    """A descriptor that holds the lock of a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with ExitStack() as undo:
        undo.callback(os.close, descriptor)
        take_lock(descriptor, folder)
        undo.pop_all()
    return descriptor
