"""Which files a source is read from, and which are joined to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from feedback.config import SourceConfig
from feedback.engine import Engine, StagedEngine
from feedback.formats import FORMATS, Format
from feedback.ingest.join_table import JoinTable, JoinTask, make_join_table
from feedback.ingest.source_format import open_format
from feedback.records.places import Place, find_files
from schemas.errors import ConfigError, InputError, UsageError

__all__ = ["SourceFiles", "find_source_files", "join_tables"]

_STDIN: Final = "-"


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """The files of a source.

    Args:
        read: the files with the records.
        other: other files, in which the format's records find what they lack; none where none are named.
        is_itself: the records find it in `read`.
    """

    read: tuple[Place, ...]
    other: tuple[Place, ...] = ()
    is_itself: bool = False


def find_source_files(config: SourceConfig, source_format: Format | None = None) -> SourceFiles:
    """The files of a source; where it names a folder or a glob, the joined ones are not read as feedback too.

    Args:
        config: the source.
        source_format: its format, where it was opened already.

    Raises:
        InputNotFoundError: a file that is not there.
        ConfigError: a join of a format that joins nothing.
        UsageError: standard input, which is read once, where a join would read it again.
    """
    found = source_format or open_format(config.format, config.map, config.ranking)
    read = find_files([config.path], sql=config.sql)
    if found.join is None:
        if config.join is not None:
            joining = ", ".join(sorted(one.name for one in FORMATS.values() if one.join is not None) or ["mapped"])
            raise ConfigError(
                f"the format {found.name!r} joins no other file",
                received=config.join,
                expected=f"a format that does: {joining}, or mapped with a table [join]",
                todo="Leave out --join, or the key join of the source",
            )
        return SourceFiles(tuple(read))
    named = config.join or found.join.file
    if named is None:
        if found.join.is_itself:
            _refuse_stdin(config.path, found)
        return SourceFiles(tuple(read), is_itself=found.join.is_itself)
    _refuse_stdin(named, found)
    other = find_files([named])
    places = {_resolved(place) for place in other}
    kept = [place for place in read if _resolved(place) not in places]
    return SourceFiles(tuple(kept or read), tuple(other))


def join_tables(
    sources: Sequence[tuple[Format, SourceFiles]], folder: Path, engine: Engine
) -> tuple[list[JoinTable | None], Path | None]:
    """The table of each source that joins something, and the folder that they lie in.

    Args:
        sources: formats and files of the sources.
        folder: where tables go if `engine` has no folder of its own for them.
        engine: who makes them.

    Raises:
        InputError: no record of the other file has an id.
    """
    within = engine.folder("join") if isinstance(engine, StagedEngine) else folder
    tasks: dict[tuple[tuple[Place, ...], str], JoinTask] = {}
    for one, files in sources:
        if one.join is not None and (files.other or files.is_itself):
            joined = files.other or _all_read(one, sources)
            key, is_hashed = (joined, one.join.other), bool(files.other)
            if key not in tasks:
                tasks[key] = JoinTask(joined, one.name, one.join.other, within / f"{len(tasks):05d}.joined", is_hashed)
            elif is_hashed:
                tasks[key] = replace(tasks[key], is_hashed=True)
    if not tasks:
        return [None] * len(sources), None
    made = dict(zip(tasks, engine.run("join", make_join_table, list(tasks.values())), strict=True))
    tables: list[JoinTable | None] = []
    for one, files in sources:
        joined = files.other or _all_read(one, sources)
        tables.append(None if one.join is None else made.get((joined, one.join.other)))
        if files.other:
            _refuse_no_id(one, tables[-1])
    return tables, within


def _all_read(source_format: Format, sources: Sequence[tuple[Format, SourceFiles]]) -> tuple[Place, ...]:
    """The files of all sources of a format that are joined with themselves: an export in parts is one file."""
    read = (files.read for one, files in sources if one.join == source_format.join and files.is_itself)
    return tuple(dict.fromkeys(path for paths in read for path in paths))


def _resolved(place: Place) -> Place:
    return place.resolve() if isinstance(place, Path) else place


def _refuse_stdin(path: str, source_format: Format) -> None:
    if path == _STDIN:
        raise UsageError(
            f"the format {source_format.name!r} looks up records in a file, which standard input is not",
            received=path,
            expected="a file, a glob or a folder",
            todo="Write it into a file first",
        )


def _refuse_no_id(source_format: Format, table: JoinTable | None) -> None:
    join = source_format.join
    if join is None or table is None or table.with_id:
        return
    raise InputError(
        f"no record of the other file has an id, so nothing can be joined to the records of {source_format.name!r}",
        where=", ".join(file.name for file in table.files),
        expected=f"{join.what} with an id at {join.other!r}, text or a whole number",
        todo=f"Name the file with the {join.what} with --join FILE",
    )
