"""What a stage is, whichever engine runs it: Map, Shuffle or Agg over files.

    Map      kernel(task) for each task                     one result a task, in the order of the tasks
    Shuffle  scatter(task) ─► a file per partition ─► gather(partition)   one result a partition, in their order
    Agg      partial(task) for each task ─► merge           one small value, merged by the caller

An engine knows none of this: it runs a kernel over tasks. So whatever holds of `Engine.run` holds of all three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from feedback.engine.files import Scattered

__all__ = ["Agg", "Engine", "Map", "Partition", "Shuffle"]

T = TypeVar("T")
R = TypeVar("R")
P = TypeVar("P")


class Engine(Protocol):
    """Runs a kernel over tasks."""

    def run(self, name: str, kernel: Callable[[T], R], tasks: Iterable[T], *, key: str = "") -> list[R]:
        """The kernel's results, in the order of the tasks.

        Args:
            name: the stage's name, unique in a plan: lower-case letters, digits and hyphens.
            kernel: a function of a module, so that it can be sent to another process; run twice, it must leave the
                same files and give the same result.
            tasks: frozen dataclasses of paths and plain values. An iterator is read only as fast as tasks are done.
            key: what the stage depends on beside its tasks, for example its config and the digest of its input. An
                engine that keeps what it did skips a stage that is complete under the same key.

        Raises:
            Exception: what the kernel raised, unchanged; where several tasks failed, the error of the first of them.
        """
        ...


@dataclass(frozen=True, slots=True)
class Partition:
    """What the scattering tasks left for one partition.

    Args:
        number: the partition, from 0.
        files: its files, one for each scattering task that had rows for it, in the order of the tasks.
        rows: rows in them.
    """

    number: int
    files: tuple[Path, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Map(Generic[T, R]):
    """A kernel for each task; see `Engine.run` for the parts."""

    name: str
    kernel: Callable[[T], R]
    tasks: Iterable[T]
    key: str = ""

    def run(self, engine: Engine) -> list[R]:
        """The results in the order of the tasks."""
        return engine.run(self.name, self.kernel, self.tasks, key=self.key)


@dataclass(frozen=True, slots=True)
class Shuffle(Generic[T, P, R]):
    """Rows scattered into partitions, then a kernel for each partition.

    The engine runs two stages, `NAME-scatter` and `NAME`.

    Args:
        name: the stage's name.
        scatter: writes its task's rows with `files.scatter` and gives back what that gives.
        tasks: what is scattered.
        partitions: their number, at least 1.
        gather: the kernel of a partition.
        task_of: makes the task of `gather` for a partition; called for every partition, those without rows too.
        key: see `Engine.run`.
    """

    name: str
    scatter: Callable[[T], Scattered]
    tasks: Iterable[T]
    partitions: int
    gather: Callable[[P], R]
    task_of: Callable[[Partition], P]
    key: str = ""

    def run(self, engine: Engine) -> list[R]:
        """The results in the order of the partitions."""
        scattered = engine.run(f"{self.name}-scatter", self.scatter, self.tasks, key=self.key)
        tasks = [self.task_of(_partition(number, scattered)) for number in range(self.partitions)]
        return engine.run(self.name, self.gather, tasks, key=self.key)


@dataclass(frozen=True, slots=True)
class Agg(Generic[T, R, P]):
    """Partial results of all tasks, merged to something small on the caller's side."""

    name: str
    partial: Callable[[T], R]
    tasks: Iterable[T]
    merge: Callable[[Sequence[R]], P]
    key: str = ""

    def run(self, engine: Engine) -> P:
        """The merged result."""
        return self.merge(engine.run(self.name, self.partial, self.tasks, key=self.key))


def _partition(number: int, scattered: Sequence[Scattered]) -> Partition:
    pieces = [piece for one in scattered for piece in one.pieces if piece.partition == number]
    return Partition(number, tuple(piece.path for piece in pieces), sum(piece.rows for piece in pieces))
