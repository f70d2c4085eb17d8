"""Who works on a store: many may take files in or read, one alone may forget, clear up or heal.

The lock is one of the system (`flock`), so it is gone when its holder is, however it ended; no clock decides. Beside it
every holder leaves a note of what it does, so that whoever is refused is told whom to wait for.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from feedback.store.durable import private_folder
from schemas.errors import LockedError
from schemas.lock import take_lock

__all__ = ["store_lock"]

_LOCK: Final = "lock"
_HOLDERS: Final = "holders"


@contextmanager
def store_lock(folder: Path, operation: str, *, exclusive: bool) -> Iterator[None]:
    """Hold the lock of a store while the block runs; it is not waited for.

    Args:
        folder: the store's folder.
        operation: what is done, for the note.
        exclusive: whether nobody else may hold it.

    Raises:
        LockedError: somebody else holds it; the message names who.
        UsageError: the file system has no locks.
    """
    handle, is_writable = _opened(folder / _LOCK, exclusive=exclusive)
    try:
        try:
            take_lock(handle, folder / _LOCK, shared=not exclusive)
        except BlockingIOError as error:
            raise LockedError(
                f"the store is locked by {', '.join(_holders(folder)) or 'another process'}",
                where=folder,
                todo="Wait until that has ended and run the same command again",
            ) from error
        with _noted(folder, operation) if is_writable else nullcontext():
            yield
    finally:
        os.close(handle)


def _opened(path: Path, *, exclusive: bool) -> tuple[int, bool]:
    """The lock's file, and whether a note can be left beside it: who only reads may do so where nobody can write."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600), True
    except OSError as error:
        if exclusive or error.errno != errno.EROFS:
            raise
        return os.open(path, os.O_RDONLY), False


@contextmanager
def _noted(folder: Path, operation: str) -> Iterator[None]:
    note = private_folder(folder / _HOLDERS) / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.json"
    held = {
        "operation": operation,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    handle = os.open(note, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        # A note is worth something only as long as its writer holds it.
        fcntl.flock(handle, fcntl.LOCK_EX)
        os.write(handle, json.dumps(held).encode())
        yield
    finally:
        note.unlink(missing_ok=True)
        os.close(handle)


def _holders(folder: Path) -> list[str]:
    """What those say who hold the lock now; notes that a crash left behind are removed."""
    found = []
    for path in sorted((folder / _HOLDERS).glob("*.json")):
        try:
            handle = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            found.append(_told(path))
        finally:
            os.close(handle)
    return found


def _told(path: Path) -> str:
    try:
        held = json.loads(path.read_text("utf-8"))
        return f"{held['operation']} (process {held['pid']} on {held['host']}, since {held['since']})"
    except (OSError, ValueError, KeyError):
        return "a process that has not said yet what it does"
