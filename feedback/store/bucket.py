"""A prefix of an S3 bucket: objects read, written, listed and deleted; written once only where that is asked for.

Through obstore, which is the client that deltalake has inside. Credentials, region and endpoint come from the
environment, as those of sources do.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from schemas.error_text import first_line
from schemas.errors import InputError, MissingExtraError, UsageError

__all__ = ["Bucket", "StoredObject"]

_SCHEME: Final = "s3://"
_PATIENCE_S: Final = 60


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object.

    Args:
        name: its key below the prefix.
        size: its bytes.
        tag: another one whenever its bytes are others.
        changed_ms: when it was written, in milliseconds since 1970, by the object store's clock.
    """

    name: str
    size: int
    tag: str
    changed_ms: float


class Bucket:
    """The objects below a prefix.

    Args:
        url: `s3://BUCKET/PREFIX`.

    Raises:
        UsageError: the URL is not of this form.
        MissingExtraError: the extra `s3` is not installed.
    """

    def __init__(self, url: str) -> None:
        bucket, _, prefix = url.removeprefix(_SCHEME).partition("/")
        prefix = prefix.strip("/")
        if not url.startswith(_SCHEME) or not bucket or "@" in bucket or not prefix:
            raise UsageError(
                "the place of a store in an object store is a bucket and a prefix",
                where="--store",
                received=url,
                expected="s3://BUCKET/PREFIX",
                todo="Credentials are taken from the environment, see docs/store.md",
            )
        self.url = f"{_SCHEME}{bucket}/{prefix}"
        try:
            from obstore.store import S3Store
        except ImportError as error:
            raise MissingExtraError("obstore", "s3") from error
        with self._told(""):
            self._store = S3Store(bucket, prefix=prefix, **_settings())

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object whose name begins with the folders `prefix`."""
        import obstore

        with self._told(prefix):
            for chunk in obstore.list(self._store, prefix or None):
                for one in chunk:
                    yield _stored(one)

    def head(self, name: str) -> StoredObject | None:
        """An object without its bytes; None where there is none."""
        import obstore

        try:
            with self._told(name):
                return _stored(obstore.head(self._store, name))
        except FileNotFoundError:
            return None

    def top_level(self) -> set[str]:
        """The names of objects and folders right below the prefix."""
        import obstore

        with self._told(""):
            found = obstore.list_with_delimiter(self._store)
        return {Path(name).name for name in (*found["common_prefixes"], *(one["path"] for one in found["objects"]))}

    def get(self, name: str) -> bytes | None:
        """The bytes of an object; None where there is none."""
        import obstore

        try:
            with self._told(name):
                return bytes(obstore.get(self._store, name).bytes())
        except FileNotFoundError:
            return None

    def fetch(self, name: str, path: Path) -> None:
        """Write the bytes of an object to a file.

        Raises:
            FileNotFoundError: there is none.
        """
        import obstore

        with self._told(name), path.open("wb") as file:
            for chunk in obstore.get(self._store, name).stream():
                file.write(chunk)

    def reader(self, name: str) -> io.RawIOBase:
        """A file to read parts of, of which only these are asked for.

        Raises:
            FileNotFoundError: there is none.
        """
        import obstore

        with self._told(name):
            return _PartReader(obstore.open_reader(self._store, name))

    def put(self, name: str, path: Path) -> str:
        """Write a file to an object, in place of the one that is there; its tag."""
        import obstore

        with self._told(name):
            return str(obstore.put(self._store, name, path)["e_tag"])

    def create(self, name: str, content: bytes) -> bool:
        """Write an object where there is none (`If-None-Match`); whether it is ours.

        An answer that was lost on its way is asked for again, so that bytes which are there already may be ours.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            with self._told(name):
                obstore.put(self._store, name, content, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return self.get(name) == content
        return True

    def delete(self, name: str) -> None:
        """Delete an object; one that is not there is no error."""
        import obstore

        with self._told(name):
            obstore.delete(self._store, name)

    @contextmanager
    def _told(self, name: str) -> Iterator[None]:
        from obstore.exceptions import AlreadyExistsError, BaseError

        try:
            yield
        except AlreadyExistsError:
            raise
        except BaseError as error:
            raise InputError(
                f"the object store did not answer as it should ({first_line(error)})",
                where=f"{self.url}/{name}".rstrip("/"),
                todo="Check the name, the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the machine's "
                "role), AWS_REGION and AWS_ENDPOINT_URL. Nothing that was acknowledged is lost",
            ) from error


class _PartReader(io.RawIOBase):
    """An object as a file that can be sought in."""

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` with the next bytes; how many they are."""
        data = memoryview(self._stream.read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to another place; where it is."""
        return int(self._stream.seek(offset, whence))

    def tell(self) -> int:
        """Where the next byte is read."""
        return int(self._stream.tell())


def _stored(found: Any) -> StoredObject:
    changed = found["last_modified"]
    return StoredObject(found["path"], found["size"], found["e_tag"] or str(changed), changed.timestamp() * 1000)


def _settings() -> dict[str, Any]:
    """What the environment says beside what the client reads of it itself."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    told: dict[str, Any] = {"client_options": {"timeout": f"{_PATIENCE_S}s", "allow_http": True}}
    if endpoint:
        told |= {"endpoint": endpoint, "region": region or "us-east-1"}
    elif region:
        told["region"] = region
    return told
