"""What a run would take, without taking a step: rows, steps, tokens, memory and time, before anything is loaded.

Rows, steps and tokens are those of the run (`align.resources.forecast`). Memory and time are estimates: memory from the
model's config, time from the operations and from a matrix product that is timed here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from align.batches.inputs import refuse_rows_beyond
from align.config import TrainConfig
from align.distributed.ranks import device_type
from align.models.loading import count_parameters, load_model_config, load_tokenizer
from align.objectives import find_objective
from align.resources.forecast import Forecast, Passes, forecast
from align.scoring.float32_products import is_wider, multiply
from align.scoring.linear_logps import tile_words
from align.scoring.scorer import micro_batch_tokens
from align.step.optimizer import moment_bytes
from align.tokens.control_tokens import CONTROL_TOKENS
from schemas.progress import Progress, silent

__all__ = ["DryRun", "Footprint", "dry_run", "estimate_memory", "matrix_speed"]

_HEAD_ROWS: Final = 512  # see `align.scoring.logps.CompletionLogps`
# Share of the speed of plain matrix products that steps reach, measured with SmolLM2-135M on one core with bfloat16
# matrix units. Smaller models reach less, larger ones more.
_REACHED: Final = {"float32": 0.6, "bfloat16": 0.27}
_REACHED_WIDE: Final = 0.45  # in float32 by oneDNN: products are twice as fast, and attention as slow as before


@dataclass(frozen=True, slots=True)
class Footprint:
    """Estimated memory of one process in training, in bytes.

    Args:
        weights: of the model, in float32, and of the frozen copy that some objectives keep beside it; not of a reward
            model that judges.
        gradients: of what is trained.
        optimizer: AdamW's two moments.
        activations: kept from the forward to the backward pass of the largest micro batch.
        head: a tile of logits, or of rewards, and what is made of it.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    head: int

    @property
    def total(self) -> int:
        """All of it, without libraries and the data."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.head


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a run would take.

    Args:
        forecast: rows, steps and passes.
        footprint: estimated memory; None where the steps cannot be built.
        seconds: estimated time of all passes; None likewise.
        operations_per_second: of the matrix product that was timed.
    """

    forecast: Forecast
    footprint: Footprint | None
    seconds: float | None
    operations_per_second: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        found, passes = self.forecast, self.forecast.passes
        memory = None
        if self.footprint is not None:
            parts = ("weights", "gradients", "optimizer", "activations", "head", "total")
            memory = {name: getattr(self.footprint, name) for name in parts}
        return {
            "rows_read": found.rows_read,
            "rows": len(found.train.rows),
            "lost": found.train.dropped,
            "are_pairs": found.is_of_pairs,
            "desirable": found.ratio.desirable,
            "undesirable": found.ratio.undesirable,
            "ratio": found.ratio.value if found.ratio.undesirable else None,
            "steps": len(found.inputs.steps) if found.inputs is not None else 0,
            "one_label_steps": found.one_label_steps(),
            "obstacle": found.obstacle,
            "todo": found.todo,
            "passes": None if passes is None else _tokens_by_pass(passes),
            "is_padded": passes is not None and passes.is_padded,
            "parameters": found.parameters,
            "memory_bytes": memory,
            "seconds": self.seconds,
            "operations_per_second": self.operations_per_second,
        }


def dry_run(config: TrainConfig, *, dataset: Path, model: str, progress: Progress = silent) -> DryRun:
    """What `align.trainer.train` would take for the same arguments; no weight is read and nothing is written.

    Args:
        config: what to train and how.
        dataset: as in `train`.
        model: likewise.
        progress: told of every row that is tokenized.

    Raises:
        ConfigError: the objective does not have a setting, or settings exclude each other.
        InputError: the dataset cannot be read, or is not of the objective's type.
        EmptySplitError: it has no row to train on.
        ModelError: the tokenizer or the config cannot be used.
    """
    parameters = count_parameters(model)
    found = forecast(dataset, load_tokenizer(model), config, parameters=parameters, progress=progress)
    if found.inputs is not None:
        refuse_rows_beyond(found.inputs, config, _trained_config(model, config), dataset=dataset)
    device = device_type(config.device)
    speed = matrix_speed(device, config.dtype)
    if found.passes is None:
        return DryRun(found, None, None, speed)
    passes = found.passes
    every = (passes.policy, passes.mismatched, passes.reference, passes.evaluation)
    is_wide = (device, config.dtype) == ("cpu", "float32") and is_wider()
    reached = _REACHED_WIDE if is_wide else _REACHED[config.dtype]
    seconds = sum(one.flops(parameters) for one in every) / (speed * reached)
    longest = max(len(prompt) + len(completion) for row in found.train.rows for prompt, completion in row.sequences)
    tokens = max(longest, micro_batch_tokens(config.batch.tokens_per_micro_batch, device, config.dtype))
    return DryRun(found, estimate_memory(load_model_config(model), parameters, config, tokens=tokens), seconds, speed)


