"""The collector of garbage, kept from looking through what was there before.

Decoding makes objects by the million and frees them at once; none is part of a circle. Python sees only that many are
made and searches all objects of the process again and again, 60 ms each time: a fifth of the time of records that nest.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["calm_collector"]

_MADE_AT_ONCE: Final = 200_000
"""More objects than a piece of a block holds; by the next piece they are gone without a search."""


@contextmanager
def calm_collector() -> Iterator[None]:
    """Until the end, objects that are there already are not searched, and new ones only where very many stay.

    Where the program has frozen objects itself, nothing is changed, since they could not be told apart afterwards.
    """
    if gc.get_freeze_count():
        yield
        return
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(max(before[0], _MADE_AT_ONCE) if before[0] else 0, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
