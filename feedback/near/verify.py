"""True Jaccard similarity of candidate pairs, from all their shingles.

Two prompts are near-duplicates if the sets of their shingles reach the threshold. Two answers are if both the sets of
prompt and completion together and the sets of the completions alone reach it: else "Yes." and "No." to one long prompt
would be one answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedback.engine.local import usable_cores

__all__ = ["Documents", "pair_similarities"]


@dataclass(frozen=True)
class Documents:
    """Where the shingles of N documents are: each is what one of R rows has, its prompt or its prompt and completion.

    Args:
        sources: arrays of shingles, or the files that hold them, each of some rows in their order.
        source_rows: rows of each source.
        prompt_sizes: shingles of each row's prompt. [R] uint32.
        completion_sizes: shingles of each row's completion. [R] uint32.
        rows: the row of each document. [N] int.
        answers: whether documents are prompts with their completions.
    """

    sources: Sequence[Path | NDArray[np.uint32]]
    source_rows: Sequence[int]
    prompt_sizes: NDArray[np.uint32]
    completion_sizes: NDArray[np.uint32]
    rows: NDArray[np.integer[Any]]
    answers: bool

    @cached_property
    def row_starts(self) -> NDArray[np.int64]:
        """Where each row begins in its source. [R] int64."""
        ends = np.cumsum(self.prompt_sizes, dtype=np.int64)
        ends += np.cumsum(self.completion_sizes, dtype=np.int64)
        ends = np.concatenate([[0], ends])
        first_rows = np.cumsum([0, *self.source_rows])
        for first, last in pairwise(first_rows.tolist()):
            ends[first:last] -= ends[first]
        starts: NDArray[np.int64] = ends[:-1]
        return starts

    def sizes(self, documents: NDArray[np.int64]) -> NDArray[np.int64]:
        """Shingles of some documents."""
        rows = self.rows[documents]
        sizes: NDArray[np.int64] = self.prompt_sizes[rows].astype(np.int64)
        if self.answers:
            sizes += self.completion_sizes[rows]
        return sizes


def pair_similarities(
    documents: Documents, codes: NDArray[np.uint64], *, threshold: float, memory_mb: int
) -> NDArray[np.float64]:
    """Similarity of each pair; for one that is below the threshold perhaps only an upper bound that is below it too.

    Args:
        documents: N documents, each with at least one shingle.
        codes: pairs as 2**32 * document + document. [P] uint64.
        threshold: where near-duplicates begin.
        memory_mb: memory that shingles may take, at least that of one pair for each core.

    Returns:
        [P] float64, in [0, 1].
    """
    workers = usable_cores()
    compare = partial(_similarities, documents, threshold=threshold, memory_mb=memory_mb // workers)
    with ThreadPoolExecutor(workers) as pool:
        return np.concatenate(list(pool.map(compare, np.array_split(codes, workers))))


def _similarities(
    documents: Documents, codes: NDArray[np.uint64], threshold: float, memory_mb: int
) -> NDArray[np.float64]:
    left, right = (codes >> np.uint64(32)).astype(np.int64), (codes & np.uint64(0xFFFFFFFF)).astype(np.int64)
    needed = np.cumsum(documents.sizes(left) + documents.sizes(right))
    found = np.empty(len(codes), np.float64)
    start = 0
    while start < len(codes):
        before = needed[start - 1] if start else 0
        end = max(int(np.searchsorted(needed, before + max(memory_mb, 1) * 250_000, side="right")), start + 1)
        found[start:end] = _batch(documents, left[start:end], right[start:end], threshold)
        start = end
    return found


def _batch(
    documents: Documents, left: NDArray[np.int64], right: NDArray[np.int64], threshold: float
) -> NDArray[np.float64]:
    from feedback.near.pair_kernels import similarities

    chosen = np.unique(np.concatenate([left, right]))
    one, other = np.searchsorted(chosen, left), np.searchsorted(chosen, right)
    sizes = documents.sizes(chosen)
    starts = np.cumsum(sizes) - sizes
    shingles = _shingles(documents, chosen, starts, int(sizes.sum()))
    middles = starts + documents.prompt_sizes[documents.rows[chosen]] if documents.answers else starts
    found = np.empty(len(left), np.float64)
    longest = int(sizes.max(initial=0))
    similarities(shingles, starts, middles, starts + sizes, one, other, longest, threshold, found)
    return found


def _shingles(
    documents: Documents, chosen: NDArray[np.int64], places: NDArray[np.int64], size: int
) -> NDArray[np.uint32]:
    """Shingles of some documents one after the other; a file is mapped only while its own are copied."""
    from feedback.near.pair_kernels import gather

    shingles = np.empty(size, np.uint32)
    rows, sizes = documents.rows[chosen], documents.sizes(chosen)
    of_source = np.searchsorted(np.cumsum(documents.source_rows), rows, side="right")
    order = np.argsort(of_source, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(of_source[order])) + 1):
        if not len(group):
            continue
        source = documents.sources[of_source[group[0]]]
        held = np.memmap(source, np.uint32, mode="r") if isinstance(source, Path) else source
        starts = documents.row_starts[rows[group]]
        gather(np.asarray(held), starts, starts + sizes[group], shingles, places[group])
    return shingles
