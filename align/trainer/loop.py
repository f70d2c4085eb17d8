"""The training loop, from a curated dataset and a model to a folder that holds the aligned model and its run card.

read rows ─► load policy ─► tokens, plan ─► reference numbers, once ─► steps ─► model ─► run card
                                                                       │ evaluation, checkpoint
A step: z0 from mismatched pairs, losses and gradients by micro batch (`align.step.gradient`), sum over ranks, clip,
AdamW. Nothing in a run is random but what the seed decides, so a killed run goes on from its newest checkpoint bit for
bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from os import fspath
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from align.artifacts.card import RunCard, find_run_card
from align.artifacts.metrics import MetricsLog
from align.artifacts.trackers import Trackers
from align.batches.inputs import Rows, RunInputs, build_inputs, read_rows, refuse_rows_beyond
from align.config import TrainConfig, identity_of
from align.data.parts import part_for
from align.distributed.ranks import device_type, gather_floats, start_accelerator
from align.distributed.sharding import gather_weights, is_sharding_asked, shard
from align.evaluate.held_out_rewards import evaluate_held_out
from align.models.loading import LoadedModel, load_policy
from align.models.model_files import lasting_name
from align.objectives import find_objective
from align.objectives.losses import check_objective, needs_kl
from align.reference.reference_pass import reference_file, score_reference
from align.resources.allocator import give_back, kept_memory
from align.resources.execution import choose_execution, longest_example
from align.scoring.scorer import Scorer, build_scorer, micro_batch_tokens
from align.scoring.sequence_rewards import SequenceRewards
from align.step.actor_critic import attach_critic
from align.step.rlhf import open_judge
from align.tokens.control_tokens import add_control_tokens, ask_for_good
from align.tokens.token_ids import TokenPair
from align.trainer.interrupt import StopRequest, stop_on_signals
from align.trainer.run import (
    REFERENCE_NAME,
    Run,
    TrainingState,
    check_folder,
    find_finished,
    has_checkpoint,
    open_folder,
    save_model,
    save_state,
    start_state,
)
from align.trainer.run_lock import locked_run
from align.trainer.run_summary import summarize_run
from align.trainer.take_step import choose_backward, take_step
from schemas.errors import ConfigError, TrainingError
from schemas.paths import AnyPath, path_of
from schemas.progress import Progress, silent
from schemas.settings import settings_to_dict

__all__ = ["train"]

_WriteLine = Callable[[str, int, dict[str, Any]], None]


def train(
    config: TrainConfig,
    *,
    dataset: AnyPath,
    model: AnyPath,
    out: AnyPath,
    resume: bool = True,
    progress: Progress = silent,
) -> RunCard:
    """Train a model on a dataset, or go on with it, and return the run card.

    Ctrl-C and SIGTERM end the run after the step that is running: a checkpoint is saved and KeyboardInterrupt raised;
    the same call goes on from there. So does it after a kill, from the newest checkpoint.

    Args:
        config: what to train and how.
        dataset: a curated dataset, or a folder or file that `align.data.dataset` reads. An objective of pairs takes
            those of a curated dataset.
        model: a builtin name, a local folder, or a name on the hub; it is the reference too. What is recorded finds it
            from any working directory.
        out: the run's folder. A finished run of the same config, model and dataset is returned as it is.
        resume: whether an unfinished run in `out` is gone on with.
        progress: told of the reference pass, of every step and of evaluations.

    Raises:
        OutputExistsError: `out` holds something else.
        LockedError: another process trains into `out`.
        ConfigError: the objective does not have a setting, or settings exclude each other.
        InputError: pairs for an objective of labelled answers, or the reverse.
        EmptySplitError, OneLabelError, StepPlanError: the rows cannot train; the first two before a model is loaded.
        ModelError: the model cannot be loaded.
        CheckpointMismatchError: `out` holds a run of another model, dataset or config.
        ReferenceMismatchError: policy and reference differ before the first step.
        NonFiniteLossError: a step's loss or gradient is NaN, infinite or 0.
        KeyboardInterrupt: the run was stopped and can be resumed.
    """
    objective = check_objective(config.objective)
    dataset, out = part_for(path_of(dataset, name="dataset"), objective.data), path_of(out, name="out")
    if config.adapter.enabled and (objective.has_control_tokens or objective.head == "rewards"):
        raise ConfigError(
            f"the objective {objective.name!r} trains new weights, and an adapter trains none of the model's own",
            where="adapter.enabled",
            received=True,
            todo="Train the whole model, or name another objective",
        )
    if needs_kl(config.objective) and config.batch.batch_size < 2:
        raise ConfigError(
            "z0 is a mean over a step, which needs two rows for it",
            where="batch.batch_size",
            received=config.batch.batch_size,
            expected="at least 2",
            todo="Raise it (micro batches may still hold one row), or set objective.z0_scope to none",
        )
    model, config = lasting_name(fspath(model)), _with_lasting_names(config)
    finished = find_finished(out, config, model=model, dataset=dataset)
    if finished is not None:
        return finished
    check_folder(out, resume=resume)
    with locked_run(out):
        # Who held the lock before may have finished this very run.
        return find_finished(out, config, model=model, dataset=dataset) or _train(config, dataset, model, out, progress)


def _with_lasting_names(config: TrainConfig) -> TrainConfig:
    """The config with a reward model that is found from any working directory."""
    judge = config.objective.reward_model
    if not judge or Path(judge).is_absolute():
        return config
    return replace(config, objective=replace(config.objective, reward_model=lasting_name(judge)))


def _train(config: TrainConfig, dataset: Path, model: str, out: Path, progress: Progress) -> RunCard:
    """All of a run that has its folder for itself, with the allocator that suits its device."""
    if device_type(config.device) != "cpu":
        return _whole_run(config, dataset, model, out, progress)
    with kept_memory():
        return _whole_run(config, dataset, model, out, progress)


def _whole_run(config: TrainConfig, dataset: Path, model: str, out: Path, progress: Progress) -> RunCard:
    """The run from reading rows to its card; what it held in memory is free when it returns."""
    objective = find_objective(config.objective.name)
    rows = read_rows(dataset, objective, config.weights)
    started = time.perf_counter()
    run = _prepare(config, rows, dataset=dataset, model=model, out=out, progress=progress)
    prepared = time.perf_counter() - started
    state = start_state(run)
    with ExitStack() as stack:
        write = _open_log(run, state, stack)
        _take_steps(run, state, write, progress)
        _evaluate_if_due(run, state, write, progress, is_last=True)
    gather_weights(run.loaded.model, run.accelerator)
    if run.accelerator.is_main_process:
        if objective.has_control_tokens:
            ask_for_good(run.loaded.tokenizer)
        save_model(run)
        read = {split: len(part) for split, part in rows.items()}
        card = summarize_run(run, state, dataset=dataset, model=model, rows_read=read, seconds_prepared=prepared)
        card.write(out)
    run.accelerator.wait_for_everyone()
    card_on_disk = find_run_card(out)
    if card_on_disk is None:
        raise TrainingError("the run card is not there", where=out, todo="Let all processes share one file system")
    return card_on_disk


def _prepare(
    config: TrainConfig, rows: dict[str, Rows], *, dataset: Path, model: str, out: Path, progress: Progress
) -> Run:
    """Everything before the first step: policy, tokens, plan, and the reference's numbers."""
    accelerator = start_accelerator(config.device)
    objective = find_objective(config.objective.name)
    loaded = load_policy(model, adapter=config.adapter, seed=config.seed, head=objective.head, new_head=True)
    if objective.has_control_tokens:
        add_control_tokens(loaded.model, loaded.tokenizer)
    inputs = build_inputs(rows, loaded.tokenizer, config, dataset=dataset, progress=progress)
    refuse_rows_beyond(inputs, config, loaded.model.config, dataset=dataset)
    scorer = _open_scorer(config, loaded, accelerator)
    scorer.check_lengths([pair for row in inputs.train.rows for pair in row.sequences])
    judge = open_judge(loaded, config, accelerator) if objective.is_online else None
    judged_by = {} if judge is None else {"reward_model": judge.reward_model.loaded.digest}
    identity = {"model": loaded.digest, **judged_by, **inputs.digests, "config": identity_of(config)}
    open_folder(out, identity, inputs.plan, accelerator)
    longest = longest_example(inputs.train.rows, config, has_trees=scorer.has_trees)
    execution = choose_execution(config, loaded, scorer, accelerator, longest=longest, out=out)
    scorer = replace(scorer, tokens=execution.tokens_per_micro_batch)
    give_back()
    references = _reference_logps(inputs, loaded, scorer, accelerator, out=out, progress=progress)
    critic = attach_critic(loaded) if objective.is_of_tokens else None
    recomputes = execution.gradient_checkpointing
    return Run(config, out, loaded, scorer, inputs, references, accelerator, identity, critic, judge, recomputes)


