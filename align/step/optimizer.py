"""AdamW over a model's trainable parameters, and its state as named tensors for checkpoints.

Its moments are float32, or 8 bits by bitsandbytes (Dettmers et al. 2022, arXiv:2110.02861).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from align.config import OptimizerConfig
from align.distributed.sharding import place_like
from schemas.errors import CheckpointMismatchError, MissingExtraError

__all__ = ["build_optimizer", "moment_bytes", "optimizer_tensors", "restore_optimizer", "trainable_parameters"]


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training changes, by name; tied ones once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def build_optimizer(parameters: Mapping[str, nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW with weight decay on matrices only; norms and biases have none.

    Args:
        parameters: what to train, by name.
        config: rates, decays and moments; the schedule is the caller's.

    Raises:
        MissingExtraError: moments of 8 bits need the extra `bitsandbytes`.
    """
    decayed = [parameter for parameter in parameters.values() if parameter.ndim >= 2]
    spared = [parameter for parameter in parameters.values() if parameter.ndim < 2]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    kind, options = (_eight_bit_adamw(), {}) if config.moments == "int8" else (torch.optim.AdamW, {"fused": True})
    optimizer: torch.optim.Optimizer = kind(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        **options,
    )
    return optimizer


def moment_bytes(config: OptimizerConfig) -> int:
    """Bytes that both moments of a weight take."""
    return 2 if config.moments == "int8" else 8


def optimizer_tensors(optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """The optimizer's state as `parameter name/state name` to tensor; a count that is no tensor becomes one."""
    return {
        f"{name}/{key}": value if isinstance(value, Tensor) else torch.tensor(value)
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` gave.

    Args:
        optimizer: of a fresh run; its state is filled.
        parameters: the trainable parameters by name, each of any shape [...].
        tensors: by `name/state`, each a scalar or of its parameter's shape [...].

    Raises:
        CheckpointMismatchError: the state is of other parameters.
    """
    for key, value in tensors.items():
        name, _, state = key.rpartition("/")
        if name not in parameters:
            raise CheckpointMismatchError("the checkpoint holds the state of an unknown parameter", received=name)
        # bitsandbytes counts its steps by an int, PyTorch by a tensor of floats.
        is_count = value.dtype == torch.int64 and not value.ndim
        optimizer.state[parameters[name]][state] = int(value) if is_count else place_like(value, parameters[name])


def _eight_bit_adamw() -> Any:
    # On a CPU it warns of kernels for products of 4 bits, which nobody asks for here.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    try:
        from bitsandbytes.optim.adamw import AdamW8bit
    except ImportError as error:
        raise MissingExtraError("bitsandbytes", "bitsandbytes") from error
    return AdamW8bit
