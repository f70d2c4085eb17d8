"""Memory that a training step frees is kept for the next one, instead of going back to the system and being asked anew.

Each pass of a step makes and frees the same tensors. The allocator of the C library hands large ones back at once, and
the system clears every page of them again at the next pass. What is kept has a price: tensors that live leave holes
between those that are freed, often too small for the next one. So tensors of more than 2 MiB still go back.

What loading leaves is given back before the first pass. After the run everything that was kept goes back: a process
that trains several times, or goes on with other work, does not hold the memory of its runs.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["give_back", "kept_memory"]

_TRIM_THRESHOLD: Final = -1  # names of malloc.h
_MMAP_THRESHOLD: Final = -3
_MOST: Final = 2**31 - 1
_LARGEST: Final = 2 * 2**20
_USUAL: Final = 128 * 2**10  # what glibc begins with, for both


@contextmanager
def kept_memory() -> Iterator[bool]:
    """The allocator of this process keeps what is freed, until the end; whether it does so, as only glibc can."""
    library = _glibc()
    if library is None:
        yield False
        return
    try:
        yield bool(library.mallopt(_TRIM_THRESHOLD, _MOST) and library.mallopt(_MMAP_THRESHOLD, _LARGEST))
    finally:
        library.mallopt(_TRIM_THRESHOLD, _USUAL)
        library.mallopt(_MMAP_THRESHOLD, _USUAL)
        give_back()


def give_back() -> None:
    """Give what is free back to the system, as far as the C library can."""
    library = _glibc()
    if library is not None:
        gc.collect()  # a model is freed by its last reference or, where it refers to itself, by the collector
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    try:
        library = ctypes.CDLL("libc.so.6")
    except OSError:  # another C library
        return None
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
