"""A model as a scorer of token sequences: device, precision and micro batches around `CompletionLogps`.

Sequences are scored as trees, each prompt once and nothing padded, where the model can; else as padded batches.
Policy and reference are scored by this one path, in training, in evaluation and for the reference cache, so that equal
weights give equal numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from align.batches.collate import Sequences, collate
from align.batches.plan import micro_batches, split_by_rank
from align.distributed.ranks import gather_floats, gather_objects
from align.models.loading import Head, LoadedModel
from align.scoring.kernel_caches import bound_kernel_caches
from align.scoring.logps import CompletionLogps
from align.scoring.rope_tables import RopeTables, rope_tables
from align.scoring.sequence_rewards import SequenceRewards
from align.scoring.trees import plant_trees, share_trees, tree_batches, tree_tokens
from align.tokens.token_ids import TokenPair
from schemas.progress import Advance

__all__ = [
    "FORWARD_FACTOR",
    "Scorer",
    "batches_within",
    "build_scorer",
    "lengths_of",
    "micro_batch_tokens",
    "pass_tokens",
    "ratio_tolerance",
    "score_on_ranks",
]

_BUDGETS: Final = {"cpu": {"float32": 512, "bfloat16": 1024}, "cuda": {"float32": 8192, "bfloat16": 8192}}
"""Products in bfloat16 are fast on a CPU; adding their gradients to float32 ones, once a pass, is not."""
FORWARD_FACTOR: Final = 4
"""How many times the budget a pass without a gradient has, as it keeps no activations."""


@dataclass(frozen=True)
class Scorer:
    """Completion log-probabilities of token sequences, or their rewards.

    Args:
        module: `CompletionLogps` or `SequenceRewards` around the model, on `device`.
        device: where it computes.
        dtype: `float32`, or `bfloat16` for autocast of matrix products.
        pad_id: token id for padding.
        tokens: budget of one forward and backward pass, padding included; without a gradient a pass has four times it.
        use_trees: whether to score trees where the module can; the numbers are the same without.
        ranks: where the weights are shared out over ranks, which must take as many passes; None elsewhere.
        tables: where the model turns positions of long sequences by another table; None where it has one.
    """

    module: nn.Module
    device: torch.device
    dtype: str
    pad_id: int
    tokens: int
    use_trees: bool = True
    ranks: Accelerator | None = None
    tables: RopeTables | None = None

    @property
    def has_trees(self) -> bool:
        """Whether prompts are computed once and nothing is padded."""
        return self.use_trees and getattr(self.module, "has_trees", False)

    def __call__(self, pairs: Sequence[TokenPair]) -> Tensor:
        """Summed log-probability of each completion, in nats, or its reward; with a gradient where it is on.

        Args:
            pairs: B pairs, scored in one forward pass.

        Returns:
            [B] float32.

        Raises:
            ModelError: a sequence is too long for what the model has for short and long ones.
        """
        parts = self._parts(pairs)
        if len(parts) < 2:
            return self._together(pairs)
        values = torch.cat([self._together([pairs[place] for place in part]) for part in parts])
        order = torch.tensor([place for part in parts for place in part], device=values.device)
        return values[order.argsort()]

    def check_lengths(self, pairs: Sequence[TokenPair]) -> None:
        """Refuse sequences that cannot be scored, before any is.

        Args:
            pairs: all that will be scored.

        Raises:
            ModelError: one is too long for what the model has for short and long ones.
        """
        self._parts(pairs)

    def _parts(self, pairs: Sequence[TokenPair]) -> list[list[int]]:
        """Places of pairs that one pass may hold together; one part where the model turns all positions alike."""
        if self.tables is None:
            return [list(range(len(pairs)))]
        lengths = [length - self._unread for length in lengths_of(pairs)]
        if self.ranks is not None:  # every rank must take as many passes
            self.tables.refuse(max(lengths, default=0))
        return self.tables.parts(lengths)

    @property
    def _unread(self) -> int:
        """Tokens at the end of a sequence that the model does not compute on."""
        return 0 if isinstance(self.module, SequenceRewards) else 1

    def _together(self, pairs: Sequence[TokenPair]) -> Tensor:
        scored: Any = self.module
        with self.precision():
            if self.has_trees:
                values: Tensor = scored.of_trees(plant_trees(pairs, self.device))
            else:
                sequences = self.collate(pairs)
                values = scored(sequences.input_ids, sequences.attention_mask, sequences.completion_mask)
        return values.float()

    @contextmanager
    def precision(self) -> Iterator[None]:
        """The context that products are taken in. A weight is rounded for each product: none is held beside its own."""
        is_half = self.dtype == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=is_half, cache_enabled=False):
            yield

    def passes(self, pairs: Sequence[TokenPair]) -> list[list[int]]:
        """Positions of pairs, arranged into forward passes without a gradient, which keep no activations.

        Args:
            pairs: any number of pairs.
        """
        groups = [[pair] for pair in pairs]
        return batches_within(FORWARD_FACTOR * self.tokens, groups, has_trees=self.has_trees)

    def batches(self, groups: Sequence[Sequence[TokenPair]]) -> list[list[int]]:
        """Positions of groups of pairs, arranged into forward and backward passes within the budget.

        Args:
            groups: pairs that must be scored in one pass, such as both answers of an example; all of one size.
        """
        return batches_within(self.tokens, groups, has_trees=self.has_trees)

    def shares(self, groups: Sequence[Sequence[TokenPair]], ranks: int) -> list[list[int]]:
        """Positions of groups of pairs for each rank, balanced by tokens; answers to one prompt together in trees.

        Args:
            groups: pairs that must be scored in one pass; all of one size.
            ranks: how many, at least 1.
        """
        if ranks == 1:
            return [list(range(len(groups)))]
        if self.has_trees:
            return share_trees(groups, ranks)
        return split_by_rank([max(lengths_of(group)) for group in groups], ranks)

    def missing_passes(self, passes: int) -> int:
        """How many passes another rank takes more than this one; 0 where ranks need not take as many.

        Args:
            passes: that this rank will take.
        """
        if self.ranks is None:
            return 0
        return int(max(part[0] for part in gather_floats([passes], self.ranks))) - passes

    def fill(self, passes: int) -> None:
        """Take part in passes that only other ranks have examples for; gradients stay as they are.

        Args:
            passes: how many, of `missing_passes`.
        """
        for _ in range(passes):
            values = self([((0,), (0,))])
            if values.requires_grad:
                with torch.autocast(self.device.type, enabled=False):
                    (0.0 * values.sum()).backward()

    def computed_tokens(self, pairs: Sequence[TokenPair]) -> int:
        """What one forward pass over the pairs computes on: with padding, or with each prompt once."""
        return pass_tokens(pairs, has_trees=self.has_trees)

    def of_tokens(self, sequences: Sequences, module: nn.Module | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probability of each completion token, see `align.scoring.logps.CompletionLogps.of_tokens`.

        Args:
            sequences: [B, T].
            module: another `CompletionLogps` than the scorer's own, on its device.

        Raises:
            ModelError: a sequence is longer than those that the model turns positions of by its first table.
        """
        scored: Any = self.module if module is None else module
        if self.tables is not None:
            self.tables.refuse(sequences.input_ids.shape[1] - self._unread)
        with self.precision():
            logps, mask, hidden = scored.of_tokens(
                sequences.input_ids, sequences.attention_mask, sequences.completion_mask
            )
        return logps.float(), mask, hidden

    def collate(self, pairs: Sequence[TokenPair]) -> Sequences:
        """The pairs as one padded batch on the scorer's device."""
        return collate(pairs, self.pad_id, self.device)

    @torch.no_grad()
    def score(self, pairs: Sequence[TokenPair], advance: Advance | None = None) -> list[float]:
        """Summed log-probability of each pair's completion, in the order given, without a gradient.

        Args:
            pairs: any number of pairs.
            advance: called with the number of pairs done.
        """
        scores = [0.0] * len(pairs)
        passes = self.passes(pairs)
        missing = self.missing_passes(len(passes))
        with self.precision():
            for members in passes:
                values = self([pairs[member] for member in members]).tolist()
                for member, value in zip(members, values, strict=True):
                    scores[member] = value
                if advance is not None:
                    advance(len(members))
            self.fill(missing)
        return scores


