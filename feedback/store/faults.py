"""Places where a test may break the store: a name before and after every operation on files that it depends on.

`faultpoint` does nothing unless the environment variable FAULT asks for it:

    FAULT=NAME:KIND       at the first passage of NAME
    FAULT=NAME@3:KIND     at the third
    FAULT=trace:FILE      nothing breaks; every name that is passed is written down, a line each

A kind is one of `kill` (SIGKILL), `enospc` and `eio` (the error that the system would give), and `torn` (a file that
is not flushed yet loses its second half, and then SIGKILL: what a power cut may leave of it).
"""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Final

from schemas.errors import UsageError

__all__ = ["FAULT_KINDS", "FAULT_VARIABLE", "faultpoint"]

FAULT_VARIABLE: Final = "FAULT"
FAULT_KINDS: Final = ("kill", "enospc", "eio", "torn")

_TRACE: Final = "trace:"
_ERRORS: Final = {"enospc": errno.ENOSPC, "eio": errno.EIO}
_PASSED: Final[Counter[str]] = Counter()


def faultpoint(name: str, path: Path | None = None, *, unflushed: bool = False) -> None:
    """Break here, if the environment asks for it.

    Args:
        name: what is about to happen, or has just happened, for example `commit.before`.
        path: the file that it happens to.
        unflushed: whether a power cut could still tear the file.

    Raises:
        OSError: the fault is an error of the system.
        UsageError: FAULT is not of the form above.
    """
    asked = os.environ.get(FAULT_VARIABLE)
    if asked is None:
        return
    _PASSED[name] += 1
    if asked.startswith(_TRACE):
        with Path(asked[len(_TRACE) :]).open("a", encoding="utf-8") as stream:
            stream.write(name + "\n")
        return
    wanted, passage, kind = _parsed(asked)
    if name == wanted and _PASSED[name] == passage:
        _break(kind, path, unflushed=unflushed)


@lru_cache(maxsize=1)
def _parsed(asked: str) -> tuple[str, int, str]:
    place, _, kind = asked.rpartition(":")
    name, _, passage = place.partition("@")
    if not name or kind not in FAULT_KINDS or not (passage or "1").isdigit():
        raise UsageError(
            "the fault cannot be read",
            where=FAULT_VARIABLE,
            received=asked,
            expected=f"NAME[@PASSAGE]:KIND with one of {', '.join(FAULT_KINDS)}, or {_TRACE}FILE",
        )
    return name, int(passage or 1), kind


def _break(kind: str, path: Path | None, *, unflushed: bool) -> None:
    if kind in _ERRORS:
        code = _ERRORS[kind]
        raise OSError(code, os.strerror(code), None if path is None else str(path))
    if kind == "torn" and unflushed and path is not None and path.is_file():
        os.truncate(path, path.stat().st_size // 2)
    os.kill(os.getpid(), signal.SIGKILL)
