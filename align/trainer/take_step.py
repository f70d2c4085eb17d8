"""One optimizer step of a run: its examples, its gradient, its update, and its line for the metrics."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from align.artifacts.metrics import RewardSums
from align.batches.inputs import PlannedRow
from align.config import ObjectiveConfig, TrainConfig
from align.distributed.ranks import sum_gradients
from align.distributed.sharding import whole
from align.objectives import find_objective
from align.objectives.losses import bind_loss, needs_kl, reward_scale
from align.reference.reference_pass import keep_reference, reference_file
from align.step.actor_critic import backward_actor_critic
from align.step.example import Example
from align.step.gradient import StepRules, backward_step
from align.step.outcome import StepOutcome
from align.step.rlhf import backward_rlhf, step_seed
from align.step.schedule import learning_rate_factor
from align.step.step_cost import step_cost
from align.tokens.token_ids import TokenPair
from align.trainer.run import REFERENCE_NAME, Run, TrainingState
from schemas.errors import NonFiniteLossError, ReferenceMismatchError

__all__ = ["Backward", "choose_backward", "step_rules", "take_step"]


Backward = Callable[[Sequence[Example]], StepOutcome]
"""Adds the gradient of a step to the parameters, and says what it found."""


def choose_backward(run: Run, state: TrainingState) -> Backward:
    """How the objective of a run makes a step's gradient.

    Args:
        run: what stays the same.
        state: what changes; what is sampled follows from its step.
    """
    judge = run.judge
    if judge is not None:
        return lambda examples: backward_rlhf(
            examples,
            run.scorer,
            judge,
            run.config.objective,
            run.accelerator,
            seed=step_seed(run.config.seed, state.steps_done),
        )
    if run.critic is not None:
        return partial(
            backward_actor_critic,
            scorer=run.scorer,
            critic=run.critic,
            config=run.config.objective,
            accelerator=run.accelerator,
        )
    rules = step_rules(run.config.objective)
    return lambda examples: backward_step(
        examples, run.scorer, replace(rules, is_reference=_is_reference(run, state.steps_done)), run.accelerator
    )


def step_rules(objective: ObjectiveConfig) -> StepRules:
    """What a config's objective asks of each step."""
    return StepRules(
        loss=bind_loss(objective),
        z0_scope=objective.z0_scope if needs_kl(objective) else "none",
        is_z0_clamped=objective.reference == "model",
        per_token=find_objective(objective.name).per_token,
    )


def take_step(run: Run, state: TrainingState, backward: Backward) -> dict[str, Any]:
    """Take one optimizer step.

    Args:
        run: what stays the same.
        state: what the step changes.
        backward: of `choose_backward`.

    Returns:
        Its line for the metrics.

    Raises:
        ReferenceMismatchError: policy and reference differ before the first step.
        NonFiniteLossError: the step's loss or gradient is NaN, infinite or 0, and such steps are not left out.
    """
    began = time.perf_counter()
    step, config = state.steps_done, run.config
    examples = [_example(run, planned, step) for planned in run.inputs.steps[step]]
    _clear_gradients(state.parameters.values())
    outcome = backward(examples)
    seconds_backward = time.perf_counter() - began
    sum_gradients(state.parameters.values(), run.accelerator)
    limit = config.optimizer.max_grad_norm or math.inf
    norm = float(whole(torch.nn.utils.clip_grad_norm_(state.parameters.values(), limit)))
    if step == 0 and (run.inputs.has_reference or run.judge is not None or run.critic is not None):
        _check_reference(outcome, config.dtype)
    is_bad = not (math.isfinite(outcome.loss) and math.isfinite(norm)) or _is_empty(outcome.loss, norm, run)
    if is_bad and not config.skip_bad_steps:
        raise _bad_step(step, outcome.loss, norm, examples)
    if outcome.reference_logps:
        _keep_reference(run, outcome.reference_logps)
    rate = _learning_rate(config, step, run.total_steps)
    if not is_bad:
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        state.optimizer.step()
    state.steps_done += 1
    seconds = time.perf_counter() - began
    state.seconds += seconds
    line = _step_line(outcome, config.objective, grad_norm=norm, learning_rate=rate)
    lost = sum(run.inputs.train.dropped.values())
    cost = step_cost(outcome, seconds, seconds_backward, run.accelerator.device)
    return {"epoch": run.inputs.epochs[step], **line, **cost, "rows_lost": lost, "is_skipped": is_bad}


