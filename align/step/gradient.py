"""One optimizer step's loss and gradient: the same for any split into micro batches and ranks, but for float rounding.

this rank's rows ─► mismatched pairs, no gradient ─► sum and count over ranks ─► z0
                 └► micro batches: sum of losses / examples of the step ─► backward ─► gradients summed over ranks

Letters: B examples of a micro batch, S sequences of each: a completion, or the chosen and the rejected one of a pair,
which travel together. The step's loss is the sum of example losses over all ranks divided by the number of examples of
the step (for objectives of tokens, by its completion tokens), never a mean of means.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from accelerate import Accelerator
from torch import Tensor

from align.artifacts.metrics import RewardSums
from align.batches.plan import split_by_rank
from align.distributed.ranks import gather_floats
from align.objectives.kto import kl_estimate
from align.objectives.losses import BatchLoss, ScoredBatch
from align.scoring.scorer import Scorer, lengths_of, ratio_tolerance
from align.scoring.weight_passes import summed_in_place
from align.tokens.token_ids import TokenPair

__all__ = ["Example", "SampledAnswers", "StepOutcome", "StepRules", "StepTally", "backward_step", "step_outcome"]


@dataclass(frozen=True, slots=True)
class StepRules:
    """What an objective asks of a step.

    Args:
        loss: the loss of each example.
        z0_scope: rows that one z0 is taken over; `none` where there is none to take.
        is_z0_clamped: whether z0 is at least 0.
        per_token: whether the step's loss is divided by its completion tokens.
    """

    loss: BatchLoss
    z0_scope: Literal["step", "micro", "none"] = "step"
    is_z0_clamped: bool = True
    per_token: bool = False


@dataclass(frozen=True, slots=True)
class Example:
    """A row of a step, with the reference's numbers.

    Args:
        row_id: names it in errors.
        sequences: its prompt with its completion, or with the chosen and with the rejected one.
        mismatched: its prompt and its partner's completion; None where the step estimates no z0.
        reference_logps: log-probability of each sequence under the reference, in nats; 0 without a reference.
        mismatched_reference_logp: the same of `mismatched`.
        label: True where desirable; of a pair True.
        weight: factor of its loss.
    """

    row_id: str
    sequences: tuple[TokenPair, ...]
    mismatched: TokenPair | None
    reference_logps: tuple[float, ...]
    mismatched_reference_logp: float
    label: bool
    weight: float

    @property
    def length(self) -> int:
        """Tokens of its longest sequence."""
        return max(lengths_of(self.sequences))

    @property
    def completion_tokens(self) -> int:
        """Tokens of its completions."""
        return sum(len(completion) for _, completion in self.sequences)


@dataclass(frozen=True, slots=True)
class SampledAnswers:
    """What a step found of the answers that it sampled.

    Args:
        reward: their mean reward, without the penalty.
        drift: their mean log-ratio to the reference, in nats: an estimate of KL(policy || reference).
        cut_share: share of them that did not end in time.
    """

    reward: float
    drift: float
    cut_share: float


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What a step found, over all micro batches and ranks.

    Args:
        loss: sum of example losses / examples, or / completion tokens.
        z0: the KL estimate in nats; with scope `micro` the mean over micro batches.
        mean_kl: the same before it was clamped at 0; None where it was not estimated.
        rewards: log-ratios by label (not yet times beta); of pairs, of chosen and rejected answers.
        pair_accuracy: share of pairs whose chosen answer has the larger log-ratio, a tie being half; None of others.
        examples: rows of the step.
        micro_batches: forward and backward passes.
        tokens: tokens of all sequences, mismatched pairs included.
        padded_tokens: what the model computed on for them: with padding, or fewer where a prompt is computed once.
        largest_ratio: largest |r| of a matched or mismatched pair, in nats.
        mismatch: largest |r| as a multiple of what rounding allows where policy and reference are equal.
        sampled: of objectives that sample answers, what they are like.
        seconds_mismatched: what this rank spent on mismatched pairs.
    """

    loss: float
    z0: float
    mean_kl: float | None
    rewards: RewardSums
    pair_accuracy: float | None
    examples: int
    micro_batches: int
    tokens: int
    padded_tokens: int
    largest_ratio: float
    mismatch: float
    sampled: SampledAnswers | None = None
    seconds_mismatched: float = 0.0


