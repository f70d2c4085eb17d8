"""The stages of a plan on disk: `FOLDER/PLAN/STAGE/`, each whole once its `stage.json` is there.

`stage.json` is written last. It holds the stage's key, every file with its size and digest, and the kernel's results as
JSON; nothing is ever unpickled. A rerun of the same plan takes a stage's results from it and runs nothing, if the files
are still what they were. Paths below FOLDER are stored relative to it, so it can be moved.
"""

from __future__ import annotations

import functools
import json
import mmap
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, get_type_hints

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python
from xxhash import xxh3_128

from feedback.engine.files import PARTIAL_SUFFIX, written_whole
from feedback.engine.plan import Engine
from feedback.hashing import stable_id
from schemas import __version__
from schemas.errors import UsageError

__all__ = ["STAGE_FILE", "FileBatch", "StagedEngine", "digest_files"]

T = TypeVar("T")
R = TypeVar("R")

STAGE_FILE: Final = "stage.json"
"""Name of a stage's manifest."""

_FORMAT_VERSION: Final = 2
_BYTES_A_BATCH: Final = 32_000_000
_MOVABLE: Final = "staging:/"
_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class FileBatch:
    """Files whose digests one task takes."""

    files: tuple[Path, ...]


def digest_files(task: FileBatch) -> tuple[str, ...]:
    """Kernel: XXH3 of each file's bytes, 32 hex digits."""
    return tuple(_file_digest(path) for path in task.files)


