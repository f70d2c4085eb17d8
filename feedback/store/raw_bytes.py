"""The bytes of a raw file, brought into the store: copied, hashed and flushed at the same time.

place ─► copy ─┬─► hashed behind the writer, as they lie in the copy
               └─► flushed behind the writer, so that little is left to wait for at the end
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from feedback.records.object_store import StoredObject
from feedback.records.places import Place
from feedback.records.queries import Query
from feedback.records.sources import read_blocks
from feedback.records.text_blocks import TextBlock
from feedback.store.durable import flush_file
from feedback.store.faults import faultpoint
from schemas.errors import InputError, InputNotFoundError

__all__ = ["copy_durably"]

_CHUNK: Final = 1 << 22
_STDIN: Final = "-"
_LOOK_S: Final = 0.01
"""How long the hasher waits for more bytes."""
_FLUSH_S: Final = 0.1


def copy_durably(place: Place, path: Path) -> str:
    """Copy a place to `path`, on the disk when the call returns; sha256 of the copy, 64 hex digits.

    Args:
        place: a file, `-` for standard input, an object, or a query, whose rows become JSON lines.
        path: where the copy will be; there is nothing yet.

    Raises:
        InputNotFoundError: there is no such file.
        InputError: it cannot be read.
    """
    faultpoint("raw.write.before", path)
    path.touch(0o600)
    is_whole = threading.Event()
    with ThreadPoolExecutor(2, thread_name_prefix="thumbline-raw") as pool:
        digest = pool.submit(_hash_behind, path, is_whole)
        # Of what could not be written only the first one is told who asks: so its error is not to be lost.
        flushed = pool.submit(_flush_behind, path, is_whole)
        try:
            _write(place, path)
            faultpoint("raw.sync.before", path, unflushed=True)
        finally:
            is_whole.set()
        flush_file(path)
        flushed.result()
        return digest.result()


def _write(place: Place, path: Path) -> None:
    if isinstance(place, Path) and str(place) != _STDIN:
        try:
            shutil.copyfile(place, path)  # within the system, where it can
        except FileNotFoundError as error:
            raise InputNotFoundError("no such file", where=place) from error
        except OSError as error:
            if str(error.filename) != str(place) or error.filename2 is not None:
                raise
            raise InputError(f"the file cannot be read ({error.strerror})", where=place) from error
    else:
        with path.open("wb") as stream:
            stream.writelines(_bytes_of(place))


def _hash_behind(path: Path, is_whole: threading.Event) -> str:
    """sha256 of a file that another thread writes, from its beginning to its end; it is known when that is reached."""
    hashed, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as stream:
        is_last = False
        while not is_last:
            is_last = is_whole.wait(_LOOK_S)
            while count := stream.readinto(buffer):
                hashed.update(buffer[:count])
    return hashed.hexdigest()


def _flush_behind(path: Path, is_whole: threading.Event) -> None:
    with path.open("rb") as stream:
        while not is_whole.wait(_FLUSH_S):
            os.fsync(stream.fileno())


def _bytes_of(place: StoredObject | Query | Path) -> Iterator[bytes]:
    if isinstance(place, Query):
        for block in read_blocks(place):
            lines = block.lines() if isinstance(block, TextBlock) else [record.raw for record in block]
            yield b"".join(line + b"\n" for line in lines)
        return
    stream = sys.stdin.buffer if isinstance(place, Path) else place.open()
    while data := stream.read(_CHUNK):
        yield data
