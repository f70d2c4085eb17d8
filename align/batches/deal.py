"""Deal the rows of one epoch into steps: labels mixed, and no prompt in more than half of a step.

A step in which one prompt has more than half of the rows cannot be paired with other prompts. Rows are dealt at random
with the labels in proportion; then a prompt that is too frequent in a step is swapped against rows of the same label
elsewhere. Where that finds no way, pairs of different prompts are formed first and dealt as units: that always works.
"""

from __future__ import annotations

from collections import Counter
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


def step_sizes(classes: np.ndarray, batch_size: int, *, needs_kl: bool) -> list[int]:
    """Rows of each step of an epoch: as few steps as `batch_size` allows, as equal as possible.

    Args:
        classes: of `prompt_classes`. [rows] int64.
        batch_size: rows of a step, at most; with `needs_kl` a lone row may make one step larger by one.
        needs_kl: whether no step may be of one row, and frequent prompts must fit into half of the steps.
    """
    rows = len(classes)
    steps = -(-rows // batch_size)
    if not needs_kl:
        return _spread(rows, steps)
    sizes = _spread(rows, min(steps, rows // 2))
    if int(np.bincount(classes).max()) <= sum(size // 2 for size in sizes):
        return sizes
    return _even_sizes(rows, batch_size)


def deal_steps(
    labels: np.ndarray, classes: np.ndarray, sizes: list[int], rng: np.random.Generator, *, needs_kl: bool
) -> list[list[int]]:
    """Row positions of each step, every row once.

    Args:
        labels: True where desirable. [rows] bool.
        classes: of `prompt_classes`. [rows] int64.
        sizes: rows of each step, summing to the number of rows.
        rng: decides everything that is left to chance.
        needs_kl: whether a prompt may have at most half of a step.
    """
    steps = _deal_by_label(labels, sizes, rng)
    if needs_kl and not _spread_classes(steps, labels, classes):
        steps = _deal_pairs(labels, classes, _even_sizes(len(labels), max(sizes)), rng)
    return [rng.permutation(step).tolist() for step in steps]


def _root(parent: list[int], row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row


def _spread(rows: int, steps: int) -> list[int]:
    return [rows // steps + (step < rows % steps) for step in range(steps)]


def _even_sizes(rows: int, batch_size: int) -> list[int]:
    """Even sizes, but for one step where the number of rows is odd: half of each step sums to half of the rows."""
    steps = min(-(-rows // (batch_size - batch_size % 2)), rows // 2)
    sizes = [2 * pairs for pairs in _spread(rows // 2, steps)]
    sizes[-1] += rows % 2
    return sizes


def _deal_by_label(labels: np.ndarray, sizes: list[int], rng: np.random.Generator) -> list[list[int]]:
    """Shuffle each label, and give every step its share: the cumulative count is rounded, from a random phase on."""
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
    return steps


def _spread_classes(steps: list[list[int]], labels: np.ndarray, classes: np.ndarray) -> bool:
    """Swap rows of one label between steps until no class has more than half of a step; whether that worked."""
    counts = [Counter(classes[step].tolist()) for step in steps]
    for here, step in enumerate(steps):
        while (over := _overfull(counts[here], len(step))) is not None:
            swap = _find_swap(steps, counts, labels, classes, here, over)
            if swap is None:
                return False
            place, there, other = swap
            out, into = step[place], steps[there][other]
            step[place], steps[there][other] = into, out
            counts[here][classes[out]] -= 1
            counts[here][classes[into]] += 1
            counts[there][classes[into]] -= 1
            counts[there][classes[out]] += 1
    return True


def _overfull(counts: Counter[int], size: int) -> int | None:
    [(most, count)] = counts.most_common(1)
    return most if count > size // 2 else None


def _find_swap(
    steps: list[list[int]],
    counts: list[Counter[int]],
    labels: np.ndarray,
    classes: np.ndarray,
    here: int,
    over: int,
) -> tuple[int, int, int] | None:
    """The place of an overfull row here, and a step and place elsewhere to swap it with that overfills neither."""
    outs = {bool(labels[row]): place for place, row in enumerate(steps[here]) if classes[row] == over}
    half = len(steps[here]) // 2
    for step in range(1, len(steps)):
        there = (here + step) % len(steps)
        if counts[there][over] + 1 > len(steps[there]) // 2:
            continue
        for other, row in enumerate(steps[there]):
            each = int(classes[row])
            if each != over and bool(labels[row]) in outs and counts[here][each] + 1 <= half:
                return outs[bool(labels[row])], there, other
    return None


def _deal_pairs(labels: np.ndarray, classes: np.ndarray, sizes: list[int], rng: np.random.Generator) -> list[list[int]]:
    """Steps made of pairs of different classes: a class then has at most half of any step.

    In rows arranged by class, row i and row i + rows / 2 differ in class as long as no class has more than half. An odd
    row is one of the most frequent class, and goes to a step where that class has room.
    """
    sizes_of = Counter(classes.tolist())
    order = {each: (-sizes_of[each], tie) for tie, each in enumerate(rng.permutation(sorted(sizes_of)).tolist())}
    arranged = sorted(rng.permutation(len(labels)).tolist(), key=lambda row: (order[int(classes[row])], labels[row]))
    odd = [arranged.pop(0)] if len(arranged) % 2 else []
    half = len(arranged) // 2
    pairs = rng.permutation(list(zip(arranged[:half], arranged[half:], strict=True))).tolist()
    pairs.sort(key=lambda pair: int(labels[pair].sum()))
    if odd:
        pairs.append(pairs.pop(_first_without(pairs, classes, int(classes[odd[0]]))))
    return _deal_in_turn(pairs, [size // 2 for size in sizes], odd)


def _first_without(pairs: list[list[int]], classes: np.ndarray, each: int) -> int:
    return next(place for place, pair in enumerate(pairs) if each not in classes[pair])


def _deal_in_turn(pairs: list[list[int]], wanted: list[int], odd: list[int]) -> list[list[int]]:
    """One pair for each step in turn, so that steps are alike; the last pair and the odd row go to the last step."""
    steps: list[list[int]] = [[] for _ in wanted]
    steps[-1] += [*pairs[-1], *odd]
    room = [pairs_wanted - (place == len(wanted) - 1) for place, pairs_wanted in enumerate(wanted)]
    turns = [step for turn in range(max(room)) for step in range(len(room)) if room[step] > turn]
    for step, pair in zip(turns, pairs[:-1], strict=True):
        steps[step] += pair
    return steps
