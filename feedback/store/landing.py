"""Raw files, kept as they came: a copy under its sha256, on the disk before anything is made of it.

    raw/ab/abc.../votes.jsonl     the copy
    landings/ID.json              what was asked: source, format, map, and the copies that belong together

A landing whose rows are in no commit was not acknowledged: the same command takes it up again, and so does the doctor.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from feedback.config import SourceConfig
from feedback.hashing import stable_id
from feedback.ingest.source_files import SourceFiles, find_source_files
from feedback.ingest.source_format import open_format
from feedback.records.digest_ahead import give_digest
from feedback.records.places import Place, place_name
from feedback.store.durable import (
    flush_folder,
    move_durably,
    private_folder,
    remove_durably,
    remove_folder_durably,
    write_durably,
)
from feedback.store.partial_names import PARTIAL
from feedback.store.places import fetched, listed
from feedback.store.raw_bytes import copy_durably
from schemas.errors import CorruptionError, InputNotFoundError

__all__ = ["ERASED", "Landing", "Landings", "RawCopy"]

ERASED: Final = "erased.json"
"""Stands beside or in the place of a copy that was erased from, so that it is not brought back as it was: the copy's
name, and the sha256 of what is left of it, null where nothing is."""


@dataclass(frozen=True, slots=True)
class RawCopy:
    """A raw file in the store: sha256 of its bytes as they came, and its name."""

    sha256: str
    name: str


@dataclass(frozen=True, slots=True)
class Landing:
    """Raw files that are read together, and how.

    Args:
        source: name of the source.
        format: name of its format.
        ranking: which ranked answers become pairs.
        map: text of the TOML map, for the format `mapped`.
        read: the files with the records.
        other: the files in which they find what they lack.
    """

    source: str
    format: str
    ranking: Literal["extremes", "neighbours", "off"]
    map: str | None
    read: tuple[RawCopy, ...]
    other: tuple[RawCopy, ...] = ()

    @property
    def id(self) -> str:
        """The same for the same files read in the same way, whatever they are called."""
        files = [*(one.sha256 for one in self.read), "", *(one.sha256 for one in self.other)]
        return stable_id(self.source, self.format, self.ranking, self.map or "", *files)


class Landings:
    """The raw files of a store.

    Args:
        folder: the store's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._raw = folder / "raw"
        self._notes = folder / "landings"

    def land(self, config: SourceConfig) -> list[Landing]:
        """Copy the files of a source into the store, durably.

        Files are landings of their own, so that one that is known is not read again beside one that is new; those that
        are joined are one landing.

        Raises:
            InputNotFoundError: a file is not there.
            ConfigError: the source's settings do not go with its format.
        """
        found = open_format(config.format, config.map, config.ranking)
        files = find_source_files(config, found)
        map_text = None if config.map is None else Path(config.map).read_text("utf-8")
        read = [self._copy(place) for place in files.read]
        other = tuple(self._copy(place) for place in files.other)
        groups = [tuple(read)] if _is_joined(files) else [(one,) for one in dict.fromkeys(read)]
        name = config.name or found.name
        landings = [Landing(name, config.format, config.ranking, map_text, group, other) for group in groups]
        for landing in landings:
            path = private_folder(self._notes) / f"{landing.id}.json"
            if not _is_readable(path):
                write_durably(path, json.dumps(asdict(landing), ensure_ascii=False).encode(), point="landing")
        return landings

    def all(self) -> list[Landing]:
        """Every landing, by its id.

        Raises:
            CorruptionError: the note of one cannot be read.
        """
        return [_read_note(path) for path in sorted(self._notes.glob("*.json"))]

    def path(self, copy: RawCopy) -> Path:
        """Where a copy lies; it may have been erased since, see `feedback.store.raw_erasure`."""
        return self._raw / copy.sha256[:2] / copy.sha256 / copy.name

    def kept_sha256(self, copy: RawCopy) -> str | None:
        """sha256 of what a copy must hold now; null where all of it was erased.

        Raises:
            CorruptionError: the note of what was erased cannot be read.
        """
        note = self.path(copy).with_name(ERASED)
        if not note.is_file():
            return copy.sha256
        return _read_erased(note)[1]

    def config(self, landing: Landing, work: Path) -> list[SourceConfig]:
        """A landing as sources that read the copies.

        Args:
            landing: the landing.
            work: a folder for what must lie together.

        Raises:
            InputNotFoundError: a copy is not there any more.
        """
        paths = [self._present(copy) for copy in landing.read]
        mapped = None
        if landing.map is not None:
            mapped = work / f"{landing.id}.toml"
            mapped.write_text(landing.map, encoding="utf-8")
        join = None
        if landing.other:
            join = work / f"{landing.id}-other"
            join.mkdir(exist_ok=True)
            for number, copy in enumerate(landing.other):
                (join / f"{number:05d}-{copy.name}").symlink_to(self._present(copy).resolve())
        return [
            SourceConfig(
                path=str(path),
                format=landing.format,
                name=landing.source,
                map=None if mapped is None else str(mapped),
                ranking=landing.ranking,
                join=None if join is None else str(join),
            )
            for path in paths
        ]

    def drop(self, landings: Sequence[Landing]) -> None:
        """Remove landings that were refused, and the copies that no other landing has."""
        for landing in landings:
            remove_durably(self._notes / f"{landing.id}.json", point="landing")
        kept = {copy.sha256 for landing in self.all() for copy in (*landing.read, *landing.other)}
        for copy in dict.fromkeys(copy for one in landings for copy in (*one.read, *one.other)):
            if copy.sha256 not in kept:
                remove_folder_durably(self.path(copy).parent, point="landing.raw")

    def _present(self, copy: RawCopy) -> Path:
        path = fetched(self.path(copy))
        if not path.is_file():
            raise InputNotFoundError(
                "the raw copy is not in the store any more: it was erased, as somebody in it was forgotten",
                where=path,
                todo="Take in an export without them",
            )
        return path

    def _copy(self, place: Place) -> RawCopy:
        """Copy a place, durably, if its bytes are not there already."""
        name = place_name(place).replace("/", "_")
        incoming = private_folder(self._raw / f"incoming-{os.getpid()}-{uuid.uuid4().hex[:8]}")
        try:
            sha256 = copy_durably(place, incoming / name)
            folder = private_folder(self._raw / sha256[:2]) / sha256
            known = _name_in(folder)
            if known is not None:
                return RawCopy(sha256, known)
            flush_folder(incoming)
            try:
                move_durably(incoming, folder, point="raw")
            except OSError as error:
                # Of two that bring the same bytes at once, the first one's copy stays.
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
            copy = RawCopy(sha256, _name_in(folder) or name)
            give_digest(self.path(copy), sha256)
            return copy
        finally:
            shutil.rmtree(incoming, ignore_errors=True)


