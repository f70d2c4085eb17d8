"""One run at a time in a folder: the lock of `schemas.lock`, held from before anything is loaded until the run ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from align.artifacts.card import RUN_CARD_NAME
from schemas.lock import folder_lock

__all__ = ["RUN_LOCK_NAME", "locked_run"]

RUN_LOCK_NAME: Final = "run.lock"
"""The lock's file, in the run's folder while the run is not finished."""


@contextmanager
def locked_run(out: Path) -> Iterator[None]:
    """A context in which this run alone writes into `out`; of several processes of a run, the first holds the lock.

    A folder in which nothing was begun is removed again.

    Args:
        out: the run's folder; made where it is absent.

    Raises:
        LockedError: another run is at work there.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    out.mkdir(parents=True, exist_ok=True)
    lock = out / RUN_LOCK_NAME
    with folder_lock(lock, purpose="thumbline train"):
        try:
            yield
        finally:
            is_alone = [path.name for path in out.iterdir()] == [RUN_LOCK_NAME]
            # Of an unfinished run it stays: who waits for this very file must not get it while another makes a new one.
            if is_alone or (out / RUN_CARD_NAME).is_file():
                lock.unlink(missing_ok=True)
            if is_alone:
                out.rmdir()
