"""Where the bytes of a store lie: in its folder, or in a bucket of which the folder is this process's working copy.

    s3://BUCKET/PREFIX ─► a private temporary folder ─► everything that is written or removed durably in it is so there
           ▲                                                        │
           └──────── commits: only where no other one is ───────────┘

No other room of the store knows of buckets: they work on paths, and where bytes may not be here yet, they ask for them
(`fetched`, `part_reader`, `is_there`, `listed`). Small files (log, notes, records) are brought whenever an operation
begins, tables and raw copies when they are asked for. The folder is gone with the process.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from feedback.records.store_mark import STORE_FILE
from feedback.store.bucket import Bucket, StoredObject
from feedback.store.partial_names import PARTIAL, partial_of
from feedback.store.working_copies import clear_up, new_copy
from schemas.paths import path_of

__all__ = [
    "abandoned",
    "claimed",
    "fetched",
    "has_copies",
    "is_remote",
    "is_there",
    "listed",
    "moved",
    "opened_place",
    "part_reader",
    "pull",
    "pull_commits",
    "removed",
    "shown",
    "top_level",
    "written",
]

_SCHEME: Final = "://"
_OWN: Final = ("holders/", "link-", "lock", "raw/incoming-", "staging/")
"""What is of this process alone."""
_LARGE: Final = ("damaged/*", "raw/*", "table/kind=*")
_SMALL: Final = ("damaged/commit-*", "raw/*/erased.json")
_COMMITS: Final = "table/_delta_log/*.json"
"""They never change."""
_ONCE: Final = frozenset({"rater.key", "store.json"})
"""Made with the store: of two processes that make it at once, the first one's stay."""
_AT_ONCE: Final = 16
_WHOLE_BYTES: Final = 4 << 20
"""Smaller files are brought whole: asking once is quicker than asking for parts."""


class _Mount:
    """A working copy.

    Args:
        bucket: where the store lies.
        folder: the copy.
    """

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        self.bucket = bucket
        self.folder = folder
        self._known: dict[str, str] = {}

    def name(self, path: Path) -> str:
        """The name of a file of the copy in the bucket."""
        return path.relative_to(self.folder).as_posix()

    def pull(self) -> None:
        """Take over what others have written and deleted."""
        there = {one.name: one for one in self.bucket.list()}
        for name in [name for name in self._known if name not in there or self._known[name] != there[name].tag]:
            (self.folder / name).unlink(missing_ok=True)
            del self._known[name]
        wanted = [one for one in there.values() if _is_small(one.name) and not self._is_known(one.name)]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self._bring, wanted))

    def bring(self, path: Path) -> None:
        """Bring one file."""
        found = self.bucket.head(self.name(path))
        if found is not None:
            self._bring(found)

    def push(self, path: Path) -> None:
        """Write a file, or every file of a folder, into the bucket."""
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            name = self.name(file)
            if name not in _ONCE:
                self._known[name] = self.bucket.put(name, file)
            elif not self.bucket.create(name, file.read_bytes()):
                file.write_bytes(self.bucket.get(name) or b"")

    def delete(self, path: Path) -> None:
        """Delete an object."""
        self._known.pop(self.name(path), None)
        self.bucket.delete(self.name(path))

    def _is_known(self, name: str) -> bool:
        return name in self._known or (fnmatchcase(name, _COMMITS) and (self.folder / name).is_file())

    def _bring(self, one: StoredObject) -> None:
        path = self.folder / one.name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = partial_of(path)
        try:
            self.bucket.fetch(one.name, partial)
        except FileNotFoundError:
            return  # deleted since it was listed
        partial.chmod(0o600)
        partial.replace(path)
        self._known[one.name] = one.tag


_MOUNTS: Final[dict[Path, _Mount]] = {}


def opened_place(place: str | Path) -> Path:
    """The folder of a store, or of its working copy.

    Args:
        place: a path, or `s3://BUCKET/PREFIX`.

    Raises:
        UsageError: it is another kind of URL, or names no prefix; or the folder for temporary files has no locks.
        InputError: the object store cannot be reached.
    """
    if _SCHEME not in str(place):
        return path_of(place, name="store").resolve()
    bucket = Bucket(str(place))
    clear_up()
    mount = _Mount(bucket, new_copy())
    _MOUNTS[mount.folder] = mount
    if bucket.head(STORE_FILE) is not None:  # else it may be anything, and is not brought here
        mount.pull()
    return mount.folder


def has_copies() -> bool:
    """Whether this process has working copies, which are removed when the interpreter ends, and not by `os._exit`."""
    return bool(_MOUNTS)


def is_remote(path: Path) -> bool:
    """Whether a path is in a working copy."""
    return _mount(path) is not None


