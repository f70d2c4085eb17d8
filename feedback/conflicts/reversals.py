"""The fewest judgements to turn round so that one order of the answers agrees with all.

Known as the minimum feedback arc set. N answers, W [N, N]: W[i, j] judgements that put answer i before answer j, at
least 0. An order pays W[i, j] for every i that it puts after j.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["few_reversals", "fewest_reversals"]

Ints = NDArray[np.int64]

_MOST_SWEEPS: Final = 50


def fewest_reversals(weights: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """What the best order pays, and every arrow that some best order turns round.

    Dynamic programming over the sets S of answers that come first: an answer put right after S pays for its arrows into
    S. The same from the other end gives what the rest pays, so that all best orders are seen and not only one.

    Args:
        weights: C tables of the same size. [C, N, N] int64; memory and time grow with C * N * 2^N.

    Returns:
        [C] int64 and [C, N, N] bool.

    Source: Lawler 1964, A comment on minimum feedback arc sets.
    """
    tables, n, _ = weights.shape
    sets = np.arange(1 << n)
    pays = np.zeros((tables, n, 1 << n), np.int64)
    for bit in range(n):
        pays[:, :, 1 << bit : 2 << bit] = pays[:, :, : 1 << bit] + weights[:, :, bit, None]
    endless = np.int64(weights.sum() + 1)
    first = np.full((tables, 1 << n), endless)
    rest = first.copy()
    first[:, 0] = rest[:, -1] = 0
    layers = [sets[np.bitwise_count(sets) == size] for size in range(n + 1)]
    for layer in layers[:-1]:
        for answer in range(n):
            free = layer[layer >> answer & 1 == 0]
            grown = free | 1 << answer
            first[:, grown] = np.minimum(first[:, grown], first[:, free] + pays[:, answer, free])
    for layer in layers[:0:-1]:
        for answer in range(n):
            grown = layer[layer >> answer & 1 == 1]
            free = grown ^ 1 << answer
            rest[:, free] = np.minimum(rest[:, free], rest[:, grown] + pays[:, answer, free])
    best = first[:, -1]
    turned = np.zeros(weights.shape, bool)
    for answer in range(n):
        free = sets[sets >> answer & 1 == 0]
        is_best = first[:, free] + pays[:, answer, free] + rest[:, free | 1 << answer] == best[:, None]
        before = np.bitwise_or.reduce(np.where(is_best, free, 0), axis=1)
        turned[:, answer] = before[:, None] >> np.arange(n) & 1 == 1
    return best, turned & (weights > 0)


def few_reversals(weights: Ints) -> tuple[int, NDArray[np.bool_]]:
    """What a good order pays, an upper bound of the fewest, and the arrows that it turns round.

    Greedy: the answer that wins most against those still there comes next. Then one answer at a time moves to where it
    pays least, until none moves.

    Args:
        weights: one table. [N, N] int64.

    Returns:
        The judgements, and [N, N] bool.

    Source: Eades, Lin, Smyth 1993 (the greedy order), here with weights and followed by moves.
    """
    order = _greedy_order(weights)
    for _ in range(_MOST_SWEEPS):
        moved = order.copy()
        for answer in order.tolist():
            moved = _with_best_place(moved, answer, weights)
        if bool((moved == order).all()):
            break
        order = moved
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    turned = (weights > 0) & (place[:, None] > place[None, :])
    return int(weights[turned].sum()), turned


def _greedy_order(weights: Ints) -> Ints:
    left = list(range(len(weights)))
    margins = weights.sum(axis=1) - weights.sum(axis=0)
    order = []
    while left:
        best = max(left, key=lambda answer: (int(margins[answer]), -answer))
        margins = margins - weights[:, best] + weights[best]
        left.remove(best)
        order.append(best)
    return np.array(order, np.int64)


def _with_best_place(order: Ints, answer: int, weights: Ints) -> Ints:
    """`order` with one answer moved to where it pays least; it stays where no place is better."""
    others = order[order != answer]
    # At place p the answer comes after others[:p] and before others[p:].
    after = np.concatenate([[0], np.cumsum(weights[answer, others])])
    before = weights[others, answer]
    pays = after + before.sum() - np.concatenate([[0], np.cumsum(before)])
    now = int(np.flatnonzero(order == answer)[0])
    best = int(pays.argmin())
    return order if pays[best] == pays[now] else np.insert(others, best, answer)