class StagedEngine:
    """An engine that keeps what it did, and skips a stage that is complete under the same key.

    Args:
        engine: runs the stages that are not complete.
        folder: where plans are kept; the cluster's nodes must all see it under this path.
        plan_key: what all stages depend on: input files by content, config, seed. Another key is another plan.
    """

    def __init__(self, engine: Engine, folder: Path, plan_key: str) -> None:
        self.root = folder.resolve() / stable_id(plan_key, __version__)
        self._engine = engine

    def folder(self, name: str) -> Path:
        """Where the kernel of the stage `name` writes; what is there and not from a complete stage is deleted.

        Raises:
            UsageError: the name cannot be that of a folder.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(
                "a stage's name is also the name of its folder",
                received=name,
                expected="lower-case letters and digits, in words joined by hyphens",
            )
        return self.root / name

    def run(self, name: str, kernel: Callable[[T], R], tasks: Iterable[T], *, key: str = "") -> list[R]:
        """The kernel's results, in the order of the tasks; see `feedback.engine.plan.Engine`.

        The key of a stage is `key`, the kernel's name and, where `tasks` is a sequence, the tasks. An iterator is not
        looked at before the stage is run: what it will give must follow from `key` or the plan's key.

        Raises:
            UsageError: the kernel does not say what it returns, or its results or tasks cannot be stored as JSON.
            Exception: what the kernel raised.
        """
        folder = self.folder(name)
        results = _StoredResults(kernel, self.root)
        stamp = self._stamp(name, kernel, tasks, key)
        stored = _read_stage(folder / STAGE_FILE)
        if stored is not None and stored.get("stamp") == stamp and self._is_whole(name, stored["files"]):
            restored: list[R] | None = results.decode(stored["results"])
            if restored is not None:
                return restored
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        found = self._engine.run(name, kernel, tasks, key=key)
        encoded = results.encode(found)
        files = self._list_files(name)
        content = {"stamp": stamp, "files": files, "results": encoded}
        # Not flushed to the disk: where a power cut takes it, the stage is not complete.
        with written_whole(folder / STAGE_FILE) as partial:
            partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
        return found

    def _stamp(self, name: str, kernel: Callable[[T], R], tasks: Iterable[T], key: str) -> dict[str, Any]:
        return {
            "format_version": _FORMAT_VERSION,
            "stage": name,
            "kernel": _kernel_name(kernel),
            "key": key,
            "tasks": self._tasks_digest(tasks) if isinstance(tasks, Sequence) else None,
        }

    def _tasks_digest(self, tasks: Sequence[Any]) -> str:
        try:
            values = to_jsonable_python(tasks, bytes_mode="base64", inf_nan_mode="constants")
        except PydanticSerializationError as error:
            raise _not_json("tasks", tasks[0]) from error
        return stable_id(json.dumps(_movable(values, self.root), ensure_ascii=False))

    def _list_files(self, name: str) -> list[dict[str, Any]]:
        """Every file of a stage with its size and digest, by path; what a lost task left half-written is removed."""
        folder = self.folder(name)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in paths:
            if path.name.endswith(PARTIAL_SUFFIX):
                path.unlink(missing_ok=True)
        whole = [path for path in paths if not path.name.endswith(PARTIAL_SUFFIX)]
        return [
            {"path": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size, "xxh3": digest}
            for path, digest in zip(whole, self._digests(name, whole), strict=True)
        ]

    def _is_whole(self, name: str, files: Sequence[dict[str, Any]]) -> bool:
        folder = self.folder(name)
        paths = [folder / file["path"] for file in files]
        for path, file in zip(paths, files, strict=True):
            if not path.is_file() or path.stat().st_size != file["bytes"]:
                return False
        return self._digests(name, paths) == [file["xxh3"] for file in files]

    def _digests(self, name: str, paths: Sequence[Path]) -> list[str]:
        """Digests of files, taken by the engine, since on a cluster it is quicker to read them where they lie."""
        batches = list(_batches(paths))
        if not batches:
            return []
        return [digest for batch in self._engine.run(f"{name}-digest", digest_files, batches) for digest in batch]


def _batches(paths: Sequence[Path]) -> Iterator[FileBatch]:
    """Files in their order, as many at a time as one task may read."""
    batch: list[Path] = []
    size = 0
    for path in paths:
        batch.append(path)
        size += path.stat().st_size
        if size >= _BYTES_A_BATCH:
            yield FileBatch(tuple(batch))
            batch, size = [], 0
    if batch:
        yield FileBatch(tuple(batch))


class _StoredResults:
    """Results of a kernel as JSON values, and back, by the type that the kernel is annotated with."""

    def __init__(self, kernel: Callable[..., Any], root: Path) -> None:
        function = kernel.func if isinstance(kernel, functools.partial) else kernel
        kind = get_type_hints(function).get("return")
        if kind is None:
            raise UsageError(
                "a kernel does not say what it returns, so its results cannot be stored",
                where=_kernel_name(kernel),
                expected="a return annotation other than None",
            )
        self._root = root
        self._kernel = _kernel_name(kernel)
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(list[kind])  # type: ignore[valid-type]
        except (PydanticSchemaGenerationError, PydanticUserError) as error:
            raise _not_json(self._kernel, kind) from error

    def encode(self, results: list[Any]) -> Any:
        """JSON values that give back equal results.

        Raises:
            UsageError: there are none.
        """
        try:
            values = self._adapter.dump_python(results, mode="json", warnings="error")
        except PydanticSerializationError as error:
            raise _not_json(self._kernel, results[0]) from error
        values = _movable(values, self._root)
        # By text, since a NaN is no equal of itself and 1 is one of 1.0.
        if repr(self.decode(json.loads(json.dumps(values)))) != repr(results):
            raise _not_json(self._kernel, results[0])
        return values

    def decode(self, values: Any) -> list[Any] | None:
        """The results that `encode` stored, or None where they are not of the type that the kernel gives now."""
        try:
            return list(self._adapter.validate_python(_placed(values, self._root)))
        except ValidationError:
            return None


def _read_stage(path: Path) -> dict[str, Any] | None:
    """The content of a stage's manifest, or None where there is none or it cannot be read."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and {"stamp", "files", "results"} <= content.keys() else None


def _file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        if not path.stat().st_size:
            return xxh3_128(b"").hexdigest()
        # Mapped, not read: the bytes were just written, and a copy of them takes as long as their digest.
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return xxh3_128(content).hexdigest()


def _kernel_name(kernel: Callable[..., Any]) -> str:
    function = kernel.func if isinstance(kernel, functools.partial) else kernel
    return f"{function.__module__}.{function.__qualname__}"


def _movable(value: Any, root: Path) -> Any:
    """JSON values with every path below `root` written relative to it."""
    prefix = f"{root.as_posix()}/"
    return _each_text(value, lambda text: _MOVABLE + text[len(prefix) :] if text.startswith(prefix) else text)


def _placed(value: Any, root: Path) -> Any:
    """The reverse of `_movable`."""
    prefix = f"{root.as_posix()}/"
    return _each_text(value, lambda text: prefix + text[len(_MOVABLE) :] if text.startswith(_MOVABLE) else text)


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each_text(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _each_text(item, change) for key, item in value.items()}
    return value


def _not_json(where: str, value: object) -> UsageError:
    kind = value if isinstance(value, type) else type(value)
    return UsageError(
        "what a stage is given and gives back must be storable as JSON",
        where=where,
        received=kind.__qualname__,
        expected="dataclasses of texts, numbers, booleans, paths, and lists, tuples and dictionaries of them",
    )
