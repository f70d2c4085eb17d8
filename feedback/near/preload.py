"""The compiled loops, loaded beside other work: half a second that nobody then waits for."""

from __future__ import annotations

import importlib
import threading
from typing import Final

__all__ = ["load_loops", "preload"]

_LOOPS: Final = (
    "feedback.hash_kernels",
    "feedback.near.kernels",
    "feedback.near.pair_kernels",
    "feedback.records.byte_kernels",
    "feedback.records.json_scan",
    "feedback.records.line_kernels",
    "feedback.records.text_kernels",
    "feedback.turn_kernels",
)


def preload() -> None:
    """Begin to load the loops in a thread; whoever needs them first waits for it."""
    threading.Thread(target=load_loops, name="thumbline-preload", daemon=True).start()


def load_loops() -> None:
    """Load the loops."""
    for name in _LOOPS:
        importlib.import_module(name)
