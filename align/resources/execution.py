"""How a run computes its steps: tokens of a pass, and whether activations are computed again. Not what steps mean.

    config says so ──────────────────────────────────────────────► that
    config leaves it open ─► what was found before, on a resume ─► that
                          └► two short passes, free memory ──────► as much as fits, at most what suits the device

What was found is kept in the run's folder, so that a resumed run rounds as it began, however much memory is free then.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from accelerate import Accelerator

from align.config import TrainConfig
from align.distributed.ranks import gather_floats
from align.models.loading import LoadedModel
from align.objectives import find_objective
from align.resources.forecast import learned_sequences
from align.resources.memory_probe import free_memory, measure_passes
from align.scoring.scorer import Scorer, micro_batch_tokens, pass_tokens
from align.step.optimizer import moment_bytes
from align.tokens.tokenize import TokenizedRow
from schemas.errors import ConfigError
from schemas.manifest import write_last

__all__ = ["EXECUTION_NAME", "Execution", "choose_execution", "longest_example", "recompute_activations"]

EXECUTION_NAME: Final = "execution.json"
_SHARE: Final = 0.8  # of free memory: what libraries, fragments and longer rows of a batch want is left
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Execution:
    """How the passes of a run are made.

    Args:
        tokens_per_micro_batch: budget of one forward and backward pass.
        gradient_checkpointing: whether activations are computed again in the backward pass.
        device: `cpu` or `cuda`; on another one it is not what suits.
    """

    tokens_per_micro_batch: int
    gradient_checkpointing: bool
    device: str


def choose_execution(
    config: TrainConfig, loaded: LoadedModel, scorer: Scorer, accelerator: Accelerator, *, longest: int, out: Path
) -> Execution:
    """How this run is computed; every rank gets the same. The model recomputes activations afterwards, or does not.

    Args:
        config: the run's.
        loaded: the policy.
        scorer: the same as a scorer.
        accelerator: the process's place in the run.
        longest: tokens of the longest example, see `longest_example`.
        out: the run's folder, which is there.

    Raises:
        ConfigError: the model cannot recompute activations, and must.
    """
    device, wanted = scorer.device.type, config.gradient_checkpointing
    most = micro_batch_tokens(config.batch.tokens_per_micro_batch, device, config.dtype)
    # With a z0 of each micro batch the budget decides what is learned, so it may not depend on what memory is free.
    is_given = bool(config.batch.tokens_per_micro_batch) or config.objective.z0_scope == "micro"
    known = _read(out / EXECUTION_NAME, device)
    tokens, recomputes = most, wanted is True
    if scorer.ranks is not None:  # who shares weights out is short of memory
        recomputes = wanted is True or (wanted == "auto" and loaded.model.supports_gradient_checkpointing)
    elif known is not None:
        tokens = most if is_given else min(most, known.tokens_per_micro_batch)
        recomputes = known.gradient_checkpointing if wanted == "auto" else recomputes
    elif not is_given or wanted == "auto":
        tokens, recomputes = _probe(config, loaded, scorer, accelerator, most if is_given else 0, most, longest)
    parts = gather_floats([tokens, recomputes], accelerator)
    found = Execution(int(min(part[0] for part in parts)), any(part[1] for part in parts), device)
    recompute_activations(loaded, found.gradient_checkpointing)
    if accelerator.is_main_process:
        write_last(out / EXECUTION_NAME, json.dumps(asdict(found), indent=2) + "\n")
    return found


def longest_example(rows: Sequence[TokenizedRow], config: TrainConfig, *, has_trees: bool) -> int:
    """Tokens of the longest example, whose sequences must be in one pass.

    Args:
        rows: at least one.
        config: the run's; answers that it samples count with their longest length.
        has_trees: whether prompts are computed once and nothing is padded.
    """
    return max(pass_tokens(learned_sequences(row, config.objective), has_trees=has_trees) for row in rows)


def recompute_activations(loaded: LoadedModel, is_on: bool) -> None:
    """Compute activations again in the backward pass, or keep them from now on.

    transformers computes them again in training mode only; dropout is 0 anyway.

    Raises:
        ConfigError: the model cannot.
    """
    if is_on and not loaded.model.supports_gradient_checkpointing:
        raise ConfigError("the model cannot recompute activations", where="gradient_checkpointing", received=True)
    if is_on:
        loaded.model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    elif loaded.model.supports_gradient_checkpointing:
        loaded.model.activation_checkpointing_disable()
    loaded.model.train(is_on)


def _probe(
    config: TrainConfig,
    loaded: LoadedModel,
    scorer: Scorer,
    accelerator: Accelerator,
    given: int,
    most: int,
    longest: int,
) -> tuple[int, bool]:
    """Tokens of a pass, and whether activations must be computed again for the longest example, or `given`, to fit."""
    shared_by = accelerator.num_processes if scorer.device.type == "cpu" else 1
    memory = _SHARE * free_memory(scorer.device, shared_by) - _standing(loaded, config)
    needed, room, recomputes = max(given, longest), 0, False
    for recomputes in _choices(config, loaded):
        recompute_activations(loaded, recomputes)
        room = measure_passes(scorer).tokens_within(memory)
        if room >= needed:
            break
    if room < needed:
        _log.warning("a pass of %d tokens is needed, and memory is free for about %d", needed, room)
    return given or max(1, min(most, room)), recomputes


def _choices(config: TrainConfig, loaded: LoadedModel) -> tuple[bool, ...]:
    """Whether to compute activations again: what to try in turn."""
    if config.gradient_checkpointing != "auto":
        return (config.gradient_checkpointing,)
    return (False, True) if loaded.model.supports_gradient_checkpointing else (False,)


def _standing(loaded: LoadedModel, config: TrainConfig) -> int:
    """Bytes that steps hold all the time and that are not there yet: gradients, AdamW's moments, a frozen copy."""
    weights = [(each.numel() * each.element_size(), each.requires_grad) for each in loaded.model.parameters()]
    trained: int = sum(size for size, is_trained in weights if is_trained)
    trained += trained // 4 * moment_bytes(config.optimizer)
    needs_copy = find_objective(config.objective.name).is_of_tokens and not config.adapter.enabled
    return trained + (sum(size for size, _ in weights) if needs_copy else 0)


def _read(path: Path, device: str) -> Execution | None:
    """What was found before; None where nothing was, on another device, or where it cannot be read."""
    try:
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
        found = Execution(**values)
    except (OSError, ValueError, TypeError):
        return None
    return found if found.device == device else None