class StepTally:
    """Sums and maxima of one rank, over the micro batches of a step."""

    def __init__(self) -> None:
        self.sums = dict.fromkeys(
            ("loss", "desirable", "undesirable", "desirable_reward", "undesirable_reward"), 0.0
        ) | dict.fromkeys(("kl", "kl_count", "micro_batches", "tokens", "padded_tokens", "pairs", "pairs_won"), 0.0)
        self.largest_ratio = 0.0
        self.mismatch = 0.0
        self.seconds_mismatched = 0.0

    def add(self, **values: float) -> None:
        """Add to sums, by name."""
        for key, value in values.items():
            self.sums[key] += value

    def count(self, example: Example, ratios: Sequence[float], reference_logps: Sequence[float], dtype: str) -> None:
        """Add the log-ratios of an example's sequences to those of their sides, in nats."""
        sides = ["desirable" if example.label else "undesirable"]
        if len(ratios) == 2:
            sides = ["desirable", "undesirable"]
            self.add(pairs=1, pairs_won=0.5 if ratios[0] == ratios[1] else float(ratios[0] > ratios[1]))
        for side, ratio, reference_logp in zip(sides, ratios, reference_logps, strict=True):
            self.compare(ratio, reference_logp, dtype)
            self.add(**{side: 1, f"{side}_reward": ratio})

    def compare(self, ratio: float, reference_logp: float, dtype: str) -> None:
        """Take note of a log-ratio, in nats, and of how far rounding explains it."""
        size = math.inf if math.isnan(ratio) else abs(ratio)
        self.largest_ratio = max(self.largest_ratio, size)
        self.mismatch = max(self.mismatch, size / ratio_tolerance(reference_logp, dtype))


def backward_step(
    examples: Sequence[Example], scorer: Scorer, rules: StepRules, accelerator: Accelerator
) -> StepOutcome:
    """Add this rank's share of the gradient of the step's loss to the parameters, and report the whole step.

    The caller sums the gradients over the ranks (`align.distributed.ranks.sum_gradients`).

    Args:
        examples: all rows of the step, all with as many sequences; each rank takes its part of them.
        scorer: the policy.
        rules: what the objective asks.
        accelerator: the process's place in the run.
    """
    part = split_by_rank([example.length for example in examples], accelerator.num_processes)
    mine = [examples[position] for position in part[accelerator.process_index]]
    batches = scorer.batches([example.sequences for example in mine])
    tally = StepTally()
    began = time.perf_counter()
    ratios = [] if rules.z0_scope == "none" else _mismatched_ratios(mine, scorer, tally)
    tally.seconds_mismatched = time.perf_counter() - began
    z0s = _estimate_z0(ratios, batches, accelerator, rules)
    divisor = sum(example.completion_tokens for example in examples) if rules.per_token else len(examples)
    missing = scorer.missing_passes(len(batches))
    with scorer.precision():
        for members, z0 in zip(batches, z0s, strict=False):
            _backward([mine[member] for member in members], scorer, rules.loss, z0, divisor, tally)
        scorer.fill(missing)
    is_micro = rules.z0_scope == "micro"
    return step_outcome(tally, accelerator, examples=len(examples), divisor=divisor, z0s=z0s, is_micro=is_micro)


def _mismatched_ratios(examples: Sequence[Example], scorer: Scorer, tally: StepTally) -> list[float]:
    """Log-ratio of each mismatched pair, without a gradient."""
    pairs = [example.mismatched for example in examples if example.mismatched is not None]
    references = [example.mismatched_reference_logp for example in examples if example.mismatched is not None]
    ratios = []
    for policy, reference in zip(scorer.score(pairs), references, strict=True):
        ratios.append(policy - reference)
        tally.compare(policy - reference, reference, scorer.dtype)
    computed = sum(scorer.computed_tokens([pairs[member] for member in one]) for one in scorer.passes(pairs))
    tally.add(kl=sum(ratios), kl_count=len(ratios), tokens=sum(lengths_of(pairs)), padded_tokens=computed)
    return ratios


