"""One optimizer step's loss and gradient: the same for any split into micro batches and ranks, but for float rounding.

this rank's rows ─► mismatched pairs, no gradient ─► sum and count over ranks ─► z0
                 └► micro batches: sum of losses / examples of the step ─► backward ─► gradients summed over ranks

Letters: B examples of a micro batch. The step's loss is the sum of example losses over all ranks divided by the number
of examples of the step, never a mean of means.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from accelerate import Accelerator
from torch import Tensor

from align.metrics import RewardSums
from align.objectives.kto import kl_estimate
from align.plan import micro_batches, split_by_rank
from align.ranks import gather_floats
from align.scoring import Scorer, TokenPair, lengths_of, ratio_tolerance

__all__ = ["Example", "ExampleLoss", "StepOutcome", "backward_step"]

ExampleLoss = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""From policy_logps, reference_logps, label, weight ([B] each) and z0 (scalar) to the loss of each example, [B]."""


@dataclass(frozen=True, slots=True)
class Example:
    """A row of a step, with the reference's numbers.

    Args:
        row_id: names it in errors.
        matched: its prompt and its completion.
        mismatched: its prompt and its partner's completion; None where the step estimates no z0.
        reference_logp: log-probability of `matched` under the reference, in nats.
        mismatched_reference_logp: the same of `mismatched`.
        label: True where desirable.
        weight: factor of its loss.
    """

    row_id: str
    matched: TokenPair
    mismatched: TokenPair | None
    reference_logp: float
    mismatched_reference_logp: float
    label: bool
    weight: float


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What a step found, over all micro batches and ranks.

    Args:
        loss: sum of example losses / examples.
        z0: the KL estimate in nats; with scope `micro` the mean over micro batches.
        mean_kl: the same before it was clamped at 0; None where it was not estimated.
        rewards: log-ratios by label (not yet times beta).
        examples: rows of the step.
        micro_batches: forward and backward passes.
        tokens: real tokens computed on, mismatched pairs included.
        padded_tokens: the same with padding.
        largest_ratio: largest |r| of a matched or mismatched pair, in nats.
        mismatch: largest |r| as a multiple of what rounding allows where policy and reference are equal.
    """

    loss: float
    z0: float
    mean_kl: float | None
    rewards: RewardSums
    examples: int
    micro_batches: int
    tokens: int
    padded_tokens: int
    largest_ratio: float
    mismatch: float


class _Tally:
    """Sums and maxima of one rank."""

    def __init__(self) -> None:
        self.sums = dict.fromkeys(
            ("loss", "desirable", "undesirable", "desirable_reward", "undesirable_reward"), 0.0
        ) | dict.fromkeys(("kl", "kl_count", "micro_batches", "tokens", "padded_tokens"), 0.0)
        self.largest_ratio = 0.0
        self.mismatch = 0.0

    def add(self, **values: float) -> None:
        """Add to sums, by name."""
        for key, value in values.items():
            self.sums[key] += value

    def compare(self, ratio: float, reference_logp: float, dtype: str) -> None:
        """Take note of a log-ratio, in nats, and of how far rounding explains it."""
        size = math.inf if math.isnan(ratio) else abs(ratio)
        self.largest_ratio = max(self.largest_ratio, size)
        self.mismatch = max(self.mismatch, size / ratio_tolerance(reference_logp, dtype))


def backward_step(
    examples: Sequence[Example],
    scorer: Scorer,
    loss: ExampleLoss,
    accelerator: Accelerator,
    *,
    z0_scope: Literal["step", "micro", "none"],
) -> StepOutcome:
    """Add this rank's share of the gradient of the step's loss to the parameters, and report the whole step.

    The caller sums the gradients over the ranks (`align.ranks.sum_gradients`).

    Args:
        examples: all rows of the step; each rank takes its part of them.
        scorer: the policy.
        loss: the objective's loss of each example.
        accelerator: the process's place in the run.
        z0_scope: rows that one z0 is taken over.
    """
    part = split_by_rank(lengths_of([example.matched for example in examples]), accelerator.num_processes)
    mine = [examples[position] for position in part[accelerator.process_index]]
    batches = micro_batches(lengths_of([example.matched for example in mine]), scorer.tokens)
    tally = _Tally()
    ratios = [] if z0_scope == "none" else _mismatched_ratios(mine, scorer, tally)
    z0s = _estimate_z0(ratios, batches, accelerator, scope=z0_scope)
    for members, z0 in zip(batches, z0s, strict=False):
        _backward([mine[member] for member in members], scorer, loss, z0, len(examples), tally)
    return _outcome(tally, accelerator, examples=len(examples), z0s=z0s, is_micro=z0_scope == "micro")


def _mismatched_ratios(examples: Sequence[Example], scorer: Scorer, tally: _Tally) -> list[float]:
    """Log-ratio of each mismatched pair, without a gradient."""
    pairs = [example.mismatched for example in examples if example.mismatched is not None]
    references = [example.mismatched_reference_logp for example in examples if example.mismatched is not None]
    ratios = []
    for policy, reference in zip(scorer.score(pairs), references, strict=True):
        ratios.append(policy - reference)
        tally.compare(policy - reference, reference, scorer.dtype)
    lengths = lengths_of(pairs)
    padded = sum(max(lengths[m] for m in batch) * len(batch) for batch in micro_batches(lengths, scorer.tokens))
    tally.add(kl=sum(ratios), kl_count=len(ratios), tokens=sum(lengths), padded_tokens=padded)
    return ratios


def _estimate_z0(
    ratios: Sequence[float], batches: Sequence[Sequence[int]], accelerator: Accelerator, *, scope: str
) -> list[float]:
    """z0 for each of this rank's micro batches; the same one for all of them but with scope `micro`.

    With `micro`, the k-th micro batches of all ranks that have one share the mean of their means, as trainers do that
    take a z0 in each forward pass.
    """
    if scope == "none":
        return [0.0] * max(1, len(batches))
    if scope == "step":
        parts = gather_floats([sum(ratios), len(ratios)], accelerator)
        total = torch.tensor(sum(part[0] for part in parts), dtype=torch.float64)
        return [float(kl_estimate(total, int(sum(part[1] for part in parts))))] * max(1, len(batches))
    most = int(max(part[0] for part in gather_floats([len(batches)], accelerator)))
    means = [sum(ratios[member] for member in members) / len(members) for members in batches]
    absent = most - len(batches)
    gathered = gather_floats([*means, *[0.0] * absent, *[1.0] * len(batches), *[0.0] * absent], accelerator)
    totals = torch.tensor([part[:most] for part in gathered], dtype=torch.float64).sum(dim=0)
    counts = torch.tensor([part[most:] for part in gathered], dtype=torch.float64).sum(dim=0)
    return [float(kl_estimate(totals[k], int(counts[k]))) for k in range(most)]


def _backward(
    examples: Sequence[Example], scorer: Scorer, loss: ExampleLoss, z0: float, step_examples: int, tally: _Tally
) -> None:
    """Forward and backward of one micro batch."""
    sequences = scorer.collate([example.matched for example in examples])
    device = scorer.device
    reference = torch.tensor([example.reference_logp for example in examples], dtype=torch.float32, device=device)
    label = torch.tensor([example.label for example in examples], dtype=torch.bool, device=device)
    weight = torch.tensor([example.weight for example in examples], dtype=torch.float32, device=device)
    policy = scorer(sequences)
    losses = loss(policy, reference, label, weight, torch.tensor(z0, dtype=torch.float32, device=device))
    (losses.sum() / step_examples).backward()
    ratios = (policy.detach() - reference).tolist()
    for example, ratio in zip(examples, ratios, strict=True):
        tally.compare(ratio, example.reference_logp, scorer.dtype)
        side = "desirable" if example.label else "undesirable"
        tally.add(**{side: 1, f"{side}_reward": ratio})
    tally.add(
        loss=float(losses.detach().double().sum()),
        micro_batches=1,
        tokens=sequences.tokens,
        padded_tokens=sequences.padded_tokens,
    )


def _outcome(
    tally: _Tally, accelerator: Accelerator, *, examples: int, z0s: Sequence[float], is_micro: bool
) -> StepOutcome:
    keys = sorted(tally.sums)
    parts = gather_floats([*(tally.sums[key] for key in keys), tally.largest_ratio, tally.mismatch], accelerator)
    total = {key: sum(part[place] for part in parts) for place, key in enumerate(keys)}
    return StepOutcome(
        loss=total["loss"] / examples,
        z0=sum(z0s) / len(z0s) if is_micro else z0s[0],
        mean_kl=total["kl"] / total["kl_count"] if total["kl_count"] else None,
        rewards=RewardSums(
            desirable=total["desirable"],
            undesirable=total["undesirable"],
            desirable_reward=total["desirable_reward"],
            undesirable_reward=total["undesirable_reward"],
        ),
        examples=examples,
        micro_batches=int(total["micro_batches"]),
        tokens=int(total["tokens"]),
        padded_tokens=int(total["padded_tokens"]),
        largest_ratio=max(part[-2] for part in parts),
        mismatch=max(part[-1] for part in parts),
    )
