"""Sequences that share a prompt as trees: the prompt once, each completion a branch, and no padding anywhere.

    pairs (x, a), (x, b), (y, c)  ─►  x a b | y c          one row of tokens
    positions                          0.. |x|.. |x|.. | 0..   as if each pair stood alone

A completion attends to its prompt and to itself, never to another branch or tree (`align.scoring.tree_attention`), so
the numbers are those of the pairs one by one. The last token of a completion predicts nothing and is left out.

Letters: N tokens of all trees, M completion tokens of all pairs, B pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from align.batches.plan import split_by_rank
from align.tokens.token_ids import TokenIds
from schemas.errors import ShapeError

__all__ = ["Span", "Trees", "plant_trees", "share_trees", "tree_batches", "tree_tokens"]

Pair = tuple[Sequence[int], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Span:
    """Where a tree lies in the row of tokens.

    Args:
        start: its first token.
        prompt: tokens of its prompt, at least 1.
        branches: tokens of each completion without its last one, in order behind the prompt; may be 0.
    """

    start: int
    prompt: int
    branches: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trees:
    """Pairs as trees, in tensors.

    Args:
        input_ids: all trees, one behind the other. [1, N] int64.
        position_ids: of each token in its own pair, from 0. [1, N] int64.
        spans: where each tree lies.
        predictors: the token whose hidden state predicts each completion token, pair by pair. [M] int64.
        targets: the completion tokens, likewise. [M] int64.
        completion_mask: True on as many places of a row as its pair has completion tokens. [B, longest] bool.
    """

    input_ids: Tensor
    position_ids: Tensor
    spans: tuple[Span, ...]
    predictors: Tensor
    targets: Tensor
    completion_mask: Tensor

    @property
    def tokens(self) -> int:
        """N: what the model computes on."""
        return self.input_ids.numel()


def plant_trees(pairs: Sequence[Pair], device: torch.device | str = "cpu") -> Trees:
    """The pairs as trees, those with the same prompt in one.

    Args:
        pairs: prompt ids and completion ids of each.
        device: where the tensors go.

    Raises:
        ShapeError: there is no pair, or one has no prompt token or no completion token.
    """
    _check(pairs)
    ids: list[int] = []
    positions: list[int] = []
    spans: list[Span] = []
    predictors: list[list[int]] = [[] for _ in pairs]
    for members in _by_prompt(pairs).values():
        prompt, start = pairs[members[0]][0], len(ids)
        ids += prompt
        positions += range(len(prompt))
        root = len(ids) - 1
        for member in members:
            branch = pairs[member][1][:-1]
            predictors[member] = [root, *range(len(ids), len(ids) + len(branch))]
            ids += branch
            positions += range(len(prompt), len(prompt) + len(branch))
        spans.append(Span(start, len(prompt), tuple(len(pairs[member][1]) - 1 for member in members)))
    lengths = torch.tensor([len(completion) for _, completion in pairs])
    mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
    return Trees(
        input_ids=torch.tensor([ids], device=device),
        position_ids=torch.tensor([positions], device=device),
        spans=tuple(spans),
        predictors=torch.tensor([place for part in predictors for place in part], device=device),
        targets=torch.tensor([token for _, completion in pairs for token in completion], device=device),
        completion_mask=mask.to(device),
    )


def tree_tokens(pairs: Sequence[Pair]) -> int:
    """Tokens that the trees of some pairs hold.

    >>> tree_tokens([((1, 2), (3, 4)), ((1, 2), (5,)), ((6,), (7, 8))])
    5
    """
    prompts = {_key(prompt): len(prompt) for prompt, _ in pairs}
    return sum(prompts.values()) + sum(len(completion) - 1 for _, completion in pairs)


def tree_batches(groups: Sequence[Sequence[Pair]], tokens: int) -> list[list[int]]:
    """Positions of groups of pairs, arranged into batches whose trees hold at most `tokens` tokens.

    Groups with the same prompt stay together as far as they fit, or are no more than the largest group alone. A group
    that is larger than `tokens` shares its batch with no other prompt. Order and number of batches change speed and
    memory, nothing else.

    >>> x, y = (1, 2, 3), (4,)
    >>> tree_batches([[(x, (5, 6))], [(y, (7,))], [(x, (8, 9, 10))]], tokens=7)
    [[2, 0, 1]]

    Args:
        groups: pairs that must stay in one batch, such as both answers of an example.
        tokens: the budget.
    """
    units = _units(groups, tokens)
    sizes = _unit_tokens(units, groups)
    batches: list[list[int]] = []
    rooms = _Rooms(tokens, len(units))
    for number in sorted(range(len(units)), key=lambda index: (-sizes[index], units[index][0])):
        place = rooms.take(sizes[number])
        if place == len(batches):
            batches.append([])
        batches[place] += units[number]
    return batches


def share_trees(groups: Sequence[Sequence[Pair]], ranks: int) -> list[list[int]]:
    """Positions of groups of pairs for each rank, balanced by tokens; groups with the same prompt go to one rank.

    A prompt with more than half of a rank's share of the tokens may go to several. No rank is empty where there are as
    many groups.

    >>> x, y = (1, 2, 3), (4,)
    >>> share_trees([[(x, (5, 6))], [(y, (7,) * 6)], [(x, (8, 9))]], ranks=2)
    [[1], [0, 2]]

    Args:
        groups: pairs that must go to one rank, such as both answers of an example.
        ranks: how many, at least 1.
    """
    whole = tree_tokens([pair for group in groups for pair in group])
    units = _units(groups, whole // (2 * ranks))
    if len(units) < ranks:
        units = [[position] for position in range(len(groups))]
    sizes = _unit_tokens(units, groups)
    return [sorted(member for unit in part for member in units[unit]) for part in split_by_rank(sizes, ranks)]


class _Rooms:
    """What is left of the budget in each batch: a tree of maxima, so that the first batch with room is found at once.

    Args:
        tokens: the budget of each batch.
        most: batches at most, at least 1.
    """

    def __init__(self, tokens: int, most: int) -> None:
        self._leaves = 1 << max(0, most - 1).bit_length()
        self._tokens = tokens
        self._most_left = [tokens] * (2 * self._leaves)

    def take(self, size: int) -> int:
        """Position of the first batch with room for `size` tokens, or of an empty one for more than fit into any."""
        wanted = min(size, self._tokens)
        node = 1
        while node < self._leaves:
            node *= 2
            node += self._most_left[node] < wanted
        place = node - self._leaves
        self._most_left[node] -= size
        while node > 1:
            node //= 2
            self._most_left[node] = max(self._most_left[2 * node], self._most_left[2 * node + 1])
        return place


def _units(groups: Sequence[Sequence[Pair]], tokens: int) -> list[list[int]]:
    """Groups of each prompt, the longest first, cut where the next would not fit into `tokens` or the largest group."""
    by_prompt: dict[Sequence[int], list[int]] = {}
    for position, group in enumerate(groups):
        by_prompt.setdefault(_key(group[0][0]), []).append(position)
    sizes = [tree_tokens(group) for group in groups]
    most = max((tokens, *sizes))
    units: list[list[int]] = []
    for members in by_prompt.values():
        held = most + 1  # no room in the unit of another prompt
        for member in sorted(members, key=lambda index: (-sizes[index], index)):
            more = sizes[member] - len(groups[member][0][0])  # the prompt is there
            if held + more <= most:
                units[-1].append(member)
                held += more
            else:
                units.append([member])
                held = sizes[member]
    return units


def _unit_tokens(units: Sequence[Sequence[int]], groups: Sequence[Sequence[Pair]]) -> list[int]:
    return [tree_tokens([pair for member in unit for pair in groups[member]]) for unit in units]


def _by_prompt(pairs: Sequence[Pair]) -> dict[Sequence[int], list[int]]:
    found: dict[Sequence[int], list[int]] = {}
    for position, (prompt, _) in enumerate(pairs):
        found.setdefault(_key(prompt), []).append(position)
    return found


def _key(prompt: Sequence[int]) -> Sequence[int]:
    """The prompt as a key that is equal for equal ids."""
    return prompt if isinstance(prompt, TokenIds) else tuple(prompt)


def _check(pairs: Sequence[Pair]) -> None:
    if not pairs:
        raise ShapeError("there is no pair to plant")
    for position, (prompt, completion) in enumerate(pairs):
        if not prompt or not completion:
            raise ShapeError(
                "a pair has no prompt token or no completion token",
                where=f"pair {position}",
                received=f"{len(prompt)} prompt and {len(completion)} completion tokens",
            )
