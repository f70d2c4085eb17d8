"""Deal the rows of one epoch into steps at random, with the labels in the proportion of the data.

A liked and a disliked answer to one prompt are dealt as one, so that their step computes the prompt once.
"""

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


def deal_steps(
    labels: np.ndarray, sizes: Sequence[int], rng: np.random.Generator, *, together: np.ndarray | None = None
) -> list[list[int]]:
    """Row positions of each step, every row once.

    Every step gets its share of each label: the cumulative count is rounded, from a random phase on. All else is left
    to chance.

    Args:
        labels: True where desirable. [rows] bool.
        sizes: rows of each step, summing to the number of rows; a step may get any of them.
        rng: decides what is left to chance.
        together: of `prompt_classes`: a desirable and an undesirable row of one class go into one step, each row with
            one other, as long as the shares have room. None leaves that to chance. [rows] int64.
    """
    rows, phase = len(labels), int(rng.integers(len(labels)))
    shuffled = rng.permutation(sizes)
    desirable = np.diff((np.cumsum(shuffled) * int(labels.sum()) + phase) // rows, prepend=0)
    wanted = {True: desirable, False: shuffled - desirable}
    steps: list[list[int]] = [[] for _ in sizes]
    if together is not None:
        pairs = rng.permutation(_pairs(labels, together, rng))
        places = rng.permutation(np.repeat(np.arange(len(sizes)), np.minimum(wanted[True], wanted[False])))
        for step, pair in zip(places.tolist(), pairs.tolist(), strict=False):
            steps[step] += pair
    dealt = {row for step in steps for row in step}
    for label in (True, False):
        left = [row for row in rng.permutation(np.flatnonzero(labels == label)).tolist() if row not in dealt]
        for step, count in zip(steps, wanted[label].tolist(), strict=True):
            lacking = count - sum(bool(labels[row]) is label for row in step)
            step += [left.pop() for _ in range(lacking)]
    return [rng.permutation(step).tolist() for step in steps]


def _pairs(labels: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of one class with different labels, two by two, each row once. [pairs, 2] int64."""
    waiting: dict[tuple[int, bool], list[int]] = {}
    found: list[tuple[int, int]] = []
    for row in rng.permutation(len(labels)).tolist():
        each, label = int(classes[row]), bool(labels[row])
        others = waiting.get((each, not label))
        if others:
            found.append((row, others.pop()))
        else:
            waiting.setdefault((each, label), []).append(row)
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _root(parent: list[int], row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row
