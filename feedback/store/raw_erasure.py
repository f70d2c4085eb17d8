"""Raw copies without the records of somebody: of line files the lines are cut out, other files are removed whole.

A line that is cut out leaves an empty one, so the places of all others stay what quarantine says they are. A file whose
records are not lines (a table, an array, a file that another one is joined to) cannot be cut byte for byte; its rows
stay in the tables, and only the possibility to make them again from it is lost. A note in its place keeps it away.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import zstandard

from feedback.records.byte_stream import Tally, open_bytes
from feedback.records.data_names import plain_suffix
from feedback.records.file_kinds import kind_of_bytes, kind_of_text
from feedback.records.sources import read_records
from feedback.store.durable import remove_durably, write_durably, written_durably
from feedback.store.landing import ERASED, Landing, Landings
from feedback.store.tombstones import Forgotten
from schemas.errors import CorruptionError, InputError

__all__ = ["ErasedRaw", "erase_raw"]

_HEAD: Final = 1 << 16
_BOM: Final = b"\xef\xbb\xbf"
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, slots=True)
class ErasedRaw:
    """What was erased from raw copies.

    Args:
        lines: lines that were cut out.
        rewritten: names of the copies that they were cut out of.
        removed: names of the copies that were removed whole.
    """

    lines: int = 0
    rewritten: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is looked for: records by their digest, or anybody's who is in `subject`; `hints` are in every such line."""

    subject: Forgotten
    raw: frozenset[str]
    hints: tuple[bytes, ...]

    def has(self, record: bytes) -> bool:
        """Whether a record is theirs."""
        if self.raw and hashlib.sha256(record).hexdigest() in self.raw:
            return True
        if self.hints and not any(hint in record for hint in self.hints):
            return False
        return self.subject.in_bytes(record)


def erase_raw(
    landings: Landings,
    chosen: Sequence[Landing],
    subject: Forgotten,
    *,
    raw: frozenset[str] = frozenset(),
    hints: Sequence[bytes] = (),
) -> ErasedRaw:
    """Erase somebody's records from raw copies.

    Args:
        landings: the raw files of the store.
        chosen: the landings to look at.
        subject: who it is.
        raw: sha256 of records that are known to be theirs.
        hints: bytes of which one is in every line that names them, where the name is known; it saves time.
    """
    wanted = _Wanted(subject, raw, tuple(hints))
    lines = 0
    rewritten: list[str] = []
    removed: list[str] = []
    for landing in chosen:
        hit = False
        for copy in (*landing.read, *landing.other):
            path = landings.path(copy)
            found = _erase(path, wanted) if path.is_file() else 0
            hit |= found != 0
            lines += max(found, 0)
            if found:
                (removed if found < 0 else rewritten).append(copy.name)
        for copy in (*landing.read, *landing.other) if hit and landing.other else ():
            if landings.path(copy).is_file():
                _remove(landings.path(copy))
                removed.append(copy.name)
    return ErasedRaw(lines, tuple(dict.fromkeys(rewritten)), tuple(dict.fromkeys(removed)))


def _erase(path: Path, wanted: _Wanted) -> int:
    """How many lines were cut out of a copy; -1 where it was removed."""
    try:
        with open_bytes(path, Tally()) as stream:
            head = stream.read(_HEAD)
        is_text = kind_of_bytes(head, path.name) == "text"
        if is_text and kind_of_text(head.removeprefix(_BOM), plain_suffix(path.name)) == "lines":
            return _cut_lines(path, wanted)
        is_theirs = any(
            wanted.has(record.raw) or (record.value is not None and wanted.subject.in_value(record.value))
            for record in read_records(path)
        )
    except (InputError, CorruptionError):
        is_theirs = True  # what cannot be read cannot be searched either
    if is_theirs:
        _remove(path)
        return -1
    return 0


def _cut_lines(path: Path, wanted: _Wanted) -> int:
    if not any(wanted.has(line.rstrip(b"\r\n").removeprefix(_BOM).strip()) for line in _lines(path)):
        return 0
    cut = 0
    head = path.read_bytes()[:4]
    with written_durably(path, point="erase.raw") as sink:
        stream: Any = sink
        if head.startswith(_GZIP):
            stream = gzip.GzipFile(fileobj=sink, mode="wb", mtime=0)
        elif head.startswith(_ZSTD):
            stream = zstandard.ZstdCompressor().stream_writer(sink, closefd=False)
        for line in _lines(path):
            if wanted.has(line.rstrip(b"\r\n").removeprefix(_BOM).strip()):
                cut += 1
                line = b"\n"
            stream.write(line)
        if stream is not sink:
            stream.close()
        sink.flush()
        with os.fdopen(os.dup(sink.fileno()), "rb") as written:
            written.seek(0)
            _note(path, hashlib.file_digest(written, "sha256").hexdigest())
    return cut


def _lines(path: Path) -> Iterator[bytes]:
    with open_bytes(path, Tally()) as stream:
        yield from io.BufferedReader(stream, 1 << 20)


def _remove(path: Path) -> None:
    """Remove a copy for good: what is left in its place keeps the same bytes from being copied again."""
    _note(path, None)
    remove_durably(path, point="erase.copy")


def _note(path: Path, kept: str | None) -> None:
    """Say what is left of a copy, before the copy is changed: until it is, the doctor takes it for damaged."""
    content = json.dumps({"name": path.name, "sha256": kept}).encode()
    write_durably(path.with_name(ERASED), content, point="erase.note")