def _estimate_z0(
    ratios: Sequence[float], batches: Sequence[Sequence[int]], accelerator: Accelerator, rules: StepRules
) -> list[float]:
    """z0 for each of this rank's micro batches; the same one for all of them but with scope `micro`.

    With `micro`, the k-th micro batches of all ranks that have one share the mean of their means, as trainers do that
    take a z0 in each forward pass.
    """
    is_clamped = rules.is_z0_clamped
    if rules.z0_scope == "none":
        return [0.0] * max(1, len(batches))
    if rules.z0_scope == "step":
        parts = gather_floats([sum(ratios), len(ratios)], accelerator)
        total = torch.tensor(sum(part[0] for part in parts), dtype=torch.float64)
        z0 = float(kl_estimate(total, int(sum(part[1] for part in parts)), is_clamped=is_clamped))
        return [z0] * max(1, len(batches))
    most = int(max(part[0] for part in gather_floats([len(batches)], accelerator)))
    means = [sum(ratios[member] for member in members) / len(members) for members in batches]
    absent = most - len(batches)
    gathered = gather_floats([*means, *[0.0] * absent, *[1.0] * len(batches), *[0.0] * absent], accelerator)
    totals = torch.tensor([part[:most] for part in gathered], dtype=torch.float64).sum(dim=0)
    counts = torch.tensor([part[most:] for part in gathered], dtype=torch.float64).sum(dim=0)
    return [float(kl_estimate(totals[k], int(counts[k]), is_clamped=is_clamped)) for k in range(most)]


def _backward(
    examples: Sequence[Example], scorer: Scorer, loss: BatchLoss, z0: float, divisor: int, tally: StepTally
) -> None:
    """Forward and backward of one micro batch."""
    pairs = [pair for example in examples for pair in example.sequences]

    def tensor(values: Sequence[object], dtype: torch.dtype = torch.float32) -> Tensor:
        """Values on the scorer's device."""
        return torch.tensor(values, dtype=dtype, device=scorer.device)

    reference = tensor([example.reference_logps for example in examples])
    policy = scorer(pairs).view(reference.shape)
    losses = loss(
        ScoredBatch(
            policy_logps=policy,
            reference_logps=reference,
            tokens=tensor([[len(completion) for _, completion in example.sequences] for example in examples]),
            label=tensor([example.label for example in examples], torch.bool),
            weight=tensor([example.weight for example in examples]),
            z0=tensor(z0),  # type: ignore[arg-type]
        )
    )
    with torch.autocast(scorer.device.type, enabled=False), summed_in_place():
        (losses.sum() / divisor).backward()
    for example, ratios in zip(examples, (policy.detach() - reference).tolist(), strict=True):
        tally.count(example, ratios, example.reference_logps, scorer.dtype)
    tally.add(
        loss=float(losses.detach().double().sum()),
        micro_batches=1,
        tokens=sum(lengths_of(pairs)),
        padded_tokens=scorer.computed_tokens(pairs),
    )


def step_outcome(
    tally: StepTally,
    accelerator: Accelerator,
    *,
    examples: int,
    divisor: int,
    z0s: Sequence[float],
    is_micro: bool,
    sampled: SampledAnswers | None = None,
) -> StepOutcome:
    """What all ranks found together.

    Args:
        tally: this rank's sums.
        accelerator: the process's place in the run.
        examples: rows of the step.
        divisor: what the sum of losses is divided by.
        z0s: z0 of each micro batch; one for all of them but with scope `micro`.
        is_micro: whether it is.
        sampled: what the step sampled, where it did.
    """
    keys = sorted(tally.sums)
    parts = gather_floats([*(tally.sums[key] for key in keys), tally.largest_ratio, tally.mismatch], accelerator)
    total = {key: sum(part[place] for part in parts) for place, key in enumerate(keys)}
    return StepOutcome(
        loss=total["loss"] / divisor,
        z0=sum(z0s) / len(z0s) if is_micro else z0s[0],
        mean_kl=total["kl"] / total["kl_count"] if total["kl_count"] else None,
        rewards=RewardSums(
            desirable=total["desirable"],
            undesirable=total["undesirable"],
            desirable_reward=total["desirable_reward"],
            undesirable_reward=total["undesirable_reward"],
        ),
        pair_accuracy=total["pairs_won"] / total["pairs"] if total["pairs"] else None,
        examples=examples,
        micro_batches=int(total["micro_batches"]),
        tokens=int(total["tokens"]),
        padded_tokens=int(total["padded_tokens"]),
        largest_ratio=max(part[-2] for part in parts),
        mismatch=max(part[-1] for part in parts),
        sampled=sampled,
        seconds_mismatched=tally.seconds_mismatched,
    )
