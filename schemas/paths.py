"""Paths as callers give them, a text or a `Path`, one or several: what names nothing is refused before it means `.`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from schemas.errors import UsageError

__all__ = ["AnyPath", "path_of", "path_texts"]

AnyPath = str | os.PathLike[str]
"""A path, or what stands for one in an input: a glob or a URL."""


def path_of(given: AnyPath, *, name: str = "path") -> Path:
    """What was given, as a `Path`.

    Args:
        given: a text or a path.
        name: the argument's name, for an error.

    Raises:
        UsageError: it is blank, or neither a text nor a path.
    """
    return Path(_text_of(given, name))


def path_texts(given: AnyPath | Iterable[AnyPath], *, name: str = "inputs") -> tuple[str, ...]:
    """What was given, as texts; one text or path is one input, not its letters.

    >>> path_texts("votes.jsonl"), path_texts([Path("a"), "s3://bucket/b"])
    (('votes.jsonl',), ('a', 's3://bucket/b'))

    Args:
        given: one or several.
        name: the argument's name, for an error.

    Raises:
        UsageError: there is none, or one is blank, or neither a text nor a path.
    """
    several = (given,) if isinstance(given, str | os.PathLike) else given
    texts = tuple(_text_of(one, name) for one in several)
    if not texts:
        raise UsageError("nothing is named", where=name, expected="one or more paths")
    return texts


def _text_of(given: object, name: str) -> str:
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(text, str) or not text.strip():
        raise UsageError("this names no file or folder", where=name, received=given, expected="a path, as text or Path")
    return text
