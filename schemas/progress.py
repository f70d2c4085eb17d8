"""How long work tells how far it is: a protocol that the command line draws and libraries may ignore."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["Advance", "Progress", "silent"]

Advance = Callable[[int], None]
"""Called with the units of work done since the last call."""


class Progress(Protocol):
    """Opens a bar for a task and gives back the function that moves it."""

    def __call__(self, description: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """A context in which `description` is shown, with `total` units to do (None: unknown)."""
        ...


@contextmanager
def silent(description: str, total: int | None = None) -> Iterator[Advance]:
    """Progress that shows nothing."""
    del description, total
    yield _ignore


def _ignore(units: int) -> None:
    del units
