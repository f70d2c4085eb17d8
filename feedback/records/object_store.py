"""Files in an S3 bucket: found by key, folder or glob, and read as streams, through Arrow's own S3 client.

Credentials and region come from where every AWS tool takes them: the environment, `~/.aws`, the machine's role. Another
server (MinIO, R2, ...) is named by AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL; AWS_SKIP_SIGNATURE=true reads without
credentials what is public.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from glob import has_magic
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Final, cast

from feedback.records.data_names import SUFFIXES, data_names, matches_glob
from schemas.error_text import first_line
from schemas.errors import InputError, InputNotFoundError, UsageError

__all__ = ["StoredObject", "find_objects"]

_SCHEME: Final = "s3://"
_BUFFER: Final = 8 << 20
_PATIENCE_S: Final = 60


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a bucket.

    Args:
        path: bucket and key.
        size: its bytes.
        changed: when it was written, as the store says it.
        store: the client to read it with.
    """

    path: str
    size: int
    changed: str
    store: Any = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """The last part of its key."""
        return PurePosixPath(self.path).name

    @property
    def state(self) -> tuple[str, ...]:
        """What changes when the object does."""
        return self.path, str(self.size), self.changed

    def open(self) -> BinaryIO:
        """Its bytes as they are stored, as a stream.

        Raises:
            InputError: the store does not give it.
        """
        with _told(self.path):
            return cast(BinaryIO, _Stream(self.store.open_input_stream(self.path, None, _BUFFER), self.path))


class _Stream:
    """An Arrow stream whose errors say which object they are of."""

    def __init__(self, stream: Any, path: str) -> None:
        self._stream = stream
        self._path = path

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`."""
        with _told(self._path):
            return cast(bytes, self._stream.read(size))

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` with the next bytes; how many they are."""
        with _told(self._path):
            return cast(int, self._stream.readinto(buffer))

    def close(self) -> None:
        """End the request."""
        self._stream.close()


def find_objects(url: str) -> list[StoredObject]:
    """The objects that `url` names, sorted by key.

    Args:
        url: `s3://BUCKET/KEY`; a KEY with `*`, `?`, `[` or `**` is a glob, one of a folder stands for the data files
            below it.

    Raises:
        UsageError: the URL names no bucket, or holds credentials.
        InputNotFoundError: nothing is there.
        InputError: the store cannot be reached, or refuses.
    """
    path = url[len(_SCHEME) :]
    bucket, _, key = path.partition("/")
    if not bucket or "@" in bucket or has_magic(bucket):
        raise UsageError(
            "the URL does not begin with the name of a bucket",
            where=url,
            expected="s3://BUCKET/KEY",
            todo="Credentials are taken from the environment or ~/.aws, see docs/sources.md",
        )
    store = _open_store(bucket, url)
    from pyarrow.fs import FileSelector, FileType

    with _told(path):
        found = store.get_file_info(path.rstrip("/"))
        if found.type == FileType.File and not key.endswith("/"):
            return [_stored(found, store)]
        is_glob = found.type != FileType.Directory and has_magic(key)
        folder = _folder_of(path) if is_glob else path.rstrip("/")
        is_deep = not is_glob or "/" in path[len(folder) + 1 :]
        selector = FileSelector(folder, allow_not_found=True, recursive=is_deep)
        inside = {info.path: info for info in store.get_file_info(selector) if info.type == FileType.File}
    if is_glob:
        chosen = sorted(name for name in inside if matches_glob(name, path))
    else:
        chosen = [f"{folder}/{name}" for name in data_names(name[len(folder) + 1 :] for name in inside)]
    if not chosen:
        raise _nothing_found(url, is_glob=is_glob, is_empty=not inside)
    return [_stored(inside[name], store) for name in chosen]


def _stored(info: Any, store: Any) -> StoredObject:
    return StoredObject(info.path, info.size, str(info.mtime_ns), store)


def _folder_of(path: str) -> str:
    """The folders before the first one with a sign of a glob."""
    parts = path.split("/")
    first = next(place for place, part in enumerate(parts) if has_magic(part))
    return "/".join(parts[:first])


def _nothing_found(url: str, *, is_glob: bool, is_empty: bool) -> InputNotFoundError:
    if is_glob:
        return InputNotFoundError("no object matches the pattern", where=url)
    if is_empty:
        return InputNotFoundError("no such object or folder", where=url, todo="For keys that begin so, end it with *")
    return InputNotFoundError(
        "the folder holds no data file", where=url, expected=f"objects ending in {', '.join(SUFFIXES)}"
    )


def _open_store(bucket: str, url: str) -> Any:
    from pyarrow.fs import S3FileSystem, resolve_s3_region

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    options: dict[str, Any] = {"connect_timeout": _PATIENCE_S, "request_timeout": _PATIENCE_S}
    if endpoint:
        scheme, _, host = endpoint.rpartition("://")
        options |= {"endpoint_override": host.rstrip("/"), "scheme": scheme or "https"}
    if os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in {"1", "true", "yes"}:
        options["anonymous"] = True
    with _told(url):
        # Without a region the client asks the store for it; another server than AWS does not care.
        options["region"] = region or ("us-east-1" if endpoint else resolve_s3_region(bucket))
        return S3FileSystem(**options)


@contextmanager
def _told(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputNotFoundError("no such bucket or object", where=_with_scheme(path)) from error
    except OSError as error:
        raise InputError(
            f"the object store did not answer as it should ({first_line(error)})",
            where=_with_scheme(path),
            todo="Check the name, the credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID, ~/.aws), AWS_REGION and "
            "AWS_ENDPOINT_URL; AWS_SKIP_SIGNATURE=true reads a public bucket without any",
        ) from error


def _with_scheme(path: str) -> str:
    return path if path.startswith(_SCHEME) else _SCHEME + path
