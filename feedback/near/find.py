"""Clusters of near-duplicates: of prompts, and of answers, which are prompts with their completions.

    keys ─► different documents ─► bands ─► candidate pairs ─► similarities ─► components

Exact copies are one document here, told by their keys. Documents are numbered in the order of their keys, so the result
does not depend on the order of rows, on how they are split into files, or on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feedback.engine import Engine
from feedback.hashing import answer_id
from feedback.near.candidates import Compared, candidate_pairs
from feedback.near.clusters import Components
from feedback.near.sketch_files import SketchFile, read_band, read_keys
from feedback.near.sketches import band_shape
from feedback.near.stars import StarComponents
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
        rows: a row that has each. [N] int64.
        documents: where their shingles are.
        bands: reads a band of all rows.
    """

    keys: NDArray[np.uint64]
    rows: NDArray[np.int64]
    documents: Documents
    bands: Callable[[int], NDArray[np.uint32]]

    def read_band(self, band: int) -> NDArray[np.uint32]:
        values: NDArray[np.uint32] = self.bands(band)[self.rows]
        return values


@dataclass
class _Pairs:
    """Pairs compared so far and those of them that are alike, as codes."""

    compared: list[NDArray[np.uint64]] = field(default_factory=lambda: [np.empty(0, np.uint64)])
    alike: list[NDArray[np.uint64]] = field(default_factory=lambda: [np.empty(0, np.uint64)])

    def add(self, compared: Compared, threshold: float) -> None:
        self.compared.append(compared.codes)
        self.alike.append(compared.codes[compared.similarity >= threshold])

    def edges(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        codes = np.unique(np.concatenate(self.alike))
        return (codes >> np.uint64(32)).astype(np.int64), (codes & np.uint64(0xFFFFFFFF)).astype(np.int64)


def find_clusters(
    files: Sequence[SketchFile],
    *,
    threshold: float = 0.8,
    memory_mb: int = 512,
    engine: Engine | None = None,
    folder: Callable[[str], Path] | None = None,
    max_nodes: int | None = None,
) -> NearClusters:
    """Clusters of near-duplicates among all rows of all blocks.

    Args:
        files: blocks that `write_sketches` wrote, at least one.
        threshold: similarity from which two are near-duplicates, in [0.1, 1). Bands find nearly all pairs of the
            similarity that they were made for, and fewer below it.
        memory_mb: memory that bands and shingles of candidates may take, at least 1.
        engine: finds the components of very many documents; null does it in memory.
        folder: gives the folder of an engine's stage by its name; wanted with an engine.
        max_nodes: documents whose components are found in memory; null takes what `memory_mb` allows.

    Raises:
        ConfigError: the blocks were made with different settings.
        InputNotFoundError: a file of a block is missing.
    """
    keys, made_for = read_keys(files)
    prompts, answers = _sides(files, keys, made_for)

    def components(name: str, nodes: int) -> Components | StarComponents:
        allowed = memory_mb * 100_000 if max_nodes is None else max_nodes
        if engine is None or folder is None or nodes <= allowed:
            return Components(nodes)
        return StarComponents(engine, folder, name)

    groups, clusters = components("near-groups", len(prompts.keys)), components("near-clusters", len(answers.keys))
    with ThreadPoolExecutor(2) as pool:
        compare = partial(_alike, bands=band_shape(made_for)[0], threshold=threshold, memory_mb=memory_mb // 2)
        of_prompts, of_answers = pool.map(compare, (prompts, answers))
    groups.add(*of_prompts.edges())
    edges = of_answers.edges()
    clusters.add(*edges)
    prompt_key = keys["prompt_key"].to_numpy()
    groups.add(*(np.searchsorted(prompts.keys, prompt_key[answers.rows[ends]]) for ends in edges))
    (nodes, roots), (answer_nodes, answer_roots) = groups.table(), clusters.table()
    rows = answers.rows[answer_nodes]
    return NearClusters(
        prompts=pl.DataFrame({"prompt_key": prompts.keys[nodes], "group_id": prompts.keys[roots]}),
        answers=keys.select("prompt_key", "completion_key")[rows].with_columns(
            pl.Series("cluster_id", answers.keys[answer_roots])
        ),
        figures={
            **_figures("prompt", prompts, of_prompts),
            **_figures("answer", answers, of_answers),
            "groups": len(np.unique(roots)),
            "largest_group": _largest(roots),
            "clusters": len(np.unique(answer_roots)),
            "largest_cluster": _largest(answer_roots),
        },
    )


def _sides(files: Sequence[SketchFile], keys: pl.DataFrame, made_for: float) -> tuple[_Side, _Side]:
    """Different prompts and different answers; of rows with one key any stands for all: their shingles are the same."""
    rows = np.bincount(keys["block"].to_numpy(), minlength=len(files)).tolist()
    of_prompt, of_completion = (
        keys[f"{side}_shingles"].to_numpy().astype(np.int64) for side in ("prompt", "completion")
    )
    ends = np.cumsum(of_prompt + of_completion)
    firsts = np.cumsum([0, *rows[:-1]])
    before = np.concatenate([[0], ends])[firsts]
    block = keys["block"].to_numpy().astype(np.int64)
    ends -= before[block]
    middles = ends - of_completion
    starts = middles - of_prompt
    paths = [file.shingles for file in files]

    def bands(answers: bool) -> Callable[[int], NDArray[np.uint32]]:
        return lambda band: read_band(files, rows, made_for, answers=answers, band=band)

    prompt_key = keys["prompt_key"].to_numpy()
    prompt, row = _different(prompt_key)
    of_prompts = Documents(paths, block[row], starts[row], starts[row], middles[row])
    prompts = _Side(prompt, row, of_prompts, bands(False))
    answer, row = _different(answer_id(prompt_key, keys["completion_key"].to_numpy()))
    return prompts, _Side(answer, row, Documents(paths, block[row], starts[row], middles[row], ends[row]), bands(True))


def _different(keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Different keys, ascending, and a row of each."""
    order = np.argsort(keys)
    ascending = keys[order]
    first = np.concatenate([np.ones(min(len(keys), 1), bool), ascending[1:] != ascending[:-1]])
    return ascending[first], order[first]


def _alike(side: _Side, bands: int, threshold: float, memory_mb: int) -> _Pairs:
    """Candidate pairs of a side, compared."""

    def compare(codes: NDArray[np.uint64]) -> NDArray[np.float64]:
        return pair_similarities(side.documents, codes, threshold=threshold, memory_mb=memory_mb // 2)

    # a member of a bucket takes four bytes, a flag, and twice eight bytes of pair codes while these are compared
    at_once = max(1, min(bands, memory_mb * 500_000 // (21 * max(len(side.keys), 1))))
    pairs = _Pairs()
    for compared in candidate_pairs(bands, side.read_band, compare, threshold=threshold, at_once=at_once):
        pairs.add(compared, threshold)
    return pairs


def _figures(name: str, side: _Side, pairs: _Pairs) -> dict[str, int]:
    return {
        f"{name}s": len(side.keys),
        f"{name}_candidates": len(np.unique(np.concatenate(pairs.compared))),
        f"{name}_pairs": len(np.unique(np.concatenate(pairs.alike))),
    }


def _largest(roots: NDArray[np.int64]) -> int:
    return int(np.unique(roots, return_counts=True)[1].max(initial=0))
