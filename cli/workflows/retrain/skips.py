"""Calls that had nothing to do or were locked out (exit code 75): a line each, so that metrics can count them.

    FOLDER/skipped.jsonl    {"at": ISO 8601 in UTC, "why": "nothing_new" | "locked" | "overtaken"}

A line is appended in one write, also by a call that the lock of the folder keeps out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from schemas.errors import LockedError, NothingToDoError, NotNowError, RegistryConflictError

__all__ = ["WHY", "Skips", "note_skip", "read_skips"]

WHY: Final[Mapping[type[NotNowError], str]] = {
    NothingToDoError: "nothing_new",
    LockedError: "locked",
    RegistryConflictError: "overtaken",
}
"""What a skipped call is counted as."""

_NAME: Final = "skipped.jsonl"


@dataclass(frozen=True, slots=True)
class Skips:
    """Skipped calls so far.

    Args:
        counts: how many, by a word of `WHY`.
        last_at: when the newest one was, ISO 8601 in UTC; null where there is none.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    last_at: str | None = None


def note_skip(folder: Path, error: NotNowError) -> None:
    """Write down that a call was skipped.

    Args:
        folder: the folder of runs.
        error: why.
    """
    line = json.dumps({"at": datetime.now(UTC).isoformat(timespec="seconds"), "why": WHY[type(error)]}) + "\n"
    handle = os.open(folder / _NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def read_skips(folder: Path) -> Skips:
    """What was written down; a line that a crash cut off is passed over.

    Args:
        folder: the folder of runs.
    """
    path = folder / _NAME
    counts = dict.fromkeys(WHY.values(), 0)
    last_at: str | None = None
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        try:
            said = json.loads(line)
            counts[said["why"]] += 1
            last_at = said["at"]
        except (ValueError, KeyError, TypeError):
            continue
    return Skips(counts, last_at)
