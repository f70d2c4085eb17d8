"""One plan, two engines: stages as kernels over files, run on this machine or on a Ray cluster with the same digest.

    plan      what a stage is: Map, Shuffle, Agg; the protocol `Engine`
    files     what kernels read and write: whole files, partitions by a stable hash
    staging   the stages of a plan on disk; a complete one is skipped
    local     all cores of this machine
    ray       a Ray cluster (extra `ray`)

A kernel is a function of a module, its task a frozen dataclass of paths and plain values, its result a small dataclass.
It reads files, writes files through `files`, sorts, and uses no clock and no random source: so it can be run twice, on
any machine, and gives the same bytes.
"""

from __future__ import annotations

from typing import Final

from feedback.engine.files import (
    Piece,
    Scattered,
    column_names,
    in_partition_order,
    is_arrow,
    partition_numbers,
    read_arrow,
    read_rows,
    rows_of_partition,
    scatter,
    write_arrow,
    write_parquet,
    written_whole,
)
from feedback.engine.local import LocalEngine
from feedback.engine.plan import Agg, Engine, Map, Partition, Shuffle
from feedback.engine.staging import StagedEngine
from schemas.errors import UnknownChoiceError, UsageError

__all__ = [
    "ENGINES",
    "Agg",
    "Engine",
    "LocalEngine",
    "Map",
    "Partition",
    "Piece",
    "Scattered",
    "Shuffle",
    "StagedEngine",
    "column_names",
    "in_partition_order",
    "is_arrow",
    "open_engine",
    "partition_numbers",
    "read_arrow",
    "read_rows",
    "rows_of_partition",
    "scatter",
    "write_arrow",
    "write_parquet",
    "written_whole",
]

ENGINES: Final = ("local", "ray")
"""Names of the engines."""


def open_engine(name: str = "local", address: str | None = None, *, workers: int | None = None) -> Engine:
    """The engine of a name.

    Args:
        name: one of `ENGINES`.
        address: `HOST:PORT` of a Ray cluster; null starts Ray on this machine. For the engine `ray` only.
        workers: kernels that run at once on this machine, at least 1; null takes one for each core.

    Raises:
        UnknownChoiceError: no engine has this name.
        UsageError: an address for the engine `local`, fewer than one worker, or a cluster without token authentication.
        MissingExtraError: Ray is not installed.
    """
    if name not in ENGINES:
        raise UnknownChoiceError("engine", name, ENGINES, where="--engine")
    if name == "ray":
        from feedback.engine.ray import RayEngine

        return RayEngine(address, workers=workers)
    if address is not None:
        raise UsageError(
            "an address is given for an engine that needs none",
            where="--ray-address",
            received=address,
            todo="Add --engine ray, or leave the address out",
        )
    return LocalEngine(workers)
