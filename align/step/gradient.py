"""One optimizer step's loss and gradient: the same for any split into micro batches and ranks, but for float rounding.

this rank's rows ─► mismatched pairs, no gradient ─► sum and count over ranks ─► z0
                 └► micro batches: sum of losses / examples of the step ─► backward ─► gradients summed over ranks

Letters: B examples of a micro batch, S sequences of each: a completion, or the chosen and the rejected one of a pair,
which travel together. The step's loss is the sum of example losses over all ranks divided by the number of examples of
the step (for objectives of tokens, by its completion tokens), never a mean of means.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from accelerate import Accelerator
from torch import Tensor

from align.distributed.ranks import gather_floats, gather_objects
from align.objectives.kto import kl_estimate
from align.objectives.losses import BatchLoss, ScoredBatch
from align.scoring.scorer import Scorer, lengths_of
from align.scoring.weight_passes import summed_in_place
from align.step.example import Example
from align.step.outcome import StepOutcome, StepTally, step_outcome

__all__ = ["StepRules", "backward_step"]


@dataclass(frozen=True, slots=True)
class StepRules:
    """What an objective asks of a step.

    Args:
        loss: the loss of each example.
        z0_scope: rows that one z0 is taken over; `none` where there is none to take.
        is_z0_clamped: whether z0 is at least 0.
        per_token: whether the step's loss is divided by its completion tokens.
        is_reference: whether policy and reference are still the same weights: all log-ratios are 0, whatever rounding
            would make of them, and the policy's log-probabilities are the reference's.
    """

    loss: BatchLoss
    z0_scope: Literal["step", "micro", "none"] = "step"
    is_z0_clamped: bool = True
    per_token: bool = False
    is_reference: bool = False


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
    part = scorer.shares([example.sequences for example in examples], accelerator.num_processes)
    mine = [examples[position] for position in part[accelerator.process_index]]
    batches = scorer.batches([example.sequences for example in mine])
    tally = StepTally()
    began = time.perf_counter()
    ratios = [] if rules.z0_scope == "none" else _mismatched_ratios(mine, scorer, tally, rules)
    tally.seconds_mismatched = time.perf_counter() - began
    z0s = _estimate_z0(ratios, batches, accelerator, rules)
    divisor = sum(example.completion_tokens for example in examples) if rules.per_token else len(examples)
    missing = scorer.missing_passes(len(batches))
    with scorer.precision():
        for members, z0 in zip(batches, z0s, strict=False):
            _backward([mine[member] for member in members], scorer, rules, z0, divisor, tally)
        scorer.fill(missing)
    is_micro = rules.z0_scope == "micro"
    outcome = step_outcome(tally, accelerator, examples=len(examples), divisor=divisor, z0s=z0s, is_micro=is_micro)
    if not rules.is_reference:
        return outcome
    return replace(outcome, reference_logps=dict(gather_objects(list(tally.reference_logps.items()), accelerator)))


def _mismatched_ratios(examples: Sequence[Example], scorer: Scorer, tally: StepTally, rules: StepRules) -> list[float]:
    """Log-ratio of each mismatched pair, without a gradient; where the policy is the reference nothing is computed."""
    paired = [(one.mismatched, one.mismatched_reference_logp) for one in examples if one.mismatched is not None]
    if rules.is_reference:
        tally.add(kl=0.0, kl_count=len(paired))
        return [0.0] * len(paired)
    pairs, references = [pair for pair, _ in paired], [logp for _, logp in paired]
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
    examples: Sequence[Example], scorer: Scorer, rules: StepRules, z0: float, divisor: int, tally: StepTally
) -> None:
    """Forward and backward of one micro batch."""
    pairs = [pair for example in examples for pair in example.sequences]

    def tensor(values: Sequence[object], dtype: torch.dtype = torch.float32) -> Tensor:
        """Values on the scorer's device."""
        return torch.tensor(values, dtype=dtype, device=scorer.device)

    policy = scorer(pairs).view(len(examples), -1)
    if rules.is_reference:
        reference = policy.detach()
        tally.keep_reference(examples, reference.tolist(), scorer.dtype)
    else:
        reference = tensor([example.reference_logps for example in examples])
    losses = rules.loss(
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
    ratios = (policy.detach() - reference).tolist()
    for example, of_example, reference_logps in zip(examples, ratios, reference.tolist(), strict=True):
        tally.count(example, of_example, reference_logps, scorer.dtype)
    tally.add(
        loss=float(losses.detach().double().sum()),
        micro_batches=1,
        tokens=sum(lengths_of(pairs)),
        padded_tokens=scorer.computed_tokens(pairs),
    )
