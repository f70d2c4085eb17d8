"""Preferences that run in a circle: a before b, b before c, c before a. No order of the answers agrees with all three.

Pairs are read off the votes of candidates: a pair votes up for its winner and down for its loser. Between two answers
counts what most raters said; whoever said the opposite is outvoted there, which is a disagreement and no circle. That
leaves a graph with an arrow from the better answer to the worse one. A cycle is a set of answers, at least three, each
of which can be reached from each other along the arrows.

An answer on a cycle has won one pair and lost another, so after conversion it carries both labels, and the stage
`conflicts` decides about it as about any other. The reverse does not hold: the middle of a plain ranking wins and loses
too. Nothing here looks at text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feedback.conflicts.reversals import few_reversals, fewest_reversals

__all__ = ["Cycles", "find_cycles", "pairs_of_votes"]

Ints = NDArray[np.int64]

_BATCH_BYTES: Final = 1 << 26
_TABLE: Final = pl.Schema(
    {"prompt": pl.UInt64, "answers": pl.Int64, "judgements": pl.Int64, "reversals": pl.Int64, "is_exact": pl.Boolean}
)
_ARROWS: Final = pl.Schema({"winner": pl.UInt64, "loser": pl.UInt64})


@dataclass(frozen=True, slots=True)
class Cycles:
    """The cycles among pairs.

    Args:
        table: one row for each cycle: `prompt` (the smallest id of its pairs' prompts), `answers` on it, `judgements`
            along its arrows, the fewest `reversals` of them that leave an order, and `is_exact`, False where
            `reversals` is an upper bound. Sorted by prompt.
        arrows: `winner` and `loser` of the arrows that some order with the fewest reversals turns round. Where several
            orders are equally good, the arrows of all are here: nothing is chosen between equals.
        opposed: how many times two answers were preferred both ways, whether or not in a cycle.
    """

    table: pl.DataFrame
    arrows: pl.DataFrame
    opposed: int


@dataclass(frozen=True, slots=True)
class _Arrows:
    """The arrows of a graph: from each winner to each loser, with judgements net of the opposite. [E] each."""

    winner: Ints
    loser: Ints
    net: Ints

    def where(self, mask: NDArray[np.bool_]) -> _Arrows:
        return _Arrows(self.winner[mask], self.loser[mask], self.net[mask])


def pairs_of_votes(votes: pl.DataFrame) -> pl.DataFrame:
    """One row for each pair: prompt (`group_id`), winner and loser (`cluster_id`), event_id and rater_key.

    A pair is known by its two votes, up and down under one event id. A pair of near-duplicate answers is left out: it
    says nothing about two answers.

    Args:
        votes: one row for each vote, with group_id, cluster_id, event_id, rater_key and label.
    """
    losses = votes.filter(~pl.col("label")).select("event_id", loser="cluster_id")
    pairs = votes.filter("label").join(losses, on="event_id", how="inner")
    named = pairs.select("loser", "event_id", "rater_key", prompt="group_id", winner="cluster_id")
    return named.filter(pl.col("winner") != pl.col("loser")).unique(["winner", "loser", "event_id"], keep="any")


def find_cycles(pairs: pl.DataFrame, *, exact_up_to: int = 12) -> Cycles:
    """The cycles among `pairs`, with the fewest reversals of each.

    The fewest are exact for cycles of up to `exact_up_to` answers, all orders weighed. Beyond, a good order is searched
    for, and what it turns round is an upper bound.

    Args:
        pairs: the columns of `pairs_of_votes`. A known rater counts once for each winner and loser.
        exact_up_to: answers up to which all orders are weighed; memory and time grow with its power of 2.
    """
    answers, prompts, arrows, opposed = _majority_graph(pairs)
    cyclic = _without_ends(arrows)
    component = _components(cyclic) if len(cyclic.net) else np.empty(0, np.int64)
    inside = np.zeros(0, bool) if not len(cyclic.net) else component[cyclic.winner] == component[cyclic.loser]
    cyclic = cyclic.where(inside)
    rows: list[tuple[int, int, int, int, bool]] = []
    turned: list[Ints] = []
    for nodes, weights in _tables(cyclic, component, exact_up_to):
        is_exact = weights.shape[1] <= exact_up_to
        if is_exact:
            reversals, masks = fewest_reversals(weights)
        else:
            pays, mask = few_reversals(weights[0])
            reversals, masks = np.array([pays]), mask[None]
        sums = weights.sum(axis=(1, 2))
        rows += [
            (int(prompts[of].min()), len(of), int(judged), int(pays), is_exact)
            for of, judged, pays in zip(nodes, sums, reversals, strict=True)
        ]
        table, winner, loser = np.nonzero(masks)
        turned.append(np.stack([nodes[table, winner], nodes[table, loser]]))
    ends = answers[np.concatenate(turned, axis=1)] if turned else np.empty((2, 0), np.uint64)
    return Cycles(
        pl.DataFrame(rows, schema=_TABLE, orient="row").sort(_TABLE.names()),
        pl.DataFrame({"winner": ends[0], "loser": ends[1]}, schema=_ARROWS).sort("winner", "loser"),
        opposed,
    )


def _majority_graph(pairs: pl.DataFrame) -> tuple[NDArray[np.uint64], NDArray[np.uint64], _Arrows, int]:
    """Ids of the answers, the smallest prompt of each, the arrows between their numbers, and the opposed."""
    unknown = pl.when(pl.col("rater_key").is_null()).then("event_id")
    judged = pairs.with_columns(unknown=unknown).unique(["winner", "loser", "rater_key", "unknown"], keep="any")
    ends = np.concatenate([judged["winner"].to_numpy(), judged["loser"].to_numpy()])
    answers, numbers = np.unique(ends, return_inverse=True)
    prompts = np.full(len(answers), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(prompts, numbers, np.tile(judged["prompt"].to_numpy(), 2))
    winner, loser = numbers.astype(np.int64).reshape(2, -1)
    low, high = np.minimum(winner, loser), np.maximum(winner, loser)
    couples, of_couple = np.unique(low * len(answers) + high, return_inverse=True)
    for_low = np.bincount(of_couple, winner == low, len(couples)).astype(np.int64)
    for_high = np.bincount(of_couple, winner == high, len(couples)).astype(np.int64)
    low, high = np.divmod(couples, max(len(answers), 1))
    is_low = for_low > for_high
    arrows = _Arrows(np.where(is_low, low, high), np.where(is_low, high, low), np.abs(for_low - for_high))
    return answers, prompts, arrows.where(arrows.net > 0), int(((for_low > 0) & (for_high > 0)).sum())


def _without_ends(arrows: _Arrows) -> _Arrows:
    """The arrows left after those from unbeaten answers and those to winless ones are gone, and so on."""
    while True:
        nodes = int(max(arrows.winner.max(initial=-1), arrows.loser.max(initial=-1))) + 1
        wins = np.bincount(arrows.winner, minlength=nodes) > 0
        losses = np.bincount(arrows.loser, minlength=nodes) > 0
        stays = losses[arrows.winner] & wins[arrows.loser]
        if bool(stays.all()):
            return arrows
        arrows = arrows.where(stays)


def _components(arrows: _Arrows) -> Ints:
    """A number for each answer, the same for answers that reach each other (Tarjan 1972, without recursion)."""
    nodes = int(max(arrows.winner.max(), arrows.loser.max())) + 1
    order = np.argsort(arrows.winner, kind="stable")
    starts = np.searchsorted(arrows.winner[order], np.arange(nodes + 1)).tolist()
    losers = arrows.loser[order].tolist()
    component, found, lowest = [-1] * nodes, [-1] * nodes, [0] * nodes
    edge, open_nodes, count = starts[:-1], list[int](), 0
    for root in np.unique(arrows.winner).tolist():
        path = [] if found[root] >= 0 else [root]
        while path:
            node = path[-1]
            if found[node] < 0:
                found[node] = lowest[node] = count
                count += 1
                open_nodes.append(node)
            if edge[node] < starts[node + 1]:
                to = losers[edge[node]]
                edge[node] += 1
                if found[to] < 0:
                    path.append(to)
                elif component[to] < 0:
                    lowest[node] = min(lowest[node], found[to])
                continue
            path.pop()
            if path:
                lowest[path[-1]] = min(lowest[path[-1]], lowest[node])
            if lowest[node] == found[node]:
                while component[node] < 0:
                    component[open_nodes.pop()] = node
    return np.array(component, np.int64)


def _tables(arrows: _Arrows, component: Ints, exact_up_to: int) -> Iterator[tuple[Ints, Ints]]:
    """Components of one size together: their answers [C, N] and weights [C, N, N]; large ones one at a time."""
    if not len(arrows.net):
        return
    nodes = np.unique(np.concatenate([arrows.winner, arrows.loser]))
    nodes = nodes[np.argsort(component[nodes], kind="stable")]
    names, starts, sizes = np.unique(component[nodes], return_index=True, return_counts=True)
    place = np.zeros(len(component), np.int64)
    place[nodes] = np.arange(len(nodes)) - np.repeat(starts, sizes)
    of_arrow = np.searchsorted(names, component[arrows.winner])
    for size in np.unique(sizes).tolist():
        chosen = np.flatnonzero(sizes == size)
        step = max(1, _BATCH_BYTES // (8 * size << size)) if size <= exact_up_to else 1
        for start in range(0, len(chosen), step):
            part = chosen[start : start + step]
            mine = np.flatnonzero(np.isin(of_arrow, part))
            weights = np.zeros((len(part), size, size), np.int64)
            table = np.searchsorted(part, of_arrow[mine])
            weights[table, place[arrows.winner[mine]], place[arrows.loser[mine]]] = arrows.net[mine]
            yield nodes[starts[part][:, None] + np.arange(size)], weights
