"""Kernels of oneDNN's products on a CPU: fewer are kept, since each number of tokens asks for new ones.

    a pass of a new length ─► about 40 kernels, a third of a MiB each ─► kept by oneDNN, and once more by PyTorch

By themselves both keep 1,024, so that a process grows by 11 MiB with every new length, up to some 400. A pass needs
those of its own length only: layers have the same shapes.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Final

import torch

__all__ = ["bound_kernel_caches"]

_LIMITS: Final = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""Variables that oneDNN and PyTorch's layer over it read when they make their first kernel."""
_KERNELS: Final = "64"
_SIDE: Final = 64  # of the smallest product that goes to oneDNN, and more


@cache
def bound_kernel_caches() -> None:
    """Let this process keep the kernels of about two lengths, unless it made one before or was told otherwise.

    Its environment is afterwards as it was, so nothing is passed on to other processes.
    """
    ours = {name: _KERNELS for name in _LIMITS if name not in os.environ}
    os.environ.update(ours)
    try:
        square = torch.zeros(_SIDE, _SIDE, dtype=torch.bfloat16)
        torch.mm(square, square)
    finally:
        for name in ours:
            del os.environ[name]
