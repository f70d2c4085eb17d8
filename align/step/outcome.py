"""What a step found: sums of one rank over its micro batches, and of all ranks together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from accelerate import Accelerator

from align.artifacts.metrics import RewardSums
from align.distributed.ranks import gather_floats
from align.scoring.scorer import ratio_tolerance
from align.step.example import Example
from align.tokens.token_ids import TokenPair

__all__ = ["SampledAnswers", "StepOutcome", "StepTally", "step_outcome"]


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
        reference_logps: log-probability of each sequence where the policy is the reference, in nats; else empty.
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
    reference_logps: Mapping[TokenPair, float] = field(default_factory=dict)


class StepTally:
    """Sums and maxima of one rank, over the micro batches of a step."""

    def __init__(self) -> None:
        self.sums = dict.fromkeys(
            ("loss", "desirable", "undesirable", "desirable_reward", "undesirable_reward"), 0.0
        ) | dict.fromkeys(("kl", "kl_count", "micro_batches", "tokens", "padded_tokens", "pairs", "pairs_won"), 0.0)
        self.largest_ratio = 0.0
        self.mismatch = 0.0
        self.seconds_mismatched = 0.0
        self.reference_logps: dict[TokenPair, float] = {}

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

    def keep_reference(self, examples: Sequence[Example], logps: Sequence[Sequence[float]], dtype: str) -> None:
        """Keep what is the reference's log-probability of each sequence, in nats, beside what was known of it."""
        for example, values in zip(examples, logps, strict=True):
            for pair, logp, known in zip(example.sequences, values, example.reference_logps, strict=True):
                self.reference_logps[pair] = logp
                if known is not None:
                    self.compare(logp - known, known, dtype)

    def compare(self, ratio: float, reference_logp: float, dtype: str) -> None:
        """Take note of a log-ratio, in nats, and of how far rounding explains it."""
        size = math.inf if math.isnan(ratio) else abs(ratio)
        self.largest_ratio = max(self.largest_ratio, size)
        self.mismatch = max(self.mismatch, size / ratio_tolerance(reference_logp, dtype))


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