def build_scorer(loaded: LoadedModel, *, device: torch.device, dtype: str, tokens: int, head: Head = "logps") -> Scorer:
    """A scorer of a loaded model, which moves to `device`.

    Args:
        loaded: the model.
        device: where it will compute.
        dtype: `float32`, or `bfloat16` for autocast of matrix products.
        tokens: budget of one forward pass, padding included; 0 takes what suits the device.
        head: what the model was loaded with.
    """
    if device.type == "cpu":
        bound_kernel_caches()
    model = loaded.model.to(device)
    module = SequenceRewards(model) if head == "rewards" else CompletionLogps(model)
    return Scorer(
        module,
        device,
        dtype,
        loaded.tokenizer.pad_token_id,
        micro_batch_tokens(tokens, device.type, dtype),
        tables=rope_tables(model.config),
    )


def batches_within(tokens: int, groups: Sequence[Sequence[TokenPair]], *, has_trees: bool) -> list[list[int]]:
    """Positions of groups of pairs, arranged into forward passes of at most `tokens` tokens; a larger group is alone.

    Args:
        tokens: the budget, padding included.
        groups: pairs that must be scored in one pass; all of one size.
        has_trees: whether prompts are computed once and nothing is padded.
    """
    if has_trees:
        return tree_batches(groups, tokens)
    width = max((len(group) for group in groups), default=1)
    return micro_batches([max(lengths_of(group)) for group in groups], tokens // width)


def pass_tokens(pairs: Sequence[TokenPair], *, has_trees: bool) -> int:
    """What one forward pass over the pairs computes on: with padding, or with each prompt once.

    Args:
        pairs: at least one.
        has_trees: whether prompts are computed once and nothing is padded.
    """
    return tree_tokens(pairs) if has_trees else max(lengths_of(pairs)) * len(pairs)


def micro_batch_tokens(tokens: int, device: str, dtype: str) -> int:
    """The budget of a forward pass, padding included.

    Args:
        tokens: what the config says; 0 takes what suits the device.
        device: `cpu` or `cuda`.
        dtype: `float32` or `bfloat16`, of products.
    """
    return tokens or _BUDGETS[device][dtype]


def score_on_ranks(
    pairs: Sequence[TokenPair], scorer: Scorer, accelerator: Accelerator, advance: Advance | None = None
) -> list[float]:
    """What `Scorer.score` gives, with the pairs shared out over the ranks; every rank gets all numbers.

    Args:
        pairs: the same on every rank.
        scorer: this rank's model.
        accelerator: the process's place in the run.
        advance: called with the number of pairs done on this rank.
    """
    mine = scorer.shares([[pair] for pair in pairs], accelerator.num_processes)[accelerator.process_index]
    values = scorer.score([pairs[position] for position in mine], advance)
    gathered = dict(gather_objects(list(zip(mine, values, strict=True)), accelerator))
    return [gathered[position] for position in range(len(pairs))]


def lengths_of(pairs: Sequence[TokenPair]) -> list[int]:
    """Tokens of each pair, prompt and completion together."""
    return [len(prompt_ids) + len(completion_ids) for prompt_ids, completion_ids in pairs]


def ratio_tolerance(reference_logp: float, dtype: str) -> float:
    """How far r = policy - reference may lie from 0, in nats, where policy and reference have the same weights.

    In float32 1e-4, and beyond 100 nats one millionth of the log-probability, as a float32 near -1,000 steps by 6e-5.
    In bfloat16, whose products are rounded to three digits, 0.5 nats, a quarter of the root of the log-probability or
    one hundredth of it, whichever is most: the tokens' errors are independent, so their sum grows as a root does. Other
    batches alone moved sums of -70 to -390 nats by 0.4 in the mean square (SmolLM2-135M), a difference of two by 0.6.

    Args:
        reference_logp: summed log-probability under the reference, in nats.
        dtype: `float32` or `bfloat16`.
    """
    size = abs(reference_logp)
    if dtype == "float32":
        return max(1e-4, 1e-6 * size)
    return max(0.5, 0.25 * math.sqrt(size), 1e-2 * size)
