"""Where raw records lie: what the user named, told apart by its text, and found.

FOLDER, FILE, GLOB, -, file://      files of this machine, or standard input
s3://BUCKET/KEY                     objects of a store, see `object_store`
hf://datasets/OWNER/NAME            files of the hub, see `hub_files`
postgresql://, sqlite://, duckdb:// rows of a query, see `queries`
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from feedback.records.data_names import SUFFIXES, data_names, inner_datasets, other_names
from feedback.records.database_url import DATABASES, MEMORY, parse_database_url
from feedback.records.hub_files import find_hub_files
from feedback.records.object_store import StoredObject, find_objects
from feedback.records.queries import Query, open_query
from feedback.records.store_mark import is_store
from schemas.errors import InputError, InputNotFoundError, UnknownChoiceError, UsageError
from schemas.paths import AnyPath, path_texts

__all__ = [
    "Place",
    "datasets_left_out",
    "find_files",
    "input_name",
    "names_left_out",
    "place_name",
    "place_size",
    "place_state",
    "relative_input",
]

Place = Path | StoredObject | Query
"""A file of this machine (`-` is standard input), an object in a store, or a query."""

STDIN: Final = "-"
_CONFIG: Final = ".toml"
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_KNOWN: Final = ("file", "hf", "s3", *DATABASES)


def find_files(inputs: AnyPath | Iterable[AnyPath], *, sql: str | None = None) -> list[Place]:
    """The files, objects and queries that `inputs` name, each once, in the order of the inputs and sorted within one.

    Args:
        inputs: files, globs, folders (read with their subfolders), `-` for standard input, or URLs, one or several.
            Of a curated dataset, its shards are read.
        sql: the query, where the inputs are URLs of databases.

    Raises:
        InputNotFoundError: a path that does not exist, a glob that matches nothing, or a folder without data files.
        InputError: a folder that is a feedback store.
        UsageError: no input or a blank one, a URL that is not right, a query without a database or a database without a
            query.
    """
    found: dict[Place, Place] = {}
    for item in path_texts(inputs):
        if item.lower().endswith(_CONFIG):
            raise InputError(
                "a config file holds no feedback",
                where=item,
                todo="Name raw files; a config file stands alone, and goes with `curate` and `ingest`",
            )
        # In the hub's cache, files of the same bytes are links to one file, and still two.
        is_hub = _scheme_of(item) == "hf"
        for place in _expand(item, sql):
            key = place.resolve() if isinstance(place, Path) and not is_hub else place
            found.setdefault(key, place)
    return list(found.values())


def names_left_out(item: str) -> list[str]:
    """The files of a folder of this machine that are not read, relative to it and sorted; none of anything else."""
    path = Path(item)
    return other_names(_names_in(path)) if path.is_dir() and not is_store(path) else []


def datasets_left_out(item: str) -> list[str]:
    """The curated datasets below a folder of this machine, which are not read with it; none of anything else."""
    path = Path(item)
    return inner_datasets(_names_in(path)) if path.is_dir() and not is_store(path) else []


def place_name(place: Place) -> str:
    """What errors, quarantine and manifests call it: no folder, host or password is in it."""
    return "stdin" if place == Path(STDIN) else place.name


def place_size(place: Place) -> int | None:
    """Its bytes as they lie there; None where that is not known before it is read."""
    if isinstance(place, Path):
        return place.stat().st_size if place.is_file() else None
    return place.size if isinstance(place, StoredObject) else None


def place_state(place: Place) -> tuple[str, ...] | None:
    """What changes when its bytes do, seen without reading them; None where nothing can be seen."""
    if not isinstance(place, Path):
        return place.state
    if str(place) == STDIN:
        return None
    status = place.stat()
    return str(place.resolve()), str(status.st_size), str(status.st_mtime_ns)


def input_name(text: str) -> str:
    """What a report calls an input: its last part, without folder and password; of the hub all of it.

    >>> [input_name(text) for text in ("logs/a.csv", "s3://bucket/logs/a.csv", "postgresql://me:pw@host/votes")]
    ['a.csv', 'a.csv', 'postgresql:votes']
    """
    scheme = _scheme_of(text)
    if scheme in DATABASES:
        return parse_database_url(text).name
    return text if scheme == "hf" else Path(text).name


def relative_input(text: str, folder: Path) -> str:
    """An input of a config file in `folder`, with what is a relative path in it starting from there."""
    scheme = _scheme_of(text)
    if scheme in DATABASES:
        database = parse_database_url(text)
        is_path = database.path is not None and database.database != MEMORY
        return f"{scheme}:///{(folder / database.database).as_posix()}" if is_path else text
    is_as_it_is = scheme is not None or text == STDIN or not text.strip()  # a blank one is refused where it is read
    return text if is_as_it_is else str(folder / text)


def _scheme_of(text: str) -> str | None:
    match = _SCHEME.match(text)
    return None if match is None else match[1].lower()


def _expand(item: str, sql: str | None) -> Sequence[Place]:
    scheme = _scheme_of(item)
    if scheme in DATABASES:
        if sql is None:
            raise UsageError(
                "a database is named and no query",
                where=input_name(item),
                todo='Say what to read of it, for example --sql "SELECT * FROM feedback" (in a config file: sql)',
            )
        return [open_query(item, sql)]
    if sql is not None:
        raise UsageError(
            "there is a query, and the input is no database",
            where=item,
            expected="a URL that begins with postgresql://, sqlite:/// or duckdb:///",
        )
    if scheme == "s3":
        objects = find_objects(item)
        if any(one.path != item.partition("://")[2] for one in objects):  # else it is a file
            _refuse_store(item)
        return objects
    if scheme == "hf":
        return find_hub_files(item)
    if scheme == "file":
        return _files_at(unquote(item.partition("://")[2]))
    if scheme is not None and not Path(item).exists():
        raise UnknownChoiceError("kind of URL", item, (f"{known}://" for known in _KNOWN), todo="Or fetch it to a file")
    return _files_at(item)


def _files_at(item: str) -> list[Path]:
    path = Path(item)
    if item == STDIN or path.is_file():
        return [path]
    _refuse_store(item)
    if path.is_dir():
        files = [path / name for name in data_names(_names_in(path))]
        if not files:
            raise InputNotFoundError(
                "the folder holds no data file", where=path, expected=f"files ending in {', '.join(SUFFIXES)}"
            )
        return files
    files = [Path(name) for name in sorted(glob.glob(item, recursive=True)) if Path(name).is_file()]  # noqa: PTH207
    if not files:
        what = "no file matches the pattern" if glob.has_magic(item) else "no such file or folder"
        raise InputNotFoundError(what, where=item)
    return files


def _names_in(folder: Path) -> list[str]:
    return [one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()]


def _refuse_store(item: str) -> None:
    if is_store(item):
        raise InputError(
            "the folder is a feedback store, and its raw copies are not read as files",
            where=item,
            todo="Read what it holds: thumbline audit STORE, or make a dataset with thumbline curate --store STORE",
        )