def _open_scorer(config: TrainConfig, loaded: LoadedModel, accelerator: Accelerator) -> Scorer:
    """The policy on its device, or shared out over the ranks."""
    device, is_sharded = accelerator.device, is_sharding_asked(config)
    scorer = build_scorer(
        loaded,
        device=torch.device("cpu") if is_sharded else device,  # a whole one may not fit there
        dtype=config.dtype,
        tokens=config.batch.tokens_per_micro_batch,
        head=find_objective(config.objective.name).head,
    )
    if not is_sharded:
        return scorer
    shard(scorer.module, loaded.model, accelerator)
    tokens = micro_batch_tokens(config.batch.tokens_per_micro_batch, device.type, config.dtype)
    return replace(scorer, device=device, tokens=tokens, ranks=accelerator)


def _reference_logps(
    inputs: RunInputs, loaded: LoadedModel, scorer: Scorer, accelerator: Accelerator, *, out: Path, progress: Progress
) -> dict[TokenPair, float]:
    """The reference's numbers, of this very model: before the first step the policy is the reference."""
    pairs = inputs.reference_pairs(with_first_step=has_checkpoint(out))
    if isinstance(scorer.module, SequenceRewards):  # a reward is no difference to a reference
        return dict.fromkeys(pairs, 0.0)
    with loaded.as_reference():
        return score_reference(
            pairs,
            scorer,
            accelerator,
            model_digest=loaded.digest,
            own=out / REFERENCE_NAME,
            shared=reference_file(loaded.digest, scorer.dtype),
            progress=progress,
        )


