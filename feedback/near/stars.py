"""Connected components of more edges than memory holds: large-star and small-star as shuffles over files.

    edges ─► large-star ─► small-star ─► ... until nothing changes ─► (node, least node of its component)

Large-star links every larger neighbour of a node to the least one, small-star every smaller one and the node itself;
both keep what is connected, and end in one star around the least node of each component.

Source: Kiveris et al. 2014, "Connected Components in MapReduce and Beyond".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feedback.engine import (
    Engine,
    Partition,
    Scattered,
    Shuffle,
    partition_numbers,
    read_partition,
    scatter,
    write_parquet,
)
from feedback.hashing import mix64

__all__ = ["EdgeFile", "Star", "StarComponents", "Stars", "scatter_edges", "star_of_partition"]

_EDGES: Final = pl.Schema({"node": pl.UInt64, "other": pl.UInt64})


@dataclass(frozen=True, slots=True)
class EdgeFile:
    """Edges to be dealt out by their first node.

    Args:
        file: columns node and other, uint64.
        folder: where the pieces are written.
        number: place of the file among all.
        partitions: number of partitions.
        large: each edge goes to both its nodes, for large-star; else to the larger one.
    """

    file: Path
    folder: Path
    number: int
    partitions: int
    large: bool


@dataclass(frozen=True, slots=True)
class Star:
    """One partition of edges before or after a step.

    Args:
        files: its edges.
        path: where the new edges are written.
        large: whether the step is large-star.
    """

    files: tuple[Path, ...]
    path: Path
    large: bool


@dataclass(frozen=True, slots=True)
class Stars:
    """What a step left of a partition.

    Args:
        path: the new edges.
        edges: their number.
        digest: the sum of a hash of each, modulo 2**64.
    """

    path: Path
    edges: int
    digest: int


def scatter_edges(task: EdgeFile) -> Scattered:
    """Kernel: deal edges out by their first node."""
    edges = pl.read_parquet(task.file)
    if task.large:
        edges = pl.concat([edges, edges.select(node="other", other="node")])
    else:
        edges = edges.select(node=pl.max_horizontal("node", "other"), other=pl.min_horizontal("node", "other"))
    edges = edges.unique().sort("node", "other")
    numbers = partition_numbers(edges["node"], task.partitions)
    return scatter(edges, numbers, task.folder, f"{task.number:05d}")


def star_of_partition(task: Star) -> Stars:
    """Kernel: one step of all nodes of a partition."""
    edges = read_partition(task.files, _EDGES).with_columns(
        least=pl.min_horizontal("node", pl.col("other").min().over("node"))
    )
    linked = edges.select(node="other", other="least")
    if task.large:
        linked = linked.filter(edges["other"] > edges["node"])
    else:
        linked = pl.concat([linked, edges.select("node", other="least")])
    linked = linked.filter(pl.col("node") != pl.col("other")).unique().sort("node", "other")
    write_parquet(linked, task.path)
    hashes = mix64(linked["node"].to_numpy() ^ mix64(linked["other"].to_numpy(), "other"), "node")
    return Stars(task.path, linked.height, int(hashes.sum(dtype=np.uint64)))


class StarComponents:
    """Components of edges on disk; does what `feedback.near.clusters.Components` does.

    Args:
        engine: runs the steps.
        folder: gives the folder of a stage by its name.
        name: begins the names of the stages.
        partitions: files that the edges of a step are dealt out to, at least 1.
    """

    def __init__(self, engine: Engine, folder: Callable[[str], Path], name: str, *, partitions: int = 16) -> None:
        self._engine = engine
        self._folder = folder
        self._name = name
        self._partitions = partitions
        self._files: list[Path] = []

    def add(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        """Write edges.

        Args:
            left: first node of each edge. [E] int64.
            right: second node of each edge. [E] int64.
        """
        edges = pl.DataFrame({"node": left, "other": right}, schema=_EDGES)
        path = self._folder(f"{self._name}-edges") / f"{len(self._files):05d}.parquet"
        self._files.append(write_parquet(edges.filter(pl.col("node") != pl.col("other")), path))

    def table(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Nodes of components of two or more, ascending, and the least node of each one's component."""
        files: Sequence[Path] = self._files
        before: tuple[int, int] | None = None
        turn = 0
        while True:
            files, _ = self._step(files, turn, large=True)
            files, after = self._step(files, turn, large=False)
            if after == before:
                break
            before, turn = after, turn + 1
        stars = pl.concat([pl.read_parquet(path) for path in files] or [pl.DataFrame(schema=_EDGES)])
        centres = stars.select(node=pl.col("other").unique()).with_columns(other="node")
        table = pl.concat([stars, centres]).sort("node").cast(pl.Int64)
        return table["node"].to_numpy(), table["other"].to_numpy()

    def _step(self, files: Sequence[Path], turn: int, *, large: bool) -> tuple[list[Path], tuple[int, int]]:
        """New edges; their number and digest."""
        name = f"{self._name}-{turn}-{'large' if large else 'small'}"
        pieces, folder = self._folder(f"{name}-scatter"), self._folder(name)

        def task_of(partition: Partition) -> Star:
            return Star(partition.files, folder / f"{partition.number:05d}.parquet", large)

        stars = Shuffle(
            name=name,
            scatter=scatter_edges,
            tasks=[EdgeFile(path, pieces, number, self._partitions, large) for number, path in enumerate(files)],
            partitions=self._partitions,
            gather=star_of_partition,
            task_of=task_of,
        ).run(self._engine)
        digest = sum(star.digest for star in stars) % 2**64
        return [star.path for star in stars], (sum(star.edges for star in stars), digest)
