"""Taking a promotion back, under the same lock as the runs that promote."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from align.champion.registry import LOCK_NAME, Decision, Registry
from schemas.errors import InputNotFoundError
from schemas.lock import folder_lock

__all__ = ["roll_back"]


def roll_back(folder: Path, to: str | None = None, *, reason: str = "") -> Decision:
    """Make an earlier champion champion again.

    Args:
        folder: folder of `thumbline retrain`.
        to: id of the run whose model is wanted; null takes the champion before this one.
        reason: why, for the history.

    Raises:
        LockedError: a run is at work in the folder; it is named.
        UsageError: there is no champion, or none before it.
        UnknownChoiceError: no champion was of that run.
        InputNotFoundError: the wanted model is not there any more.
    """
    with folder_lock(folder / LOCK_NAME, purpose="thumbline rollback"):
        registry = Registry(folder)
        latest = registry.latest()
        wanted = None if latest is None else latest.previous if to is None else registry.models().get(to)
        if wanted is not None and not (folder / wanted.folder).is_dir():
            raise InputNotFoundError("the model is not there any more", where=folder / wanted.folder)
        return registry.rollback(to, reason=reason, decided_at=datetime.now(UTC).isoformat(timespec="seconds"))