def _take_steps(run: Run, state: TrainingState, write: _WriteLine, progress: Progress) -> None:
    backward = choose_backward(run, state)
    every = run.config.checkpoint.every_steps
    with stop_on_signals() as stop, progress("train", run.total_steps - state.steps_done) as advance:
        while state.steps_done < run.total_steps:
            _evaluate_if_due(run, state, write, progress)
            step = state.steps_done
            line = take_step(run, state, backward)
            write("step", step, line)
            advance(1)
            is_last = state.steps_done == run.total_steps
            is_stopping = _is_stopping(run, stop) and not is_last
            if is_stopping or (every and (is_last or state.steps_done % every == 0)):
                save_state(run, state)
            if is_stopping:
                raise KeyboardInterrupt(
                    f"stopped after step {state.steps_done} of {run.total_steps}; the same call goes on from there"
                )


def _evaluate_if_due(
    run: Run, state: TrainingState, write: _WriteLine, progress: Progress, *, is_last: bool = False
) -> None:
    """Evaluate before the first step, at the cadence and after the last step, but not twice after the same step."""
    wanted, done = run.config.evaluation, state.steps_done
    is_due = wanted.at_start if done == 0 else bool(wanted.every_steps) and done % wanted.every_steps == 0
    if not (is_due or is_last) or done in state.evaluated or not run.inputs.held_out.rows:
        return
    figures = evaluate_held_out(
        run.inputs.held_out, run.scorer, run.references, run.config.objective, run.accelerator, progress=progress
    )
    write("evaluation", done, figures)
    state.evaluated.add(done)


def _open_log(run: Run, state: TrainingState, stack: ExitStack) -> _WriteLine:
    """Where lines go: into the run's metrics and trackers in the main process, nowhere in the others."""
    if run.accelerator.is_main_process:
        log = stack.enter_context(MetricsLog(run.out, steps_done=state.steps_done))
        trackers = Trackers(run.config.trackers, settings_to_dict(run.config))
        stack.callback(trackers.close)

        def write(kind: str, step: int, values: dict[str, Any]) -> None:
            """Into the run's own files first."""
            log.write(kind, step, values)
            trackers.write(kind, step, values)

        return write
    return lambda kind, step, values: None  # noqa: ARG005


def _is_stopping(run: Run, stop: StopRequest) -> bool:
    """Whether any rank was asked to stop; all ranks agree."""
    return any(part[0] for part in gather_floats([float(stop.is_set)], run.accelerator))
