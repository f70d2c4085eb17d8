"""Deal the rows of one epoch into steps at random, with the labels in the proportion of the data.

A liked and a disliked answer to one prompt are dealt as one, so that their step computes the prompt once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

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
    rows, count = len(labels), int(labels.sum())
    waiting = {label: rng.permutation(np.flatnonzero(labels == label)).tolist() for label in (True, False)}
    phase = int(rng.integers(rows))
    shuffled = rng.permutation(sizes)
    desirable = np.diff((np.cumsum(shuffled) * count + phase) // rows, prepend=0)
    wanted = {True: desirable, False: shuffled - desirable}
    steps: list[list[int]] = [[] for _ in sizes]
    pairs = [] if together is None else _pairs(waiting[True], waiting[False], together)
    if pairs:
        places = np.repeat(np.arange(len(steps)), np.minimum(wanted[True], wanted[False]))
        for step, pair in zip(rng.permutation(places).tolist(), rng.permutation(pairs).tolist(), strict=False):
            steps[step] += pair
    dealt = {row for step in steps for row in step}
    for label, rows_of_label in waiting.items():
        left = iter([row for row in rows_of_label if row not in dealt])
        for step, number in zip(steps, wanted[label].tolist(), strict=True):
            lacking = number - sum(bool(labels[row]) is label for row in step)
            step += islice(left, lacking)
    return [rng.permutation(step).tolist() for step in steps]


def _pairs(desirable: Sequence[int], undesirable: Sequence[int], classes: np.ndarray) -> list[tuple[int, int]]:
    """Rows of one class with different labels, two by two, each row once."""
    others: dict[int, list[int]] = {}
    for row in undesirable:
        others.setdefault(int(classes[row]), []).append(row)
    return [(row, others[each].pop()) for row in desirable if others.get(each := int(classes[row]))]


def _root(parent: list[int], row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row
