"""Sums over the processes of a run. Every collective has a fixed shape, so ranks with other rows never hang.

Gradients are summed once a step by an explicit reduction, not by a wrapper's hooks: a rank may have any number of micro
batches, even none, and the sum is the gradient of the step's loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from schemas.errors import ConfigError

__all__ = [
    "device_type",
    "gather_floats",
    "gather_objects",
    "measuring_device",
    "start_accelerator",
    "sum_gradients",
]

_BUCKET: Final = 2**24  # elements reduced at once: bounds the copy that a reduction needs


def start_accelerator(device: str) -> Accelerator:
    """The process's place in the run: device, rank, number of ranks.

    Args:
        device: `cpu`, `cuda`, or `auto` for a GPU where there is one.

    Raises:
        ConfigError: a GPU is asked for and there is none.
    """
    on_cpu = device_type(device) == "cpu"
    if not on_cpu and not torch.cuda.is_available():  # accelerate would take the CPU and say nothing
        raise ConfigError(
            "there is no GPU that PyTorch can use",
            where="device",
            received=device,
            expected="auto or cpu on this machine",
            todo="Set device=auto; where there is a GPU, see that its driver works and PyTorch is built for it",
        )
    # No precision is asked for: accelerate fixes it once for a process, maybe for another trainer in it, and refuses
    # a second one. Ours is set by our own autocast.
    return Accelerator(cpu=on_cpu)


def device_type(device: str) -> str:
    """`cpu` or `cuda`: what a run on `device` computes on.

    Args:
        device: `cpu`, `cuda`, or `auto` for a GPU where there is one.
    """
    return "cpu" if device == "cpu" or (device == "auto" and not torch.cuda.is_available()) else "cuda"


def measuring_device(device: Literal["auto", "cpu", "cuda"]) -> Literal["auto", "cpu"]:
    """What a model is measured on that was trained on `device`: a GPU that this machine need not have is no condition.

    Args:
        device: `cpu`, `cuda` or `auto`.

    Returns:
        `cpu` or `auto`.
    """
    return "auto" if device == "cuda" else device


def gather_floats(values: Sequence[float], accelerator: Accelerator) -> list[list[float]]:
    """The numbers of every rank, by rank; each rank gives as many."""
    local = torch.tensor([list(values)], dtype=torch.float64, device=accelerator.device)
    gathered: list[list[float]] = accelerator.gather(local).tolist()
    return gathered


def gather_objects(values: Sequence[Any], accelerator: Accelerator) -> list[Any]:
    """The values of every rank, one after the other; each rank may give another number."""
    if accelerator.num_processes == 1:
        return list(values)
    gathered: list[Any] = [None] * accelerator.num_processes
    torch.distributed.all_gather_object(gathered, list(values))
    return [value for part in gathered for value in part]


def sum_gradients(parameters: Iterable[nn.Parameter], accelerator: Accelerator) -> None:
    """Replace every gradient by its sum over the ranks; a parameter without one counts as zeros."""
    gradients: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if not isinstance(parameter.grad, DTensor):  # shards were summed in the backward pass
            gradients.append(parameter.grad)
    if accelerator.num_processes == 1:
        return
    for bucket in _buckets(gradients):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        torch.distributed.all_reduce(flat)
        for gradient, summed in zip(bucket, flat.split([each.numel() for each in bucket]), strict=True):
            gradient.copy_(summed.view_as(gradient))


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        if bucket and (size + gradient.numel() > _BUCKET or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += gradient.numel()
    if bucket:
        yield bucket
