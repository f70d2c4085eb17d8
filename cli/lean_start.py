"""A quick start, and a quick end, for commands of curation.

What they need is loaded beside other work, what they do not need is not, and nothing is taken apart behind them.

numba looks for scipy, coverage, cffi and yaml, pyarrow for pandas, and each loads what is installed, though nothing
here uses them: together half a second. All this concerns the whole process, so it is done for a command only, never for
a program that imports `feedback`.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Final

__all__ = ["leave_lean", "start_lean"]

_NOT_NEEDED: Final = ("cffi", "coverage", "pandas", "scipy", "yaml")
_CONTAINERS: Final = 400_000
"""Containers made before garbage in cycles is looked for: a block of ten thousand records makes more than the 700 that
Python takes, and no cycles."""


def start_lean(inputs: Iterable[str] = ()) -> None:
    """Begin to load numba and pyarrow in a thread, and to hash files in another; to be called before numpy is imported.

    Args:
        inputs: what will be read; files among it are hashed, see `feedback.records.digest_ahead`.
    """
    from feedback.records.digest_ahead import begin_digests

    # Linear algebra is not used, and its threads spin for work.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(_CONTAINERS)
    threading.Thread(target=_load, name="thumbline-start").start()  # no daemon, see `feedback.near.preload`
    begin_digests(inputs)


def leave_lean(code: int) -> None:
    """End the process with an exit code where `start_lean` began it on this machine alone; else return.

    Objects are not taken apart one by one, which takes a twentieth of a second behind a large run: the system frees
    them at once. By then all files are whole and all pools of threads are closed. A loop that is still being loaded is
    not waited for, as nothing is taken down under it.
    """
    places = sys.modules.get("feedback.store.places")
    has_copies = places is not None and places.has_copies()  # of a store in a bucket, its key and raw votes among them
    if gc.get_threshold()[0] != _CONTAINERS or "ray" in sys.modules or has_copies:
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _load() -> None:
    with _hidden(_NOT_NEEDED):
        import numba.np.arraymath  # noqa: F401 - it looks for scipy
        import pyarrow as pa

        pa.array([0])  # it looks for pandas
        from feedback.near.preload import load_loops

        load_loops()


@contextmanager
def _hidden(names: Sequence[str]) -> Iterator[None]:
    """Packages that this thread cannot import meanwhile; other threads can, and what is loaded already stays."""
    finder = _Hiding(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Hiding(MetaPathFinder):
    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)
        self._thread = threading.get_ident()

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        del path, target
        if fullname in self._names and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{fullname} is not needed here", name=fullname)