def estimate_memory(model_config: Any, parameters: int, config: TrainConfig, *, tokens: int) -> Footprint:
    """Memory of a training process, from the sizes of a decoder with gated feed-forward layers.

    Args:
        model_config: of transformers.
        parameters: weights of the model.
        config: objective, dtype, adapter, and whether activations are computed again; `auto` counts as not.
        tokens: of the largest micro batch.
    """
    text = model_config.get_text_config()
    hidden, layers = text.hidden_size, text.num_hidden_layers
    inner = getattr(text, "intermediate_size", None) or 4 * hidden
    is_half = config.dtype == "bfloat16"
    objective = find_objective(config.objective.name)
    copies = 2 if (objective.is_online or objective.is_of_tokens) and not config.adapter.enabled else 1
    logits = 1 if objective.head == "rewards" else min(text.vocab_size, tile_words(device_type(config.device)))
    trained = parameters
    if config.adapter.enabled:  # two thin matrices beside each of about seven matrices of a layer
        trained = layers * 7 * config.adapter.rank * (hidden + inner)
    heads = text.num_attention_heads
    head_size = getattr(text, "head_dim", None) or hidden // heads
    shared = head_size * (getattr(text, "num_key_value_heads", None) or heads)
    number = 2 if is_half else 4
    # What a layer keeps for its backward pass, in which the rest is computed again (`align.scoring.computed_again`):
    # two residuals in float32; queries and outcome of attention, keys, values, and both gates.
    of_layer = 2 * hidden * 4 + 2 * (head_size * heads + shared + inner) * number
    # All that one layer makes: 12 tensors as wide as hidden states and 4 as wide as the inner layer.
    whole_layer = (12 * hidden + 4 * inner) * (3 if is_half else 4)
    is_recomputed = config.gradient_checkpointing is True
    kept = layers * (hidden * 4 if is_recomputed else of_layer) + whole_layer
    return Footprint(
        weights=4 * parameters * copies,
        gradients=4 * trained,
        optimizer=moment_bytes(config.optimizer) * trained,
        activations=tokens * kept,
        head=_HEAD_ROWS * logits * 4 * 2,
    )


def matrix_speed(device: str, dtype: str) -> float:
    """Operations a second of a matrix product of the size of a small model's layers, the best of a few.

    Args:
        device: `cpu` or `cuda`.
        dtype: `float32` or `bfloat16`.
    """
    kind = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    left, right = (torch.ones(1024, 1024, dtype=kind, device=device) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        began = time.perf_counter()
        product = multiply(left, right)
        product[0, 0].item()  # a GPU is waited for
        best = min(best, time.perf_counter() - began)
    return float(2 * 1024**3 / best)


def _tokens_by_pass(passes: Passes) -> dict[str, dict[str, int]]:
    return {
        name: {
            "sequences": getattr(passes, name).sequences,
            "tokens": getattr(passes, name).tokens,
            "computed_tokens": getattr(passes, name).padded_tokens,
        }
        for name in ("policy", "mismatched", "reference", "evaluation")
    }


def _trained_config(model: str | Path, config: TrainConfig) -> Any:
    """The config of a model as the run has it: with the control tokens that its objective adds."""
    model_config = load_model_config(model)
    if find_objective(config.objective.name).has_control_tokens:
        model_config.get_text_config().vocab_size += len(CONTROL_TOKENS)
    return model_config
