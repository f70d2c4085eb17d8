"""One process at a time in a folder: a lock of the operating system, which ends with the process that holds it.

The file says who holds it, for the message of those who find it locked. It stays when the lock is gone: it means
nothing by itself, so a process that was killed leaves nothing to clean up, and no clock decides. A holder may delete it
before it lets go: who came for that very file then takes the lock of a new one.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from schemas.errors import LockedError, UsageError
from schemas.paths import beside, output_place

__all__ = ["folder_lock", "lock_of_output", "locked_output", "take_lock"]

_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})
"""What file systems say that know no `flock`: some of networks, some of user space."""


@contextmanager
def folder_lock(path: Path, *, purpose: str, mode: int = 0o600) -> Iterator[None]:
    """A context in which this process alone holds the lock of `path`.

    Args:
        path: the lock's file; it and its folder are made where they are absent.
        purpose: what the lock is held for, as others read it, for example "thumbline retrain".
        mode: who may read and take the file, less what the umask takes away.

    Raises:
        LockedError: another process holds it; the message names that process, its host and its purpose.
        UsageError: the file system has no such locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    while (descriptor := _locked(path, mode)) is None:
        pass
    try:
        if _is_writable(descriptor):
            holder = {"pid": os.getpid(), "host": socket.gethostname(), "purpose": purpose}
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def locked_output(out: Path) -> Iterator[None]:
    """A context in which this run alone writes what will be at `out`, a file or a folder; the lock lies beside it.

    Raises:
        LockedError: another run writes it; the message names its process.
        UsageError: nothing can be written there, or the file system has no such locks.
    """
    lock = lock_of_output(output_place(out))
    lock.parent.mkdir(parents=True, exist_ok=True)
    with folder_lock(lock, purpose="a run that writes this output", mode=0o666):
        try:
            yield
        finally:
            with suppress(PermissionError):  # somebody else's, in a folder where each deletes but his own
                lock.unlink(missing_ok=True)


def lock_of_output(out: Path) -> Path:
    """The file of the lock of `locked_output`; a run that was killed leaves it, and it holds nobody up."""
    return beside(out.resolve(), ".", ".partial-lock")


def take_lock(descriptor: int, path: Path, *, shared: bool = False) -> None:
    """Take the system's lock of an open file; it is not waited for, and goes when the file is closed.

    Args:
        descriptor: the file.
        path: where it lies, for the message.
        shared: whether others may hold it as well who share it.

    Raises:
        BlockingIOError: somebody else holds it.
        UsageError: the file system has no such locks.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise UsageError(
            f"the file system has no locks ({error.strerror}), so two processes could spoil each other's work",
            where=path.parent,
            todo="Put the folder on a local disk",
        ) from error


def _locked(path: Path, mode: int) -> int | None:
    """A descriptor that holds the lock of the file at `path`; None where that was deleted meanwhile."""
    descriptor = _opened(path, mode)
    is_held = False
    try:
        take_lock(descriptor, path)
        is_held = _is_at(path, descriptor)
        if is_held and not _is_writable(descriptor):
            with suppress(PermissionError):  # it names who was killed: one of our own says who we are
                path.unlink(missing_ok=True)
                is_held = False
    except BlockingIOError as error:
        raise LockedError(
            f"{_holder(path)} is at work here",
            where=path,
            todo="Wait until it has ended; the lock goes with the process, so there is nothing to delete",
        ) from error
    finally:
        if not is_held:
            os.close(descriptor)
    return descriptor if is_held else None


def _opened(path: Path, mode: int) -> int:
    """A descriptor of the lock; that of another user, whose killed run left it, can be read only, and locked so too."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
    except PermissionError as error:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            raise error from None


def _is_writable(descriptor: int) -> bool:
    return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        known: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return f"{known['purpose']} (process {known['pid']} on {known['host']})"
    except (OSError, ValueError, KeyError, TypeError):  # it has the lock and has not yet said who it is
        return "another process"
