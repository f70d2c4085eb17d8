"""sha256 of files, taken while a command still loads its libraries and a core has nothing to do.

    begin_digests ─► a thread hashes file after file
                                   │
    file opened ─► digest_begun ───┴─► file read to its end ─► Digest.of: its digest, or None

A digest stands for what a reader read only if the file was the same all the time: by size, inode and times, as they
were before it was hashed, behind that, and behind the reader. A file that changed a moment ago is left out, since its
times could stay the same when it changes again; so is a large one, which would be read from the disk twice.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

__all__ = ["Digest", "begin_digests", "digest_begun", "give_digest"]

_MOST_BYTES: Final = 1 << 30
"""All files together: what a system keeps in memory between one reader and the next."""
_CHUNK: Final = 1 << 25
"""Large, since for each chunk the thread waits for Python's lock, which imports hold."""
_QUIET_S: Final = 2.0

_Identity = tuple[int, int, int, int, int]
_BEGUN: dict[tuple[int, int], Digest] = {}


class Digest:
    """The digest of one file, of which it is not known yet whether it will be of use.

    Args:
        path: the file.
        identity: what it was when it was found.
    """

    def __init__(self, path: Path, identity: _Identity) -> None:
        self._path = path
        self._identity = identity
        self._sha256: str | None = None
        self._is_done = threading.Event()

    def take(self, buffer: memoryview) -> None:
        """Hash the file, through a buffer; what goes wrong makes no digest, and the reader will say it."""
        try:
            hashed = hashlib.sha256()
            with self._path.open("rb", buffering=0) as stream:
                while count := stream.readinto(buffer):
                    hashed.update(buffer[:count])
                if _identity_of(stream) == self._identity:
                    self._sha256 = hashed.hexdigest()
        except OSError:
            pass
        finally:
            self._is_done.set()

    def settle(self, sha256: str) -> None:
        """Take a digest that is known already."""
        self._sha256 = sha256
        self._is_done.set()

    def of(self, stream: BinaryIO, count: int) -> str | None:
        """sha256 of what was read, 64 hex digits, or None where the digest may be of something else; waits for it.

        Args:
            stream: the file as its reader has it, still open.
            count: bytes that the reader read.
        """
        self._is_done.wait()
        identity = _identity_of(stream)
        return self._sha256 if identity == self._identity and count == identity[2] else None


def begin_digests(paths: Iterable[str | Path]) -> None:
    """Begin to hash files in a thread; whatever is no plain file that lies still is left out.

    Args:
        paths: in the order in which they will be read.
    """
    begun = []
    left = _MOST_BYTES
    for path in map(Path, paths):
        try:
            found = path.stat()
        except OSError:
            continue
        left -= found.st_size
        if not stat.S_ISREG(found.st_mode) or left < 0 or abs(time.time() - found.st_ctime) < _QUIET_S:
            continue
        identity = _identity(found)
        _BEGUN[identity[:2]] = Digest(path, identity)
        begun.append(_BEGUN[identity[:2]])
    if begun:
        threading.Thread(target=_take_all, args=(begun,), name="thumbline-digests", daemon=True).start()


def give_digest(path: Path, sha256: str) -> None:
    """Tell the digest of a file that nobody else writes to, so that its next reader in this process hashes nothing.

    Args:
        path: the file.
        sha256: of its bytes as they are now, 64 hex digits.
    """
    identity = _identity(path.stat())
    digest = Digest(path, identity)
    digest.settle(sha256)
    _BEGUN[identity[:2]] = digest


def digest_begun(stream: BinaryIO) -> Digest | None:
    """The digest that was begun of an opened file, if it is the same still; it is given out once."""
    try:
        identity = _identity_of(stream)
    except (OSError, ValueError):
        return None
    digest = _BEGUN.pop(identity[:2], None)
    return digest if digest is not None and digest._identity == identity else None


def _take_all(digests: Iterable[Digest]) -> None:
    buffer = memoryview(bytearray(_CHUNK))
    for digest in digests:
        digest.take(buffer)


def _identity_of(stream: BinaryIO) -> _Identity:
    return _identity(os.fstat(stream.fileno()))


def _identity(found: os.stat_result) -> _Identity:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
