"""A toy plan for the tests of engines: kernels, tasks and results as every stage has them, over real Parquet files."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from feedback.engine import (
    Agg,
    Engine,
    Map,
    Partition,
    Scattered,
    Shuffle,
    StagedEngine,
    partition_numbers,
    read_rows,
    scatter,
    write_parquet,
)
from schemas.errors import DataGateError
from schemas.manifest import write_last

ROWS = 500
STAGES = ("make", "count", "spread-scatter", "spread")


@dataclass(frozen=True, slots=True)
class Signal:
    """How a test on a cluster learns on which node a stage runs, and holds one task there until it kills the node.

    Args:
        folder: where the test asks with a file `hold-STAGE` and a kernel answers with `held-STAGE`; null never holds.
    """

    folder: Path | None = None

    def pass_by(self, stage: str) -> None:
        """Go on, but for the first task of a stage that is asked to hold: name its node, then wait to be killed."""
        if self.folder is None:
            return
        try:
            (self.folder / f"hold-{stage}").rename(self.folder / f"claimed-{stage}")
        except FileNotFoundError:
            return
        import ray

        write_last(self.folder / f"held-{stage}", ray.get_runtime_context().get_node_id())
        time.sleep(120)
        raise AssertionError("the node was not killed")


@dataclass(frozen=True, slots=True)
class MakeTask:
    """Makes a block of rows."""

    number: int
    folder: Path
    signal: Signal = Signal()


@dataclass(frozen=True, slots=True)
class Block:
    """A file of rows."""

    path: Path
    rows: int


@dataclass(frozen=True, slots=True)
class CountTask:
    """Counts the rows of a block."""

    block: Block
    signal: Signal = Signal()


@dataclass(frozen=True, slots=True)
class SpreadTask:
    """Scatters a block."""

    number: int
    block: Block
    folder: Path
    partitions: int
    signal: Signal = Signal()


@dataclass(frozen=True, slots=True)
class GatherTask:
    """Gathers a partition."""

    part: Partition
    folder: Path
    signal: Signal = Signal()


def make(task: MakeTask) -> Block:
    task.signal.pass_by("make")
    keys = np.random.default_rng(task.number).integers(0, 2**63, ROWS, dtype=np.uint64)
    frame = pl.DataFrame({"key": keys, "text": [f"text {task.number} {key % 97}" for key in keys.tolist()]})
    return Block(write_parquet(frame, task.folder / f"block-{task.number:05d}.parquet"), frame.height)


def count(task: CountTask) -> int:
    task.signal.pass_by("count")
    return pl.read_parquet(task.block.path).height


def spread(task: SpreadTask) -> Scattered:
    task.signal.pass_by("spread-scatter")
    frame = pl.read_parquet(task.block.path)
    return scatter(frame, partition_numbers(frame["key"], task.partitions), task.folder, f"{task.number:05d}")


def gather(task: GatherTask) -> Block:
    task.signal.pass_by("spread")
    frame = pl.concat(map(read_rows, task.part.files)).sort("key", maintain_order=True)
    return Block(write_parquet(frame, task.folder / f"part-{task.part.number:05d}.parquet"), frame.height)


def fail_on_odd(task: int) -> int:
    if task % 2:
        raise DataGateError("an odd task", where=f"task {task}", received=task)
    return task * 10


def square(task: int) -> int:
    return task * task


def run_toy_plan(
    engine: Engine, folder: Path, signal: Signal | None = None, *, blocks: int = 4, partitions: int = 3
) -> tuple[int, list[Block], StagedEngine]:
    """Map, Agg and Shuffle under one staged engine; rows counted, partitions written, and the engine itself."""
    signal = signal or Signal()
    staged = StagedEngine(engine, folder, "toy")
    made = Map("make", make, [MakeTask(number, staged.folder("make"), signal) for number in range(blocks)]).run(staged)
    total = Agg("count", count, [CountTask(block, signal) for block in made], sum).run(staged)
    tasks = [
        SpreadTask(number, block, staged.folder("spread-scatter"), partitions, signal)
        for number, block in enumerate(made)
    ]
    spread_folder = staged.folder("spread")
    shuffle = Shuffle("spread", spread, tasks, partitions, gather, lambda part: GatherTask(part, spread_folder, signal))
    return total, shuffle.run(staged), staged
