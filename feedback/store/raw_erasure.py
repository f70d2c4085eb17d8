"""Raw copies without the records of somebody: these are cut out, and where they cannot be, a copy is removed whole.

Whole goes what cannot be read, what would be read otherwise without them (see `raw_rewriting`), and files that are
joined, since records of the other file are theirs without naming them. Their rows stay in the tables; only the
possibility to make them again from the copy is lost. A note in its place keeps the copy away. Where a file's records
find each other in the file itself, those that theirs find go with them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

from feedback.records.sources import RawRecord, read_records
from feedback.store.durable import move_durably, remove_durably, write_durably
from feedback.store.joined_records import JoinedRecords, joined_within
from feedback.store.landing import ERASED, Landing, Landings
from feedback.store.places import fetched
from feedback.store.raw_rewriting import kind_of_copy, raw_lines, rewritten
from feedback.store.tombstones import Forgotten
from schemas.errors import CorruptionError, InputError
from schemas.manifest import file_sha256

__all__ = ["ErasedRaw", "erase_raw"]

IsTheirs = Callable[[RawRecord], bool]
Finder = Callable[[Path], IsTheirs]
"""Says which records of a copy are cut out."""


@dataclass(frozen=True, slots=True)
class ErasedRaw:
    """What was erased from raw copies.

    Args:
        records: records that were cut out.
        rewritten: names of the copies that they were cut out of.
        removed: names of the copies that were removed whole.
    """

    records: int = 0
    rewritten: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is looked for: records by their digest, or anybody's who is in `subject`; `hints` are in every such line."""

    subject: Forgotten
    raw: frozenset[str]
    hints: tuple[bytes, ...]

    def is_record(self, record: RawRecord) -> bool:
        """Whether a record is theirs by its bytes, or by a value in it."""
        return self.is_line(record) or (record.value is not None and self.subject.in_value(record.value))

    def is_line(self, record: RawRecord) -> bool:
        """Whether a record is theirs by its bytes."""
        if self.raw and hashlib.sha256(record.raw).hexdigest() in self.raw:
            return True
        if self.hints and not any(hint in record.raw for hint in self.hints):
            return False
        return self.subject.in_bytes(record.raw)


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
    records = 0
    rewritten: list[str] = []
    removed: list[str] = []
    for landing in chosen:
        hit = False
        copies = (*landing.read, *landing.other)
        for finder, copy in product(_in_turn(wanted, landings, landing), copies):
            path = landings.path(copy)
            found = _erase(path, finder) if fetched(path).is_file() else 0
            hit |= found != 0
            records += max(found, 0)
            if found:
                (removed if found < 0 else rewritten).append(copy.name)
        for copy in (*landing.read, *landing.other) if hit and landing.other else ():
            if fetched(landings.path(copy)).is_file():
                _remove(landings.path(copy))
                removed.append(copy.name)
    return ErasedRaw(records, tuple(dict.fromkeys(rewritten)), tuple(dict.fromkeys(removed)))


def _in_turn(wanted: _Wanted, landings: Landings, landing: Landing) -> tuple[Finder, ...]:
    """What is looked for in a landing: first what theirs find there, since nobody finds it once theirs are gone."""
    by_name = partial(_finder, wanted)
    joined = joined_within(landing)
    if joined is None:
        return (by_name,)
    for path in (fetched(landings.path(copy)) for copy in landing.read):
        try:
            joined = joined.of(filter(by_name(path), _records(path))) if path.is_file() else joined
        except (InputError, CorruptionError):
            continue  # it is removed whole
    return (partial(_finder_of_joined, wanted, joined), by_name)


def _finder(wanted: _Wanted, path: Path) -> IsTheirs:
    return wanted.is_line if kind_of_copy(path) == "lines" else wanted.is_record


def _finder_of_joined(wanted: _Wanted, joined: JoinedRecords, path: Path) -> IsTheirs:
    is_named = _finder(wanted, path)
    return lambda record: joined.has(record) and not is_named(record)


def _erase(path: Path, finder: Finder) -> int:
    """How many records were cut out of a copy; -1 where it was removed."""
    try:
        find = finder(path)
        count = sum(map(find, _records(path)))
        if count:
            with rewritten(path, find) as new:
                if new is not None:
                    _note(path, file_sha256(new))
                    move_durably(new, path, point="erase.raw")
                    return count
    except (InputError, CorruptionError):
        count = -1  # what cannot be read cannot be searched either
    if count:
        _remove(path)
        return -1
    return 0


def _records(path: Path) -> Iterator[RawRecord]:
    """The records of a copy; of a file of lines the lines, which are not decoded."""
    if kind_of_copy(path) == "lines":
        yield from raw_lines(path)
    else:
        yield from read_records(path)


def _remove(path: Path) -> None:
    """Remove a copy for good: what is left in its place keeps the same bytes from being copied again."""
    _note(path, None)
    remove_durably(path, point="erase.copy")


def _note(path: Path, kept: str | None) -> None:
    """Say what is left of a copy, before the copy is changed: until it is, the doctor takes it for damaged."""
    content = json.dumps({"name": path.name, "sha256": kept}).encode()
    write_durably(path.with_name(ERASED), content, point="erase.note")
