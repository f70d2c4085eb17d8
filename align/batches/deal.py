"""Deal the rows of one epoch into steps at random, with the labels in the proportion of the data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from align.tokens.tokenize import TokenizedRow

__all__ = ["deal_steps", "prompt_classes", "step_sizes"]


def prompt_classes(rows: Sequence[TokenizedRow]) -> np.ndarray:
    """A number for each row; rows with the same `group_id` or the same prompt tokens get the same one.

    Args:
        rows: tokenized rows.

    Returns:
        [rows] int64, from 0 in order of first appearance.
    """
    parent = list(range(len(rows)))
    seen: dict[object, int] = {}
    for position, row in enumerate(rows):
        for key in (("group", row.group_id), ("prompt", row.prompt_ids)):
            first, second = sorted((_root(parent, position), _root(parent, seen.setdefault(key, position))))
            parent[second] = first
    numbers: dict[int, int] = {}
    return np.array([numbers.setdefault(_root(parent, row), len(numbers)) for row in range(len(rows))], dtype=np.int64)


def step_sizes(rows: int, batch_size: int, *, least: int) -> list[int]:
    """Rows of each step of an epoch: as few steps as `batch_size` allows, as equal as possible.

    Args:
        rows: number of rows, at least `least`.
        batch_size: rows of a step, at most; with a `least` of 2 a lone row may make one step larger by one.
        least: rows of a step, at least; 1 or 2.

    Returns:
        [steps], summing to `rows`.
    """
    steps = min(-(-rows // batch_size), rows // least)
    return [rows // steps + (step < rows % steps) for step in range(steps)]


def deal_steps(labels: np.ndarray, sizes: Sequence[int], rng: np.random.Generator) -> list[list[int]]:
    """Row positions of each step, every row once.

    Each label is shuffled and every step gets its share: the cumulative count is rounded, from a random phase on.

    Args:
        labels: True where desirable. [rows] bool.
        sizes: rows of each step, summing to the number of rows; a step may get any of them.
        rng: decides everything that is left to chance.
    """
    desirable = rng.permutation(np.flatnonzero(labels)).tolist()
    undesirable = rng.permutation(np.flatnonzero(~labels)).tolist()
    rows, phase = len(labels), int(rng.integers(len(labels)))
    steps, end, used = [], 0, 0
    for size in rng.permutation(sizes).tolist():
        end += size
        share = (end * len(desirable) + phase) // rows - used
        taken = end - size - used
        steps.append(desirable[used : used + share] + undesirable[taken : taken + size - share])
        used += share
    return [rng.permutation(step).tolist() for step in steps]


def _root(parent: list[int], row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row
