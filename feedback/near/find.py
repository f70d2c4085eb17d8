"""Clusters of near-duplicates: of prompts, and of answers, which are prompts with their completions.

    keys ─► different documents ─► bands ─► candidate pairs ─► similarities ─► components

Exact copies are one document here, told by their keys. Documents are numbered in the order of their keys, so the result
does not depend on the order of rows, on how they are split into files, or on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feedback.hashing import answer_id
from feedback.near.candidates import Compared, candidate_pairs
from feedback.near.clusters import Components
from feedback.near.sketch_files import Keys, SketchFile, read_band, read_keys
from feedback.near.sketches import band_shape
from feedback.near.verify import Documents, pair_similarities

__all__ = ["NearClusters", "find_clusters"]


@dataclass(frozen=True)
class NearClusters:
    """Members of clusters of two or more, and what was done to find them.

    Args:
        prompts: columns prompt_key and group_id, the least prompt_key of the group. Groups join prompts that are
            near-duplicates or that have near-duplicate answers.
        answers: columns prompt_key, completion_key and cluster_id, the least `answer_id` of the cluster.
        figures: counts: prompts, answers (different ones), prompt_candidates, answer_candidates (pairs compared),
            prompt_pairs, answer_pairs (of these, near-duplicates), groups, largest_group, clusters, largest_cluster.
    """

    prompts: pl.DataFrame
    answers: pl.DataFrame
    figures: dict[str, int]


@dataclass(frozen=True)
class _Side:
    """Different prompts, or different answers.

    Args:
        keys: their keys, ascending. [N] uint64.
        rows: a row that has each. [N] uint32.
        documents: where their shingles are.
        bands: reads a band of all rows.
    """

    keys: NDArray[np.uint64]
    rows: NDArray[np.uint32]
    documents: Documents
    bands: Callable[[int], NDArray[np.uint32]]

    def read_band(self, band: int) -> NDArray[np.uint32]:
        """Hash of each document in a band. [N] uint32."""
        values: NDArray[np.uint32] = self.bands(band)[self.rows]
        return values


def find_clusters(
    files: Sequence[SketchFile],
    *,
    threshold: float = 0.8,
    memory_mb: int = 512,
) -> NearClusters:
    """Clusters of near-duplicates among all rows of all blocks.

    Args:
        files: blocks that `write_sketches` wrote, at least one.
        threshold: similarity from which two are near-duplicates, in [0.1, 1). Bands find nearly all pairs of the
            similarity that they were made for, and fewer below it.
        memory_mb: memory that bands and shingles of candidates may take, at least 1.

    Raises:
        ConfigError: the blocks were made with different settings.
        InputNotFoundError: a file of a block is missing.
    """
    keys = read_keys(files)
    prompts, answers = _sides(files, keys)
    groups, clusters = Components(len(prompts.keys)), Components(len(answers.keys))
    with ThreadPoolExecutor(2) as pool:
        find = partial(_compare, bands=band_shape(keys.threshold)[0], threshold=threshold, memory_mb=memory_mb // 2)
        compared = list(pool.map(find, (prompts, answers)))
    alike = [each.codes[each.similarity >= threshold] for each in compared]
    groups.add(*_ends(alike[0]))
    clusters.add(*_ends(alike[1]))
    of_answers = (np.searchsorted(prompts.keys, keys.prompt_key[answers.rows[ends]]) for ends in _ends(alike[1]))
    groups.add(*of_answers)
    (nodes, roots), (answer_nodes, answer_roots) = groups.table(), clusters.table()
    rows = answers.rows[answer_nodes]
    by_answer = {
        "prompt_key": keys.prompt_key[rows],
        "completion_key": keys.completion_key[rows],
        "cluster_id": answers.keys[answer_roots],
    }
    return NearClusters(
        prompts=pl.DataFrame({"prompt_key": prompts.keys[nodes], "group_id": prompts.keys[roots]}),
        answers=pl.DataFrame(by_answer),
        figures={
            "prompts": len(prompts.keys),
            "prompt_candidates": len(compared[0].codes),
            "prompt_pairs": len(alike[0]),
            "answers": len(answers.keys),
            "answer_candidates": len(compared[1].codes),
            "answer_pairs": len(alike[1]),
            **_sizes("groups", "largest_group", roots),
            **_sizes("clusters", "largest_cluster", answer_roots),
        },
    )


def _sides(files: Sequence[SketchFile], keys: Keys) -> tuple[_Side, _Side]:
    """Different prompts and different answers; of rows with one key any stands for all: their shingles are the same."""
    with ThreadPoolExecutor(1) as pool:
        prompts = pool.submit(_side, files, keys, keys.prompt_key, answers=False)
        answers = _side(files, keys, answer_id(keys.prompt_key, keys.completion_key), answers=True)
        return prompts.result(), answers


def _side(files: Sequence[SketchFile], keys: Keys, of_rows: NDArray[np.uint64], *, answers: bool) -> _Side:
    different, rows = _different(of_rows)
    paths = [file.shingles for file in files]
    documents = Documents(paths, keys.rows, keys.prompt_shingles, keys.completion_shingles, rows, answers)
    return _Side(different, rows, documents, lambda band: read_band(files, keys, answers=answers, band=band))


def _different(keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    """Different keys, ascending, and a row of each."""
    order = np.argsort(keys).astype(np.uint32)
    ascending = keys[order]
    first = np.concatenate([np.ones(min(len(keys), 1), bool), ascending[1:] != ascending[:-1]])
    return ascending[first], order[first]


def _compare(side: _Side, bands: int, threshold: float, memory_mb: int) -> Compared:
    """Candidate pairs of a side, compared."""
    compare = partial(pair_similarities, side.documents, threshold=threshold, memory_mb=memory_mb // 2)
    # a member of a bucket takes four bytes and a flag, and some times eight bytes of codes while it is compared
    max_members = memory_mb * 500_000 // 40
    return candidate_pairs(bands, side.read_band, compare, threshold=threshold, max_members=max_members)


def _ends(codes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return (codes >> np.uint64(32)).astype(np.int64), (codes & np.uint64(0xFFFFFFFF)).astype(np.int64)


def _sizes(count: str, largest: str, roots: NDArray[np.int64]) -> dict[str, int]:
    sizes = np.unique(roots, return_counts=True)[1]
    return {count: len(sizes), largest: int(sizes.max(initial=0))}
