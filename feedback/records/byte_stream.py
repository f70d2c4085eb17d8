"""Bytes of a raw file, decompressed on the way, counted and hashed, with its cut-off end made visible.

Libraries differ in what they do at a truncated end: gzip raises and loses what it had, zstandard ends silently. Here
what can be decompressed is given out, and `ByteStream.is_truncated` says afterwards that the end is missing.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import zstandard

from feedback.records.digest_ahead import Digest, digest_begun
from schemas.errors import CorruptionError, InputError, InputNotFoundError
from schemas.progress import Advance

__all__ = ["ByteStream", "Tally", "open_bytes"]

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_GZIP_CHUNK: Final = 1 << 16
_PLAIN_CHUNK: Final = 1 << 20
_ZSTD_CHUNK: Final = 1 << 10
"""zstandard decompresses a chunk at once; small ones bound what a hostile one becomes (128 KiB a block of 4 bytes)."""
_MAX_WINDOW: Final = 1 << 27

BOMB_BYTES: Final = 1 << 30
"""Output below this is never called a bomb."""
BOMB_RATIO: Final = 500
"""Chat logs compress 3 to 30 times; a file that grows more than this, past `BOMB_BYTES`, is refused."""


class _Decompressor(Protocol):
    """What the decompressors of gzip and zstandard have in common."""

    @property
    def eof(self) -> bool:
        """Whether the stream has come to its own end."""
        ...

    @property
    def unused_data(self) -> bytes:
        """Bytes that follow that end."""
        ...

    def decompress(self, data: bytes, /) -> bytes:
        """What the next bytes unpack to."""
        ...


class Tally:
    """What was read of one raw file: bytes as they lie on disk, and their sha256.

    Args:
        advance: told how many bytes were read.
        is_hashed: whether there is a sha256; not of a file that is read again for it.
    """

    def __init__(self, advance: Advance | None = None, *, is_hashed: bool = True) -> None:
        self.bytes = 0
        self._is_hashed = is_hashed
        self._hashed = hashlib.sha256()
        self._advance = advance
        self._begun: Digest | None = None
        self._taken: str | None = None

    def add(self, data: bytes | memoryview) -> None:
        """Count and hash `data`."""
        self.bytes += len(data)
        if self._begun is None and self._is_hashed:
            self._hashed.update(data)
        if self._advance is not None:
            self._advance(len(data))

    def expect(self, stream: BinaryIO) -> None:
        """Before anything is added: hash nothing of a file that is hashed already, see `digest_ahead`."""
        self._begun = digest_begun(stream) if self._is_hashed else None

    def settle(self, stream: BinaryIO) -> None:
        """Make sure of the digest while the file is still open: one that may be of something else is taken anew."""
        if self._begun is None:
            return
        self._taken = self._begun.of(stream, self.bytes)
        if self._taken is None:
            stream.seek(0)
            left = self.bytes
            while left and (data := stream.read(min(left, _PLAIN_CHUNK))):
                self._hashed.update(data)
                left -= len(data)
        self._begun = None

    @property
    def sha256(self) -> str:
        """sha256 of everything added, 64 hex digits; empty where nothing was hashed."""
        return self._taken or (self._hashed.hexdigest() if self._is_hashed else "")


class ByteStream(io.RawIOBase):
    """Decompressed bytes of a file.

    `is_truncated` is known once the end is reached; `position` counts the bytes of content so far.

    Args:
        stream: the file.
        name: its name, for errors.
        tally: told every byte as it lies on disk.
    """

    def __init__(self, stream: BinaryIO, name: str, tally: Tally) -> None:
        super().__init__()
        self.is_truncated = False
        self.position = 0
        self._stream = stream
        self._name = name
        self._tally = tally
        self._head = self._read_file(_GZIP_CHUNK)
        self._new = _decompressor_for(self._head)
        self._pending = memoryview(b"")
        self._inner: _Decompressor | None = self._new() if self._new else None
        self._chunk = {None: _PLAIN_CHUNK, _new_zstd: _ZSTD_CHUNK}.get(self._new, _GZIP_CHUNK)
        self._has_ended = False

    @property
    def plain_size(self) -> int | None:
        """How many bytes of content there are, where that is known: of a plain file, not of what is decompressed."""
        try:
            found = os.fstat(self._stream.fileno())
        except (OSError, ValueError, AttributeError):
            return None
        return found.st_size if self._new is None and stat.S_ISREG(found.st_mode) else None

    def readable(self) -> bool:
        """Always: this is a stream to read."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill `buffer` with the next bytes; 0 at the end.

        Raises:
            CorruptionError: the compressed bytes are damaged.
            InputError: the file grows out of all proportion.
        """
        if self._new is None and not self._head and not self._pending:
            return self._read_plain(buffer)
        filled = 0
        while filled < len(buffer) and (self._new is not None or not filled):
            while not self._pending and not self._has_ended:
                self._pending = memoryview(self._next_bytes())
            count = min(len(buffer) - filled, len(self._pending))
            if not count:
                break
            buffer[filled : filled + count] = self._pending[:count]
            self._pending = self._pending[count:]
            filled += count
        return filled

    def close(self) -> None:
        """Close the file too, unless it is standard input."""
        if not self.closed:
            self._tally.settle(self._stream)
        if self._stream is not sys.stdin.buffer:
            self._stream.close()
        super().close()

    def _read_plain(self, buffer: Any) -> int:
        """Fill `buffer` from the file itself: nothing is copied in between."""
        count: int = self._stream.readinto(buffer)  # type: ignore[attr-defined]
        self._tally.add(memoryview(buffer)[:count])
        self.position += count
        return count

    def _next_bytes(self) -> bytes:
        data = self._head or self._read_file(self._chunk)
        self._head = b""
        if self._new is None or self._inner is None:
            self._has_ended = not data
            self.position += len(data)
            return data
        if not data:
            self._has_ended = True
            self.is_truncated = not self._inner.eof
            return b""
        return self._decompress(data)

    def _decompress(self, data: bytes) -> bytes:
        # A head larger than a zstandard chunk is fed in pieces, for the same bound on memory.
        if self._new is _new_zstd and len(data) > _ZSTD_CHUNK:
            data, self._head = data[:_ZSTD_CHUNK], data[_ZSTD_CHUNK:]
        parts = []
        while data and self._new is not None and self._inner is not None:
            if self._inner.eof:
                if not data.strip(b"\0"):
                    break
                self._inner = self._new()
            try:
                parts.append(self._inner.decompress(data))
            except (zlib.error, zstandard.ZstdError) as error:
                raise CorruptionError(
                    f"the compressed bytes are damaged ({error})",
                    where=f"{self._name} after {self.position:,} bytes of content",
                    todo="Restore the file or compress it again",
                ) from error
            data = self._inner.unused_data if self._inner.eof else b""
        made = b"".join(parts)
        self._refuse_bomb(len(made))
        return made

    def _refuse_bomb(self, count: int) -> None:
        self.position += count
        if self.position > BOMB_BYTES and self.position > BOMB_RATIO * self._tally.bytes:
            raise InputError(
                f"the file grows more than {BOMB_RATIO} times when it is decompressed",
                where=self._name,
                todo="Decompress it yourself if you trust it, and name the plain file",
            )

    def _read_file(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._tally.add(data)
        return data


def open_bytes(path: Path, tally: Tally) -> ByteStream:
    """The decompressed bytes of `path`, or of standard input for `-`; the content decides, not the suffix.

    Raises:
        InputNotFoundError: the file cannot be opened.
    """
    if str(path) == "-":
        return ByteStream(sys.stdin.buffer, "stdin", tally)
    try:
        stream = path.open("rb")
        tally.expect(stream)
        return ByteStream(stream, path.name, tally)
    except OSError as error:
        raise InputNotFoundError(f"the file cannot be read ({error.strerror})", where=path) from error


def _decompressor_for(head: bytes) -> Callable[[], _Decompressor] | None:
    if head.startswith(_GZIP):
        return _new_gzip
    return _new_zstd if head.startswith(_ZSTD) else None


def _new_gzip() -> _Decompressor:
    return zlib.decompressobj(wbits=31)


def _new_zstd() -> _Decompressor:
    return zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj()