def shown(path: object) -> str:
    """A path as its reader knows it: in a working copy, where it lies in the bucket."""
    text = str(path)
    for folder, mount in _MOUNTS.items():
        text = text.replace(str(folder), mount.bucket.url)
    return text


def pull(folder: Path) -> None:
    """Take over what others have done in a store since; in a folder of this machine there is nothing to do."""
    mount = _mount(folder)
    if mount is not None:
        mount.pull()


def pull_commits(log_folder: Path, name_of: Callable[[int], str]) -> None:
    """Take over commits that others have made since, one after the other.

    Args:
        log_folder: the folder of the log.
        name_of: the name of the file of a version.
    """
    mount = _mount(log_folder)
    if mount is None:
        return
    version = max((int(path.stem) for path in log_folder.glob("*.json")), default=-1) + 1
    while (content := mount.bucket.get(mount.name(log_folder / name_of(version)))) is not None:
        log_folder.mkdir(parents=True, exist_ok=True)
        partial = partial_of(log_folder / name_of(version))
        partial.write_bytes(content)
        partial.replace(log_folder / name_of(version))
        version += 1


def claimed(path: Path) -> bool:
    """Make a commit that lies here the one of the store; False, and it is gone here, where another one is there."""
    mount = _mount(path)
    if mount is None or mount.bucket.create(mount.name(path), path.read_bytes()):
        return True
    path.unlink()
    return False


def moved(path: Path, target: Path) -> None:
    """A file or folder was put at `target`, and is at `path` no more."""
    mount = _mount(target)
    if mount is None or _is_own(mount.name(target)):
        return
    mount.push(target)
    if path != target and not _is_own(mount.name(path)):
        mount.delete(path)


def written(path: Path) -> None:
    """A file was written in its place, by others than `feedback.store.durable`."""
    moved(path, path)


def removed(path: Path) -> None:
    """A file, or a folder with all that is in it, was removed."""
    mount = _mount(path)
    if mount is None or _is_own(mount.name(path)):
        return
    for one in list(mount.bucket.list(mount.name(path))):
        mount.delete(mount.folder / one.name)
    mount.delete(path)


def is_there(path: Path) -> bool:
    """Whether a file is in the store, here or in the bucket."""
    mount = _mount(path)
    return path.is_file() or (mount is not None and mount.bucket.head(mount.name(path)) is not None)


def listed(folder: Path, pattern: str = "*") -> list[Path]:
    """The files of a store's folder, here or in the bucket, sorted.

    Args:
        folder: the folder.
        pattern: a glob, in which `*` matches within a folder.
    """
    found = set(folder.glob(pattern))
    mount = _mount(folder)
    if mount is not None:
        depth = len(folder.parts) + pattern.count("/") + 1
        inside = (mount.folder / one.name for one in mount.bucket.list(mount.name(folder)))
        found |= {
            path
            for path in inside
            if len(path.parts) == depth and fnmatchcase(path.relative_to(folder).as_posix(), pattern)
        }
    return sorted(found)


def abandoned(folder: Path, pattern: str, before_ms: float) -> list[Path]:
    """Files in a bucket that were written before a time; of a folder of this machine the doctor finds them itself.

    Args:
        folder: the folder.
        pattern: a glob, as for `listed`.
        before_ms: milliseconds since 1970.
    """
    mount = _mount(folder)
    if mount is None:
        return []
    old = {mount.folder / one.name for one in mount.bucket.list(mount.name(folder)) if one.changed_ms < before_ms}
    return [path for path in listed(folder, pattern) if path in old]


def top_level(folder: Path) -> set[str]:
    """The names of what is right in a store's folder, here or in the bucket."""
    mount = _mount(folder)
    here = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return here if mount is None else here | mount.bucket.top_level()


def fetched(path: Path) -> Path:
    """A file of a store, here: brought where it is not; it is not there afterwards where it is nowhere."""
    mount = None if path.is_file() else _mount(path)
    if mount is not None:
        mount.bring(path)
    return path


def part_reader(path: Path) -> Any:
    """What a Parquet reader takes to read parts of a file; of a large one in a bucket no other bytes are brought.

    Raises:
        FileNotFoundError: there is no such file.
    """
    mount = None if path.is_file() else _mount(path)
    found = None if mount is None else mount.bucket.head(mount.name(path))
    if mount is None or found is None or found.size < _WHOLE_BYTES:
        return fetched(path)
    return mount.bucket.reader(mount.name(path))


def _mount(path: Path) -> _Mount | None:
    return next((mount for folder, mount in _MOUNTS.items() if path.is_relative_to(folder)), None)


def _is_own(name: str) -> bool:
    return name.startswith(_OWN) or name.endswith(PARTIAL)


def _is_small(name: str) -> bool:
    is_large = any(fnmatchcase(name, pattern) for pattern in _LARGE)
    return not is_large or any(fnmatchcase(name, pattern) for pattern in _SMALL)
