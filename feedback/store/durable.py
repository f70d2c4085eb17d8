"""Files that are on the disk when the call returns, and that nobody but their owner can read.

    bytes ─► NAME.PID-RANDOM.partial ─► fsync ─► rename ─► fsync of the folder

A file is whole under its name or not there; what a crash leaves of it ends in `.partial`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from feedback.store.faults import faultpoint
from feedback.store.partial_names import partial_of
from feedback.store.places import moved, removed, shown
from schemas.errors import ThumblineError

__all__ = [
    "flush_file",
    "flush_folder",
    "move_durably",
    "private_folder",
    "remove_durably",
    "remove_folder_durably",
    "told_errors",
    "write_durably",
    "written_durably",
]

_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700


def private_folder(path: Path) -> Path:
    """The folder `path`, made with its parents where it is not there; only its owner may enter it."""
    if not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True, mode=_FOLDER_MODE)
        path.mkdir(exist_ok=True, mode=_FOLDER_MODE)
        flush_folder(path.parent)
    return path


@contextmanager
def written_durably(path: Path, *, point: str) -> Iterator[BinaryIO]:
    """A stream to write to; the file is at `path`, and on the disk, when the block has ended without an error.

    Args:
        path: where the file will be.
        point: first part of the names of its fault points.
    """
    partial = partial_of(path)
    try:
        faultpoint(f"{point}.write.before", partial)
        with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC, _FILE_MODE), "wb") as stream:
            yield stream
            stream.flush()
            faultpoint(f"{point}.sync.before", partial, unflushed=True)
            os.fsync(stream.fileno())
        move_durably(partial, path, point=point)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def write_durably(path: Path, content: bytes, *, point: str) -> None:
    """Write `content` to `path`, on the disk when the call returns.

    Args:
        path: where the file will be.
        content: its bytes.
        point: first part of the names of its fault points.
    """
    with written_durably(path, point=point) as stream:
        stream.write(content)


def move_durably(path: Path, target: Path, *, point: str) -> None:
    """Rename `path` to `target`, on the disk when the call returns.

    Args:
        path: a file or a folder, flushed before.
        target: its new place, on the same file system.
        point: first part of the names of its fault points.
    """
    faultpoint(f"{point}.rename.before", path)
    path.rename(target)
    faultpoint(f"{point}.rename.after", target)
    flush_folder(target.parent)
    moved(path, target)
    faultpoint(f"{point}.done", target)


def remove_durably(path: Path, *, point: str) -> None:
    """Delete a file, gone from the disk when the call returns; one that is not there is no error.

    Args:
        path: the file.
        point: first part of the names of its fault points.
    """
    faultpoint(f"{point}.remove.before", path)
    path.unlink(missing_ok=True)
    if path.parent.is_dir():
        flush_folder(path.parent)
    removed(path)
    faultpoint(f"{point}.remove.after")


def remove_folder_durably(path: Path, *, point: str) -> None:
    """Delete a folder with all that is in it; one that is not there is no error.

    Args:
        path: the folder.
        point: first part of the names of its fault points.
    """
    faultpoint(f"{point}.remove.before", path)
    shutil.rmtree(path, ignore_errors=True)
    removed(path)
    faultpoint(f"{point}.remove.after")


def flush_file(path: Path) -> None:
    """Make a file's bytes reach the disk, and its owner the only one who can read it."""
    path.chmod(_FILE_MODE)
    _flush(path, os.O_RDONLY)


def flush_folder(path: Path) -> None:
    """Make a folder's entries reach the disk."""
    _flush(path, os.O_RDONLY | os.O_DIRECTORY)


@contextmanager
def told_errors(what: str, where: Path | str) -> Iterator[None]:
    """Turn an error of the system into one of ours, which names the file; of a bucket, where it lies there.

    Args:
        what: what was being done, for example `the store cannot be written`.
        where: named where the system does not say which file it is.

    Raises:
        ThumblineError: there was one.
    """
    try:
        yield
    except OSError as error:
        raise ThumblineError(
            f"{what} ({error.strerror or error})",
            where=shown(error.filename or where),
            todo="Nothing that was acknowledged is lost. Mend the cause and run the same command again",
        ) from error
    except ThumblineError as error:
        error.where = None if error.where is None else shown(error.where)
        error.args = tuple(map(shown, error.args))
        raise


def _flush(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
