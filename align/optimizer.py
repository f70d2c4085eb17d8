"""AdamW over a model's trainable parameters, and its state as named tensors for checkpoints."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from align.config import OptimizerConfig
from align.sharding import place_like
from schemas.errors import CheckpointMismatchError

__all__ = ["build_optimizer", "optimizer_tensors", "restore_optimizer", "trainable_parameters"]


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training changes, by name; tied ones once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def build_optimizer(parameters: Mapping[str, nn.Parameter], config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only; norms and biases have none.

    Args:
        parameters: what to train, by name.
        config: rates and decays; the schedule is the caller's.
    """
    decayed = [parameter for parameter in parameters.values() if parameter.ndim >= 2]
    spared = [parameter for parameter in parameters.values() if parameter.ndim < 2]
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        fused=True,
    )


def optimizer_tensors(optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """The optimizer's state as `parameter name/state name` to tensor."""
    return {
        f"{name}/{key}": value
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
        optimizer.state[parameters[name]][state] = place_like(value, parameters[name])