def _clear_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Set every gradient to 0, in the memory that it has: made among the activations of a pass, it would part them."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        else:
            parameter.grad.zero_()


def _is_empty(loss: float, norm: float, run: Run) -> bool:
    """Whether a step taught nothing though it should have."""
    if run.judge is not None:  # all answers to each prompt may be alike
        return False
    # Of the value functions only this one is 0 where nothing was learned yet.
    may_be_zero = run.config.objective.value == "kahneman_tversky"
    return not norm or (not loss and not may_be_zero)


def _is_reference(run: Run, step: int) -> bool:
    """Whether the policy of a step is the reference: before the first update."""
    return not step and run.inputs.has_reference


def _example(run: Run, planned: PlannedRow, step: int) -> Example:
    row, mismatched = run.inputs.train.rows[planned.row], run.inputs.mismatched(planned)
    has_reference, references = run.inputs.has_reference, run.references
    known: Callable[[TokenPair], Any] = references.get if _is_reference(run, step) else references.__getitem__
    return Example(
        row_id=row.row_id,
        sequences=row.sequences,
        mismatched=mismatched,
        reference_logps=tuple(known(pair) if has_reference else 0.0 for pair in row.sequences),
        mismatched_reference_logp=(known(mismatched) or 0.0) if has_reference and mismatched is not None else 0.0,
        label=row.label,
        weight=row.weight,
    )


def _keep_reference(run: Run, logps: Mapping[TokenPair, float]) -> None:
    """Keep what the first step found of the reference, for later steps, for a resumed run and for other runs."""
    kept = keep_reference(
        logps,
        model_digest=run.loaded.digest,
        dtype=run.scorer.dtype,
        own=run.out / REFERENCE_NAME,
        shared=reference_file(run.loaded.digest, run.scorer.dtype),
        is_writer=run.accelerator.is_main_process,
    )
    run.references.update(kept)


def _learning_rate(config: TrainConfig, step: int, total_steps: int) -> float:
    optimizer = config.optimizer
    warmup = math.ceil(optimizer.warmup_fraction * total_steps)
    return optimizer.learning_rate * learning_rate_factor(
        step, total_steps, warmup_steps=warmup, schedule=optimizer.schedule
    )


def _check_reference(outcome: StepOutcome, dtype: str) -> None:
    if outcome.mismatch <= 1:
        return
    raise ReferenceMismatchError(
        f"policy and reference differ before the first step, computing in {dtype}",
        where="step 0",
        received=outcome.largest_ratio,
        expected="log-ratios of 0 to within rounding (see align.scoring.scorer.ratio_tolerance)",
        todo="Delete the run's folder and the reference cache; if it happens again, please report it",
    )


def _bad_step(step: int, loss: float, norm: float, examples: list[Example]) -> NonFiniteLossError:
    rows = ", ".join(example.row_id for example in examples)
    return NonFiniteLossError(
        f"the loss or its gradient is not finite or exactly 0 (loss {loss!r}, gradient norm {norm!r}), in rows {rows}",
        where=f"step {step}",
        todo="Look at these rows, lower the learning rate, or set skip_bad_steps to go on without such steps",
    )


def _step_line(
    outcome: StepOutcome, objective: ObjectiveConfig, *, grad_norm: float, learning_rate: float
) -> dict[str, Any]:
    ratios, beta = outcome.rewards, reward_scale(objective)
    rewards = RewardSums(
        desirable=ratios.desirable,
        undesirable=ratios.undesirable,
        desirable_reward=beta * ratios.desirable_reward,
        undesirable_reward=beta * ratios.undesirable_reward,
    )
    return {
        "loss": outcome.loss,
        "z0": outcome.z0,
        "mean_kl": outcome.mean_kl,
        "z0_clamped": outcome.mean_kl is not None and outcome.mean_kl < 0,
        **rewards.to_dict(),
        "pair_accuracy": outcome.pair_accuracy,
        **_of_sampled(outcome),
        "largest_ratio": outcome.largest_ratio,
        "grad_norm": grad_norm,
        "learning_rate": learning_rate,
        "examples": outcome.examples,
        "micro_batches": outcome.micro_batches,
    }


def _of_sampled(outcome: StepOutcome) -> dict[str, float]:
    """What is told of answers that the step sampled; nothing of other steps."""
    found = outcome.sampled
    if found is None:
        return {}
    return {"answer_reward": found.reward, "answer_drift": found.drift, "answers_cut": found.cut_share}
