"""RLHF as the study draws it: answers sampled in the loop, judged by a reward model, a policy improved by the gradient.

    prompts of the step ─► K sampled answers each ─► rewards, policy and reference log-probabilities, no gradient
                        └► returns, less the mean of the other answers ─► micro batches: losses / answers ─► backward

Each step samples from the policy as it stands and learns from its samples once, so no ratio is clipped. What is sampled
follows from the run's seed and the step, so a resumed run samples the same. One process; the reference is a frozen copy
of the model, or with an adapter the model itself with the adapter switched off, and the reward model stands beside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from accelerate import Accelerator
from torch import Tensor

from align.config import ObjectiveConfig, TrainConfig
from align.evaluate.generate import sample_token_ids, stop_ids
from align.evaluate.rank import RewardModel, load_reward_model
from align.models.loading import LoadedModel
from align.objectives.rloo import leave_one_out_advantages, penalized_rewards, rloo_loss
from align.reference.frozen import FrozenReference, freeze_reference
from align.scoring.scorer import Scorer, lengths_of
from align.step.example import Example
from align.step.outcome import SampledAnswers, StepOutcome, StepTally, step_outcome
from align.tokens.token_ids import TokenPair
from schemas.errors import ConfigError, ModelError

__all__ = ["Judge", "backward_rlhf", "open_judge", "step_seed"]

_ANSWERS_AT_ONCE: Final = 64


@dataclass(frozen=True)
class Judge:
    """The parts that RLHF needs beside the policy.

    Args:
        loaded: the policy.
        reference: the model as it began.
        reward_model: what judges.
    """

    loaded: LoadedModel
    reference: FrozenReference
    reward_model: RewardModel


def open_judge(loaded: LoadedModel, config: TrainConfig, accelerator: Accelerator) -> Judge:
    """The parts for a model that has not been trained yet.

    Args:
        loaded: the policy, on the device where it will compute.
        config: the run's, which names the reward model.
        accelerator: the process's place in the run.

    Raises:
        ConfigError: there are several processes.
        ModelError: the reward model cannot be loaded, or has another tokenizer.
    """
    name = config.objective.reward_model
    if accelerator.num_processes > 1:
        raise ConfigError(
            "answers are sampled in one process",
            where="objective.name",
            received=f"{accelerator.num_processes} processes",
            todo="Start it without a launcher",
        )
    reward_model = load_reward_model(name, config)
    if reward_model.loaded.tokenizer.get_vocab() != loaded.tokenizer.get_vocab():
        raise ModelError(
            "the reward model has another tokenizer than the model that is trained",
            where=name,
            received=loaded.name,
            todo="Train the reward model from the same model",
        )
    return Judge(loaded, freeze_reference(loaded), reward_model)


def step_seed(seed: int, step: int) -> int:
    """The seed of the samples of a step, in [0, 2^63).

    Args:
        seed: of the run.
        step: index of the step.
    """
    digest = hashlib.blake2b(f"rlhf\n{seed}\n{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def backward_rlhf(
    examples: Sequence[Example],
    scorer: Scorer,
    judge: Judge,
    config: ObjectiveConfig,
    accelerator: Accelerator,
    *,
    seed: int,
) -> StepOutcome:
    """Add the gradient of a step to the parameters, and report it.

    Args:
        examples: the rows whose prompts are answered; their own answers are not read.
        scorer: the policy.
        judge: reference and reward model.
        config: beta, answers a prompt and their longest length.
        accelerator: the process's place in the run.
        seed: of the step's samples.
    """
    shape = (len(examples), config.answers_per_prompt)
    pairs = _sample(examples, scorer, judge, config, seed)
    rewards, policy, reference = (
        torch.tensor(values, dtype=torch.float64).view(shape)
        for values in (judge.reward_model.scorer.score(pairs), scorer.score(pairs), _reference(pairs, scorer, judge))
    )
    returns = penalized_rewards(rewards, policy, reference, beta=config.beta)
    advantages = leave_one_out_advantages(returns).flatten().float()
    weights = torch.tensor([example.weight for example in examples for _ in range(shape[1])])
    tally = StepTally()
    for members in scorer.batches([[pair] for pair in pairs]):
        _backward(pairs, members, advantages, weights, scorer, tally)
    for ratio, theirs in zip((policy - reference).flatten().tolist(), reference.flatten().tolist(), strict=True):
        tally.compare(ratio, theirs, scorer.dtype)
    ends = stop_ids(judge.loaded)
    sampled = SampledAnswers(
        reward=float(rewards.mean()),
        drift=float((policy - reference).mean()),
        cut_share=sum(answer[-1] not in ends for _, answer in pairs) / len(pairs),
    )
    return step_outcome(
        tally, accelerator, examples=len(examples), divisor=len(pairs), z0s=[0.0], is_micro=False, sampled=sampled
    )


def _sample(
    examples: Sequence[Example], scorer: Scorer, judge: Judge, config: ObjectiveConfig, seed: int
) -> list[TokenPair]:
    """Each prompt with each of its answers, those of a prompt side by side."""
    prompts = [example.sequences[0][0] for example in examples for _ in range(config.answers_per_prompt)]
    model = judge.loaded.model
    was_training = model.training
    model.eval()  # with recomputed activations, transformers would keep no cache of keys and values in training
    with scorer.precision():
        answers = sample_token_ids(
            judge.loaded,
            prompts,
            max_new_tokens=config.max_answer_tokens,
            seed=seed,
            batch_size=_ANSWERS_AT_ONCE,
        )
    model.train(was_training)
    return list(zip(prompts, answers, strict=True))


def _reference(pairs: Sequence[TokenPair], scorer: Scorer, judge: Judge) -> list[float]:
    module, context = judge.reference.beside(scorer.module)
    with context:
        return replace(scorer, module=module).score(pairs)


def _backward(
    pairs: Sequence[TokenPair],
    members: Sequence[int],
    advantages: Tensor,
    weights: Tensor,
    scorer: Scorer,
    tally: StepTally,
) -> None:
    """Forward and backward of one micro batch."""
    mine, places = [pairs[member] for member in members], list(members)
    with scorer.precision():
        logps = scorer(mine)
    losses = rloo_loss(logps, advantages[places].to(logps.device), weights[places].to(logps.device))
    (losses.sum() / len(pairs)).backward()
    tally.add(
        loss=float(losses.detach().double().sum()),
        micro_batches=1,
        tokens=sum(lengths_of(mine)),
        padded_tokens=scorer.computed_tokens(mine),
    )
