"""Ranks without processes: a thread each, which meet where numbers are gathered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class SimulatedRank:
    """What a step reads of accelerate's `Accelerator`, for one of several threads."""

    def __init__(self, rank: int, parts: list[Tensor | None], meeting: threading.Barrier) -> None:
        self.process_index, self.num_processes = rank, len(parts)
        self.device = torch.device("cpu")
        self._parts, self._meeting = parts, meeting

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all ranks, one below the other, once all have come."""
        self._parts[self.process_index] = tensor
        self._meeting.wait()
        whole = torch.cat([part for part in self._parts if part is not None])
        self._meeting.wait()  # nobody brings the next one before all have read this one
        return whole


def on_ranks(ranks: int, work: Callable[[Any], T]) -> list[T]:
    """What `work` gives on each rank. Whoever fails lets the others fail too, instead of waiting."""
    parts: list[Tensor | None] = [None] * ranks
    meeting = threading.Barrier(ranks, timeout=60)

    def one(rank: int) -> T:
        try:
            return work(SimulatedRank(rank, parts, meeting))
        except BaseException:
            meeting.abort()
            raise

    with ThreadPoolExecutor(ranks) as pool:
        return list(pool.map(one, range(ranks)))
