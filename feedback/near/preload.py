"""The compiled loops, loaded beside other work: half a second that nobody then waits for.

Where numba's cache is empty they are compiled, for seconds, and a process may be done before. It must not end
meanwhile: LLVM is then taken down under the thread that uses it, and the process may abort. So the thread is no daemon:
the interpreter waits for the loop that is being loaded, and no further one is begun.
"""

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
    """Begin to load the loops in a thread; whoever needs them first waits for it, and so does the interpreter's end."""
    threading.Thread(target=load_loops, name="thumbline-preload").start()


def load_loops() -> None:
    """Load the loops; those that are left when the program has come to its end are not needed any more."""
    for name in _LOOPS:
        if not threading.main_thread().is_alive():
            return
        importlib.import_module(name)
