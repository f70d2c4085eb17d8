"""A run and its folder: what is in it, what may be done with it, and what a resumed run starts from.

out/
  run.lock                     see `align.trainer.run_lock`; gone when the run is finished
  run.json                     identity: digests of model, dataset, tokens and plan, and the config; written first
  plan.parquet                 the batch plan
  execution.json               how steps are computed, see `align.resources.execution`
  reference.parquet            the reference's numbers
  metrics.jsonl, tensorboard/  a line for each step and evaluation
  checkpoints/                 see `align.artifacts.checkpoint`
  model/                       the trained model, with LoRA the adapter, see `align.models.adapters`
  merged/                      with LoRA, on request: the whole model
  run_card.md, run_card.json   written last
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from accelerate import Accelerator
from torch import nn

from align.artifacts.card import RUN_CARD_NAME, RunCard, find_run_card
from align.artifacts.checkpoint import Checkpoint, check_identity, load_newest_checkpoint, save_checkpoint
from align.artifacts.metrics import kept_metrics
from align.batches.inputs import RunInputs
from align.config import TrainConfig, identity_of
from align.data.dataset import dataset_digest
from align.distributed.sharding import place_like, whole_on_main
from align.evaluate.rank import reward_model_name
from align.models.loading import LoadedModel
from align.models.model_files import model_digest
from align.scoring.scorer import Scorer
from align.step.actor_critic import ActorCritic, detach_critic
from align.step.optimizer import build_optimizer, optimizer_tensors, restore_optimizer, trainable_parameters
from align.step.rlhf import Judge
from align.tokens.token_ids import TokenPair
from align.trainer.run_lock import RUN_LOCK_NAME
from schemas.errors import CorruptionError, OutputExistsError
from schemas.manifest import flush_to_disk, write_last
from schemas.settings import load_settings

__all__ = [
    "REFERENCE_NAME",
    "Run",
    "TrainingState",
    "check_folder",
    "find_finished",
    "has_checkpoint",
    "open_folder",
    "save_model",
    "save_state",
    "start_state",
]

_RUN_NAME: Final = "run.json"
_PLAN_NAME: Final = "plan.parquet"
_CHECKPOINTS: Final = "checkpoints"
REFERENCE_NAME: Final = "reference.parquet"
"""The reference's numbers, in a run's folder."""


@dataclass(frozen=True)
class Run:
    """What stays the same from the first step to the last.

    Args:
        config: the run's config.
        out: its folder.
        loaded: policy and tokenizer.
        scorer: the policy as a scorer.
        inputs: tokens, plan and pairs.
        references: reference log-probability of every pair.
        accelerator: this process's place in the run.
        identity: what the run follows from.
        critic: value head and reference of objectives of tokens; None of others.
        judge: reference and reward model of objectives that sample answers; None of others.
        recomputes_activations: whether the backward pass computes activations again.
    """

    config: TrainConfig
    out: Path
    loaded: LoadedModel
    scorer: Scorer
    inputs: RunInputs
    references: dict[TokenPair, float]
    accelerator: Accelerator
    identity: dict[str, Any]
    critic: ActorCritic | None = None
    judge: Judge | None = None
    recomputes_activations: bool = False

    @property
    def total_steps(self) -> int:
        """Optimizer steps from beginning to end."""
        return len(self.inputs.steps)


@dataclass
class TrainingState:
    """What changes with every step.

    Args:
        parameters: the trainable parameters, by name.
        optimizer: their optimizer.
        steps_done: optimizer steps done.
        seconds: time spent in steps, over all sessions of the run.
        evaluated: after how many steps there is an evaluation already.
    """

    parameters: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    steps_done: int = 0
    seconds: float = 0.0
    evaluated: set[int] = field(default_factory=set)


def find_finished(out: Path, config: TrainConfig, *, model: str, dataset: Path) -> RunCard | None:
    """The card of this very run, where it is finished already; None where `out` holds no finished run.

    Raises:
        OutputExistsError: another run was finished there.
        CorruptionError: the card cannot be read.
    """
    card = find_run_card(out)
    if card is None:
        return None
    known = load_settings(TrainConfig, card.config, where=out / RUN_CARD_NAME)
    is_same = (
        _is_same_config(card, known, config)
        and _is_same_model(card, model)
        and card.dataset["digest"] == dataset_digest(dataset)
    )
    if not is_same:
        raise OutputExistsError(
            "the folder holds a finished run of another config, model or dataset",
            where=out,
            todo="Name another folder",
        )
    return card


def check_folder(out: Path, *, resume: bool) -> None:
    """Check that a run may write into `out`: it is absent or empty, or holds a run to go on with.

    Raises:
        OutputExistsError: it holds something else, or a run that must not be resumed.
    """
    if not out.exists() or all(path.name == RUN_LOCK_NAME for path in out.iterdir()):
        return
    if not (out / _RUN_NAME).is_file():
        raise OutputExistsError("the folder is not empty and holds no run", where=out, todo="Name another folder")
    if not resume:
        raise OutputExistsError(
            "the folder holds an unfinished run", where=out, todo="Resume it, or name another folder"
        )


def open_folder(out: Path, identity: dict[str, Any], plan: pa.Table, accelerator: Accelerator) -> None:
    """Make the run's folder, or check that the one that is there belongs to this run.

    Raises:
        CheckpointMismatchError: it belongs to a run of another model, dataset or config.
        CorruptionError: `run.json` cannot be read.
    """
    if (out / _RUN_NAME).is_file():
        try:
            known = json.loads((out / _RUN_NAME).read_text("utf-8"))
        except ValueError as error:
            raise CorruptionError(f"the file cannot be read ({error})", where=out / _RUN_NAME) from error
        check_identity(known, identity, where=out)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        out.mkdir(parents=True, exist_ok=True)
        write_last(out / _RUN_NAME, json.dumps(identity, indent=2, sort_keys=True) + "\n")
        pq.write_table(plan, out / f"{_PLAN_NAME}.partial")
        (out / f"{_PLAN_NAME}.partial").replace(out / _PLAN_NAME)
    accelerator.wait_for_everyone()


def has_checkpoint(out: Path) -> bool:
    """Whether a run in `out` has a whole checkpoint to go on from."""
    return load_newest_checkpoint(out / _CHECKPOINTS) is not None


def start_state(run: Run) -> TrainingState:
    """The state to train on from: the newest whole checkpoint's, or that of step 0.

    Raises:
        CheckpointMismatchError: the checkpoint belongs to another run.
    """
    parameters = trainable_parameters(run.loaded.model)
    state = TrainingState(parameters, build_optimizer(parameters, run.config.optimizer))
    checkpoint = load_newest_checkpoint(run.out / _CHECKPOINTS)
    if checkpoint is not None:
        check_identity(checkpoint.identity, run.identity, where=run.out)
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(place_like(checkpoint.weights[name], parameter))
        restore_optimizer(state.optimizer, parameters, checkpoint.optimizer)
        state.steps_done, state.seconds = checkpoint.step, checkpoint.seconds
    lines = kept_metrics(run.out, state.steps_done)
    state.evaluated = {line["step"] for line in lines if line["kind"] == "evaluation"}
    run.accelerator.wait_for_everyone()
    return state


def save_state(run: Run, state: TrainingState) -> None:
    """Write a checkpoint of whole tensors; the main process does, all wait."""
    weights = whole_on_main(state.parameters, run.accelerator)
    optimizer = whole_on_main(optimizer_tensors(state.optimizer, state.parameters), run.accelerator)
    if run.accelerator.is_main_process:
        checkpoint = Checkpoint(
            step=state.steps_done,
            identity=run.identity,
            seconds=state.seconds,
            weights=weights,
            optimizer=optimizer,
        )
        save_checkpoint(run.out / _CHECKPOINTS, checkpoint, keep=run.config.checkpoint.keep)
    run.accelerator.wait_for_everyone()


def save_model(run: Run) -> None:
    """Write `model/`, and `merged/` where the config wants it, whole; only the main process calls this."""
    if run.critic is not None:
        detach_critic(run.critic)
    model = run.out / "model"
    _write_folder(model, partial(run.loaded.save, lies_at=model))
    if run.config.adapter.enabled and run.config.adapter.merge:
        _write_folder(run.out / "merged", run.loaded.save_merged)


def _is_same_config(card: RunCard, known: TrainConfig, config: TrainConfig) -> bool:
    """Whether two configs teach the same; where both name a reward model that is here, its digest counts."""
    before, now = identity_of(known), identity_of(config)
    judge = reward_model_name(config.objective.reward_model)
    if "reward_model" in card.digests and Path(judge).is_dir():
        before["objective"]["reward_model"] = card.digests["reward_model"]
        now["objective"]["reward_model"] = model_digest(Path(judge))
    return before == now


def _is_same_model(card: RunCard, model: str) -> bool:
    """Whether a run began with a model: by the digest of what lies in a local folder, else by the name."""
    folder = Path(model).expanduser()
    return bool(card.model["digest"] == model_digest(folder) if folder.is_dir() else card.model["name"] == model)


def _write_folder(folder: Path, save: Callable[[Path], None]) -> None:
    unfinished = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    save(unfinished)
    for path in unfinished.rglob("*"):
        flush_to_disk(path)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    flush_to_disk(folder.parent)
