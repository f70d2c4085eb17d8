"""Offline PPO on a language model: a value head beside it, the reference's tokens, and the gradient of a step.

    this rank's rows ─► values, no gradient ─► advantages, returns ─► mean and variance over ranks ─► whitened
                    └► micro batches: token log-probabilities, values ─► losses / rows of the step ─► backward

The value head exists while the model is trained; it is no part of what is saved. The reference is a frozen copy of the
model, or with an adapter the model itself with the adapter switched off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from align.batches.collate import Sequences
from align.batches.plan import micro_batches, split_by_rank
from align.config import ObjectiveConfig
from align.distributed.ranks import gather_floats
from align.models.loading import LoadedModel
from align.objectives.offline_ppo import estimate_advantages, last_token_rewards, offline_ppo_loss, whiten
from align.reference.frozen import FrozenReference, freeze_reference
from align.scoring.scorer import Scorer
from align.step.example import Example
from align.step.outcome import StepOutcome, StepTally, step_outcome

__all__ = ["ActorCritic", "attach_critic", "backward_actor_critic", "detach_critic"]

_HEAD: Final = "value_head"


@dataclass(frozen=True)
class ActorCritic:
    """The parts that offline PPO needs beside the policy.

    Args:
        loaded: the policy, with the value head as its `value_head`.
        reference: the model as it began.
    """

    loaded: LoadedModel
    reference: FrozenReference

    def value_head(self) -> nn.Linear:
        """The value head, from hidden states to one number."""
        head: nn.Linear = getattr(self.loaded.model, _HEAD)
        return head


def attach_critic(loaded: LoadedModel) -> ActorCritic:
    """The parts for a model that has not been trained yet; its value head begins at 0.

    Args:
        loaded: the policy, on the device where it will compute.
    """
    reference = freeze_reference(loaded)
    weight = next(loaded.model.parameters())
    size = loaded.model.get_output_embeddings().weight.shape[1]
    head = nn.Linear(size, 1, device=weight.device, dtype=weight.dtype)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    loaded.model.add_module(_HEAD, head)
    return ActorCritic(loaded, reference)


def detach_critic(critic: ActorCritic) -> None:
    """Take the value head off, so that the model is saved as it came."""
    delattr(critic.loaded.model, _HEAD)


def backward_actor_critic(
    examples: Sequence[Example], scorer: Scorer, critic: ActorCritic, config: ObjectiveConfig, accelerator: Accelerator
) -> StepOutcome:
    """Add this rank's share of the gradient of a step to the parameters, and report the whole step.

    Args:
        examples: all rows of the step; each rank takes its part of them.
        scorer: the policy.
        critic: value head and reference.
        config: clip and weights of the loss.
        accelerator: the process's place in the run.
    """
    part = split_by_rank([example.length for example in examples], accelerator.num_processes)
    mine = [examples[position] for position in part[accelerator.process_index]]
    batches = [
        [mine[member] for member in members]
        for members in micro_batches([example.length for example in mine], scorer.tokens)
    ]
    tally = StepTally()
    estimates = [_estimate(batch, scorer, critic) for batch in batches]
    mean, variance = _moments([(one.advantages, one.mask) for one in estimates], accelerator)
    for batch, estimate in zip(batches, estimates, strict=True):
        _backward(batch, estimate, (mean, variance), scorer, critic, config, len(examples), tally)
    return step_outcome(tally, accelerator, examples=len(examples), divisor=len(examples), z0s=[0.0], is_micro=False)


@dataclass(frozen=True)
class _Estimate:
    """What is known of a micro batch before any gradient. All [B, T - 1]."""

    sequences: Sequences
    mask: Tensor
    advantages: Tensor
    returns: Tensor
    reference_logps: Tensor


@torch.no_grad()
def _estimate(examples: Sequence[Example], scorer: Scorer, critic: ActorCritic) -> _Estimate:
    sequences = scorer.collate([example.sequences[0] for example in examples])
    module, context = critic.reference.beside(scorer.module)
    with context:
        reference_logps, mask, _ = scorer.of_tokens(sequences, module)
    _, _, hidden = scorer.of_tokens(sequences)
    values = _values(critic, hidden)
    label = torch.tensor([example.label for example in examples], device=mask.device)
    advantages, returns = estimate_advantages(last_token_rewards(label, mask), values, mask)
    return _Estimate(sequences, mask, advantages, returns, reference_logps)


def _backward(
    examples: Sequence[Example],
    estimate: _Estimate,
    moments: tuple[Tensor, Tensor],
    scorer: Scorer,
    critic: ActorCritic,
    config: ObjectiveConfig,
    divisor: int,
    tally: StepTally,
) -> None:
    logps, mask, hidden = scorer.of_tokens(estimate.sequences)
    losses = offline_ppo_loss(
        logps,
        estimate.reference_logps,
        _values(critic, hidden),
        whiten(estimate.advantages, mask, *moments),
        estimate.returns,
        mask,
        clip=config.clip,
        value_weight=config.value_weight,
        kl_weight=config.kl_weight,
        weight=torch.tensor([example.weight for example in examples], device=mask.device),
    )
    (losses.sum() / divisor).backward()
    sums, references = logps.detach().sum(dim=1).tolist(), estimate.reference_logps.sum(dim=1).tolist()
    for example, ours, theirs in zip(examples, sums, references, strict=True):
        tally.count(example, [ours - theirs], [theirs], scorer.dtype)
    tally.add(
        loss=float(losses.detach().double().sum()),
        micro_batches=1,
        tokens=estimate.sequences.tokens,
        padded_tokens=estimate.sequences.padded_tokens,
    )


def _values(critic: ActorCritic, hidden: Tensor) -> Tensor:
    """The value head's numbers. [B, T - 1] float32."""
    values: Tensor = critic.value_head()(hidden.to(critic.value_head().weight.dtype)).squeeze(-1)
    return values.float()


def _moments(parts: Sequence[tuple[Tensor, Tensor]], accelerator: Accelerator) -> tuple[Tensor, Tensor]:
    """Mean and variance of all advantages of the step, over ranks."""
    values = [advantages[mask].double() for advantages, mask in parts]
    sums = [sum(float(one.sum()) for one in values), float(sum(one.numel() for one in values))]
    total, count = (sum(column) for column in zip(*gather_floats(sums, accelerator), strict=True))
    mean = total / count
    spread = gather_floats([sum(float(((one - mean) ** 2).sum()) for one in values)], accelerator)
    device = parts[0][0].device if parts else accelerator.device
    return torch.tensor(mean, device=device), torch.tensor(sum(part[0] for part in spread) / count, device=device)
