"""Which row stands where in a dataset: the order of all rows, and the shards and row groups that it is cut into.

    narrow columns of all partitions ──hash of row_key──► one order, train before test ──► shards ──► row groups

What is decided here follows from the rows, the config and the seed alone: not from partitions or their order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feedback.hashing import order_hash
from schemas.datasets import SPLITS
from schemas.errors import CorruptionError
from schemas.report import LabelCounts

__all__ = ["ExportPlan", "Places", "ShardPlan", "plan_export"]

Places = NDArray[np.int64]
"""Places in the order of all rows, from 0. [N] int64."""

_GROUP_ROWS: Final = 10_000
_GROUP_CHARS: Final = 16_000_000


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One Parquet file to be: its path in the dataset, its split, its rows by label and its row groups by number."""

    path: str
    split: str
    labels: LabelCounts
    groups: range


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """Where every row goes.

    Args:
        places: the place of each row, in the order in which the rows were given. [N]
        starts: the place of each row group's first row, and the number of rows as the last. [G + 1]
        shards: the files, train first.
    """

    places: Places
    starts: Places
    shards: tuple[ShardPlan, ...]


def plan_export(rows: pl.DataFrame, row_ids: Callable[[], pl.Series], *, shard_mb: float, seed: int) -> ExportPlan:
    """The plan for `rows`: train before test, each in the order of a hash, so that labels and sources are mixed.

    Args:
        rows: `row_key`, `chars`, `split` and, where rows have one, `label` of every row.
        row_ids: gives the `row_id` of the rows; asked only where two rows have one `row_key`.
        shard_mb: wanted size of a shard, in millions of characters.
        seed: decides the order.

    Raises:
        CorruptionError: a row is there twice.
    """
    ordered = _order(rows, row_ids, seed)
    is_test = (rows["split"] == SPLITS[1]).fill_null(value=False).to_numpy()[ordered]
    chars = np.concatenate(([0], np.cumsum(rows["chars"].to_numpy()[ordered])))
    desirable = np.concatenate(([0], np.cumsum(rows["label"].to_numpy()[ordered]))) if "label" in rows.columns else None
    starts = [0]
    shards = []
    first_test = int(rows.height - is_test.sum())
    for split, start, stop in ((SPLITS[0], 0, first_test), (SPLITS[1], first_test, rows.height)):
        # A character is taken for a byte: the keys know lengths in characters only.
        count = max(1, min(stop - start, math.ceil((chars[stop] - chars[start]) / (shard_mb * 1e6))))
        for number, (low, high) in enumerate(_even_parts(start, stop, count)):
            groups = list(_group_ends(chars, low, high))
            shards.append(
                ShardPlan(
                    path=f"data/{split}-{number:05d}-of-{count:05d}.parquet",
                    split=split,
                    labels=_labels(desirable, low, high),
                    groups=range(len(starts) - 1, len(starts) - 1 + len(groups)),
                )
            )
            starts += groups
    places = np.empty(rows.height, np.int64)
    places[ordered] = np.arange(rows.height)
    return ExportPlan(places, np.array(starts, np.int64), tuple(shards))


def _labels(desirable: Places | None, low: int, high: int) -> LabelCounts:
    """The labels of a run of places, from how many desirable rows come before each; pairs have none."""
    if desirable is None:
        return LabelCounts(unlabelled=high - low)
    up = int(desirable[high] - desirable[low])
    return LabelCounts(up, high - low - up)


def _order(rows: pl.DataFrame, row_ids: Callable[[], pl.Series], seed: int) -> Places:
    """Numbers of the rows in their order; what is not `test` comes first, also what has no split yet."""
    keyed = rows.select(
        is_test=(pl.col("split") == SPLITS[1]).fill_null(value=False), order=order_hash(rows["row_key"], "export", seed)
    )
    if rows["row_key"].n_unique() < rows.height:
        keyed = keyed.with_columns(row_id=row_ids())
        twice = keyed.filter(pl.col("row_id").is_duplicated())
        if twice.height:
            raise CorruptionError(
                "a row is there more than once", where="export", received=twice["row_id"].min(), expected="a row once"
            )
    ordered = keyed.select(pl.arg_sort_by(keyed.columns)).to_series()
    return ordered.cast(pl.Int64).to_numpy()


def _even_parts(start: int, stop: int, count: int) -> Iterator[tuple[int, int]]:
    """`count` runs of places whose lengths differ by one at most; none where there is no place."""
    edges = [start + -(-number * (stop - start) // count) for number in range(count + 1)]
    yield from ((low, high) for low, high in pairwise(edges) if low < high)


def _group_ends(chars: Places, low: int, high: int) -> Iterator[int]:
    """Where row groups end: each as long as it may be, and at least one row."""
    while low < high:
        full = int(np.searchsorted(chars, chars[low] + _GROUP_CHARS, side="right")) - 1
        low = min(max(full, low + 1), low + _GROUP_ROWS, high)
        yield low
