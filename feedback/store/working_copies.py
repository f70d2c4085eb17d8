"""Folders of working copies of stores in buckets: each is its process's own, and cleared up where that was killed.

The process holds the lock of its folder until it ends. A number of a process would say nothing: those of two containers
may be the same.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from schemas.lock import take_lock

__all__ = ["clear_up", "new_copy"]

_PREFIX: Final = "thumbline-store-"
_HELD: Final[list[int]] = []
"""Descriptors of this process's folders, open until it ends."""


def new_copy() -> Path:
    """A new private folder, which no other process clears up before this one ends.

    Raises:
        UsageError: the file system for temporary files has no locks.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX)).resolve()
        with suppress(FileNotFoundError, BlockingIOError):  # another process has just taken it for an abandoned one
            held = _held(folder)
            if folder.is_dir():
                _HELD.append(held)
                return folder
            os.close(held)


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
