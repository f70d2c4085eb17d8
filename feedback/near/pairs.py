"""Near-duplicates among plain documents held in memory: what the stages do on files, for a list of texts."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feedback.near.candidates import candidate_pairs
from feedback.near.clusters import Components
from feedback.near.sketches import sketch_texts
from feedback.near.tokens import Texts
from feedback.near.verify import Documents, pair_similarities

__all__ = ["near_clusters", "near_pairs"]

_MEMORY_MB: Final = 512
_LARGE: Final = 1000
"""Of a cluster with more members only the pairs that made it are given, not all."""


def near_clusters(texts: Texts, *, threshold: float = 0.8, shingle_words: int = 3) -> NDArray[np.int64]:
    """For each document the least position of its cluster, its own if it is alone.

    Args:
        texts: N documents.
        threshold: similarity from which two documents are near-duplicates, in [0.1, 1).
        shingle_words: words of a shingle, at least 1.

    Raises:
        ConfigError: the threshold is out of range.

    >>> near_clusters(["one two three four", "something else", "One  two three four"]).tolist()
    [0, 1, 0]
    """
    pairs = near_pairs(texts, threshold=threshold, shingle_words=shingle_words)
    components = Components(len(texts))
    components.add(*(pairs[name].to_numpy().astype(np.int64) for name in ("first", "second")))
    least = np.arange(len(texts))
    nodes, roots = components.table()
    least[nodes] = roots
    return least


def near_pairs(texts: Texts, *, threshold: float = 0.8, shingle_words: int = 3) -> pl.DataFrame:
    """Pairs of documents whose true Jaccard similarity reaches the threshold, of those in a bucket or a cluster.

    Args:
        texts: N documents.
        threshold: similarity from which two documents are near-duplicates, in [0.1, 1).
        shingle_words: words of a shingle, at least 1.

    Returns:
        columns first, second (positions, first < second) and similarity, in their order.

    Raises:
        ConfigError: the threshold is out of range.
    """
    sketches = sketch_texts(texts, [""] * len(texts), shingle_words=shingle_words, threshold=threshold)
    order = np.argsort(sketches.prompt_key, kind="stable")
    documents = Documents(
        sources=[sketches.shingles],
        source_rows=[len(order)],
        prompt_sizes=sketches.lengths[:, 0],
        completion_sizes=sketches.lengths[:, 1],
        rows=order,
        answers=False,
    )

    compare = partial(pair_similarities, documents, threshold=threshold, memory_mb=_MEMORY_MB)
    bands = [values[order] for values in sketches.prompt_bands]
    compared = candidate_pairs(len(bands), bands.__getitem__, compare, threshold=threshold)
    found = compared.codes[compared.similarity >= threshold]
    codes = np.unique(np.concatenate([found, _within_clusters(found, len(order))]))
    similarity = compare(codes)
    left, right = (order[part.astype(np.int64)] for part in (codes >> np.uint64(32), codes & np.uint64(0xFFFFFFFF)))
    pairs = pl.DataFrame(
        {"first": np.minimum(left, right), "second": np.maximum(left, right), "similarity": similarity}
    )
    return pairs.filter(pl.col("similarity") >= threshold).sort("first", "second")


def _within_clusters(codes: NDArray[np.uint64], documents: int) -> NDArray[np.uint64]:
    """All pairs of members of each cluster that these pairs make."""
    components = Components(documents)
    components.add((codes >> np.uint64(32)).astype(np.int64), (codes & np.uint64(0xFFFFFFFF)).astype(np.int64))
    nodes, roots = components.table()
    order = np.argsort(roots, kind="stable")
    pairs = [np.empty(0, np.uint64)]
    for members in np.split(nodes[order], np.flatnonzero(np.diff(roots[order])) + 1):
        if 2 < len(members) <= _LARGE:
            one, other = np.triu_indices(len(members), 1)
            pairs.append(members[one].astype(np.uint64) << np.uint64(32) | members[other].astype(np.uint64))
    return np.concatenate(pairs)
