"""Weights, gradients and the optimizer's state shared out over the ranks, a layer at a time, by PyTorch's FSDP2.

    accelerate's config says fsdp_version 2 ─► every layer a unit, all the rest another ─► shards of each on each rank
    a pass ─► weights of a unit are gathered, used and dropped; its gradients are summed and each rank keeps its shard

Every pass, with or without a gradient, needs all ranks, so that they must take as many
(`align.scoring.scorer.Scorer.fill`).
Files hold whole tensors: what several ranks saved one process can go on with, and the reverse.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import torch
from accelerate import Accelerator
from accelerate.utils import FullyShardedDataParallelPlugin, parse_flag_from_env
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from align.config import TrainConfig
from align.objectives import find_objective
from schemas.errors import ConfigError

__all__ = ["gather_weights", "is_sharding_asked", "place_like", "shard", "whole", "whole_on_main"]

_METHODS: Final = ("of_trees", "of_tokens")  # ways into a model beside `forward`


def is_sharding_asked(config: TrainConfig) -> bool:
    """Whether accelerate's config asks for shards; it does so by the environment of the process.

    Args:
        config: the run's.

    Raises:
        ConfigError: it asks for the first version of FSDP, or the run needs what is not sharded here.
    """
    if not parse_flag_from_env("ACCELERATE_USE_FSDP"):
        return False
    version = os.environ.get("FSDP_VERSION", "1")
    if version != "2":
        raise ConfigError(
            "this version of FSDP is not known here", where="fsdp_version", received=version, expected="2"
        )
    objective = find_objective(config.objective.name)
    if objective.is_of_tokens or objective.is_online or objective.head != "logps":
        raise ConfigError(
            "the objective has more models than the policy, and only that one is sharded",
            where="objective.name",
            received=objective.name,
            todo="Train it without FSDP, or name another objective",
        )
    if config.optimizer.moments != "float32":
        raise ConfigError(
            "moments of 8 bits are not sharded",
            where="optimizer.moments",
            received=config.optimizer.moments,
            expected="float32",
        )
    return True


def shard(module: nn.Module, model: Any, accelerator: Accelerator) -> None:
    """Share the weights of a model out over the ranks, in place; they move to the rank's device.

    Args:
        module: what is called, around the model.
        model: the Hugging Face model, with layers that transformers does not split.
        accelerator: the process's place in the run.
    """
    plugin = FullyShardedDataParallelPlugin()
    offloads = bool(plugin.cpu_offload) and isinstance(plugin.cpu_offload, CPUOffloadPolicy)
    options: dict[str, Any] = {
        "mesh": init_device_mesh(accelerator.device.type, (accelerator.num_processes,)),
        # Also of the root, or its weights would stay gathered behind a pass without a gradient.
        "reshard_after_forward": True,
        "offload_policy": CPUOffloadPolicy() if offloads else OffloadPolicy(),
    }
    whole_layers = set(model._no_split_modules or ())
    units = [each for each in model.modules() if type(each).__name__ in whole_layers]
    for unit in [*units, module]:
        sharded: Any = fully_shard(unit, **options)
        # The sum over ranks, not their mean: an example's share of the step's loss is in it already.
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)
    for name in _METHODS:
        if hasattr(module, name):
            register_fsdp_forward_method(module, name)


def whole(tensor: Tensor) -> Tensor:
    """The tensor with the shards of all ranks; every rank must ask for it. Others come back as they are."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_on_main(tensors: Mapping[str, Tensor], accelerator: Accelerator) -> dict[str, Tensor]:
    """Whole tensors on the CPU in the main process, nothing in the others, which take part.

    Args:
        tensors: by name, the same names on every rank.
        accelerator: the process's place in the run.
    """
    found = {}
    for name, tensor in tensors.items():
        gathered = whole(tensor.detach())
        if accelerator.is_main_process:
            found[name] = gathered.cpu()
    return found


def place_like(value: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor as its parameter lies: on its device, and this rank's shard of it where that is one.

    Args:
        value: of the parameter's shape, or a scalar, which is never sharded.
        parameter: where it belongs.
    """
    moved = value.to(parameter.device)
    if not isinstance(parameter, DTensor) or moved.shape != parameter.shape:
        return moved
    # Each rank has the whole one, so that nothing needs to be sent.
    placed: Tensor = distribute_tensor(moved, parameter.device_mesh, parameter.placements, src_data_rank=None)
    return placed


def gather_weights(model: nn.Module, accelerator: Accelerator) -> None:
    """Put whole weights back into the main process's model, to be saved; in the others they are empty afterwards.

    Args:
        model: sharded or not; it cannot train any more where it was.
        accelerator: the process's place in the run.
    """
    gathered: dict[int, nn.Parameter] = {}  # tied weights stay tied
    for module in model.modules():
        held: dict[str, Any] = module._parameters
        for name, parameter in held.items():
            if not isinstance(parameter, DTensor):
                continue
            if id(parameter) not in gathered:
                full = whole(parameter.detach())
                kept = full.cpu() if accelerator.is_main_process else torch.empty(0)
                gathered[id(parameter)] = nn.Parameter(kept, requires_grad=parameter.requires_grad)
            held[name] = gathered[id(parameter)]
