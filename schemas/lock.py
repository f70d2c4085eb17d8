"""One process at a time in a folder: a lock of the operating system, which ends with the process that holds it.

The file says who holds it, for the message of those who find it locked. It stays when the lock is gone: it means
nothing by itself, so a process that was killed leaves nothing to clean up, and no clock decides.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas.errors import LockedError

__all__ = ["folder_lock"]


@contextmanager
def folder_lock(path: Path, *, purpose: str) -> Iterator[None]:
    """A context in which this process alone holds the lock of `path`.

    Args:
        path: the lock's file; it and its folder are made where they are absent.
        purpose: what the lock is held for, as others read it, for example "thumbline retrain".

    Raises:
        LockedError: another process holds it; the message names that process, its host and its purpose.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(
                f"{_holder(path)} is at work here",
                where=path,
                todo="Wait until it has ended; the lock goes with the process, so there is nothing to delete",
            ) from error
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "purpose": purpose}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _holder(path: Path) -> str:
    try:
        known: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return f"{known['purpose']} (process {known['pid']} on {known['host']})"
    except (OSError, ValueError, KeyError, TypeError):  # it has the lock and has not yet said who it is
        return "another process"
