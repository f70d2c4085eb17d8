"""The collector of garbage, kept from looking through what was there before.

Decoding makes objects by the million and frees them at once; none is part of a circle. Python sees only that many are
made and searches all objects of the process again and again, 60 ms each time: a fifth of the time of records that nest.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["calm_collector"]


@contextmanager
def calm_collector() -> Iterator[None]:
    """Until the end, objects that are there already are not searched; new ones are collected as ever.

    Where the program has frozen objects itself, nothing is changed, since they could not be told apart afterwards.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