def _name_in(folder: Path) -> str | None:
    """The name of the copy in a folder, also of one that was erased; None where there never was one."""
    names = [path.name for path in listed(folder)]
    if names == [ERASED]:
        return _read_erased(folder / ERASED)[0]
    return next((name for name in names if not name.endswith(PARTIAL) and name != ERASED), None)


def _read_erased(path: Path) -> tuple[str, str | None]:
    """The name of a copy from which somebody was erased, and the sha256 of what it holds since."""
    try:
        told = json.loads(path.read_text("utf-8"))
        return str(told["name"]), None if told["sha256"] is None else str(told["sha256"])
    except (ValueError, TypeError, KeyError) as error:
        what = f"the note of what was erased from a raw copy cannot be read ({error})"
        raise CorruptionError(what, where=path, todo="Restore the file from a backup") from error


def _is_joined(files: SourceFiles) -> bool:
    return bool(files.other) or files.is_itself


def _read_note(path: Path) -> Landing:
    try:
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
        for name in ("read", "other"):
            values[name] = tuple(RawCopy(**copy) for copy in values[name])
        return Landing(**values)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CorruptionError(f"the note of a landing cannot be read ({error})", where=path) from error


def _is_readable(path: Path) -> bool:
    try:
        _read_note(path)
    except CorruptionError:
        return False
    return True
