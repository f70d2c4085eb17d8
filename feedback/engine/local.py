"""All cores of this machine: kernels on threads, or on processes where Python itself is the work.

Polars and Arrow let other threads run while they work, so threads are enough for kernels made of them.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import (
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from schemas.errors import ThumblineError, UsageError

__all__ = ["LocalEngine", "usable_cores"]

T = TypeVar("T")
R = TypeVar("R")


class LocalEngine:
    """Runs kernels on this machine.

    Args:
        workers: kernels that run at once, at least 1; null takes one for each core that this process may use.
        processes: run them in processes of their own, for kernels that keep Python busy. Each process loads the
            kernel's module anew, and a script that uses it needs `if __name__ == "__main__":`.
    """

    def __init__(self, workers: int | None = None, *, processes: bool = False) -> None:
        if workers is not None and workers < 1:
            raise UsageError("no worker is left to run a task", received=workers, expected="at least 1")
        self.workers = workers or usable_cores()
        self._processes = processes

    def run(self, name: str, kernel: Callable[[T], R], tasks: Iterable[T], *, key: str = "") -> list[R]:
        """The kernel's results, in the order of the tasks; see `feedback.engine.plan.Engine`.

        At most `workers` tasks run and one waits, so an iterator of big tasks is never read further ahead. When one
        fails, or on Ctrl-C, no other is started; the call returns when those that run are done, so nothing is written
        after it.

        Raises:
            Exception: what the kernel raised, unchanged; where several tasks failed, the error of the first of them.
            ThumblineError: a process died.
        """
        del key
        futures: list[Future[R]] = []
        pool = self._executor()
        try:
            try:
                _submit_all(pool, kernel, tasks, futures, limit=self.workers)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
            # Tasks start in their order, so whatever was cancelled comes after the first one that failed.
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise ThumblineError(
                "a process that ran a task was killed",
                where=f"stage {name!r}",
                todo="Usually memory ran out: use fewer workers, or smaller blocks",
            ) from error

    def _executor(self) -> Executor:
        if self._processes:
            # A forked child would inherit the locks of polars' threads, without the threads that hold them.
            return ProcessPoolExecutor(self.workers, mp_context=multiprocessing.get_context("spawn"))
        return ThreadPoolExecutor(self.workers, thread_name_prefix="thumbline")


def usable_cores() -> int:
    """Cores that this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def _submit_all(
    pool: Executor, kernel: Callable[[T], R], tasks: Iterable[T], futures: list[Future[R]], *, limit: int
) -> None:
    """Submit tasks while none has failed, never more than one beyond those that run; wait for the last."""
    running: set[Future[R]] = set()
    for task in tasks:
        future = pool.submit(kernel, task)
        futures.append(future)
        running.add(future)
        if len(running) > limit:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            if any(one.exception() is not None for one in done):
                return
    wait(running, return_when=FIRST_EXCEPTION)
