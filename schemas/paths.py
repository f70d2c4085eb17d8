"""Paths as callers give them, a text or a `Path`, one or several: what names nothing is refused before it means `.`."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from schemas.errors import UsageError

__all__ = ["AnyPath", "beside", "output_place", "path_of", "path_texts"]

AnyPath = str | os.PathLike[str]
"""A path. An input may be a glob or a URL too, that one as a text: a `Path` makes one slash of its two."""

_NAME_BYTES: Final = 255
"""Longest name of a file, on nearly every file system."""

_NO_PLACE: Final = frozenset({errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR})
"""What systems say of a path at which there cannot be anything, and not of a disk or of rights."""

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def path_of(given: AnyPath, *, name: str = "path") -> Path:
    """What was given, as a `Path` of this machine.

    Args:
        given: a text or a path.
        name: the argument's name, for an error.

    Raises:
        UsageError: it is blank, has a NUL, is a URL, or neither a text nor a path.
    """
    text = _text_of(given, name)
    if _URL.match(text):
        raise UsageError(
            "a URL cannot stand here",
            where=name,
            received=text,
            expected="a file or folder of this machine",
            todo="Name one, and copy it from or to the other place",
        )
    return Path(text)


def path_texts(given: AnyPath | Iterable[AnyPath], *, name: str = "inputs") -> tuple[str, ...]:
    """What was given, as texts; one text or path is one input, not its letters.

    >>> path_texts("votes.jsonl"), path_texts([Path("a"), "s3://bucket/b"])
    (('votes.jsonl',), ('a', 's3://bucket/b'))

    Args:
        given: one or several.
        name: the argument's name, for an error.

    Raises:
        UsageError: there is none, or one is blank, has a NUL, or is neither a text nor a path.
    """
    several = given if isinstance(given, Iterable) and not isinstance(given, str | bytes | os.PathLike) else (given,)
    texts = tuple(_text_of(one, name) for one in several)
    if not texts:
        raise UsageError("nothing is named", where=name, expected="one or more paths")
    return texts


def output_place(out: Path) -> Path:
    """Where what is written to `out` comes to lie: without links and `..`, so that nobody looks elsewhere for it.

    Args:
        out: a file or folder, there or not.

    Raises:
        UsageError: nothing can be there, for example as a file stands where a folder has to be.
    """
    try:
        place = out.resolve()
        place.stat()
    except FileNotFoundError:
        return place
    except (OSError, RuntimeError) as error:  # before Python 3.13 a loop of links is a RuntimeError
        if isinstance(error, OSError) and error.errno not in _NO_PLACE:
            raise
        reason = error.strerror if isinstance(error, OSError) else "a link leads back to itself"
        raise UsageError(f"nothing can be written here ({reason})", where=out, todo="Name another output") from error
    return place


def beside(path: Path, before: str, after: str) -> Path:
    """The path of what lies beside a file or folder and is named after it; by a digest where that is too long a name.

    >>> beside(Path("runs/out"), ".", ".lock").name, len(beside(Path("n" * 250), ".", ".lock").name)
    ('.out.lock', 38)

    Args:
        path: the file or folder, with a name.
        before: what its name stands behind.
        after: what stands behind its name.
    """
    name = os.fsencode(path.name)
    is_long = len(before) + len(name) + len(after) > _NAME_BYTES
    return path.with_name(f"{before}{hashlib.sha256(name).hexdigest()[:32] if is_long else path.name}{after}")


def _text_of(given: object, name: str) -> str:
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise UsageError("this names no file or folder", where=name, received=given, expected="a path, as text or Path")
    return text
