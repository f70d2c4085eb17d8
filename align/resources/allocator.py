"""Memory that a training step frees is kept for the next one, instead of going back to the system and being asked anew.

Each pass of a step makes and frees the same tensors. The allocator of the C library hands large ones back at once, and
the system clears every page of them again at the next pass.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Final

__all__ = ["keep_memory"]

_TRIM_THRESHOLD: Final = -1  # names of malloc.h
_MMAP_THRESHOLD: Final = -3
_MOST: Final = 2**31 - 1
_LARGEST: Final = 32 * 2**20  # the most that glibc takes


def keep_memory() -> bool:
    """Tell the allocator of this process to keep what is freed; whether it was told, as only glibc can be."""
    if sys.platform != "linux":
        return False
    try:
        library = ctypes.CDLL("libc.so.6")
        tell = library.mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(tell(_TRIM_THRESHOLD, _MOST) and tell(_MMAP_THRESHOLD, _LARGEST))
