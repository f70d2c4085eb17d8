"""Log-probabilities under a linear head, with a backward pass of its own that makes each chunk of logits once more.

    forward, few rows at a time:  logits ─► float32 ─► log-sum-exp, target; logits are dropped
    backward, C rows at a time:   logits again, few at a time ─► softmax ─► gradients of hidden states and of the weight

PyTorch's own backward of the same would keep or copy [C, V] several times and make a gradient of the weight for each
chunk; here one buffer takes them all, in a step that of the micro batches before (`align.scoring.weight_passes`).

Letters: N positions, C positions of a chunk, H hidden size, V vocabulary.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from align.scoring.weight_passes import gradient_in_place, rounded

__all__ = ["linear_token_logps"]

_ROWS: Final = 128
"""Rows whose logits are in float32 at once: so few that they stay near the processor, in memory that is used again."""


def linear_token_logps(hidden: Tensor, targets: Tensor, weight: Tensor, *, chunk: int = 512) -> Tensor:
    """Log-probability of each target under `softmax(hidden @ weight.T)`, in float32.

    Products are taken in the hidden states' own dtype, or in autocast's; everything else in float32.

    Args:
        hidden: [N, H] float.
        targets: token ids. [N] int64.
        weight: of the head. [V, H] float.
        chunk: C.

    Returns:
        [N] float32, in nats.
    """
    dtype = hidden.dtype
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
    with torch.autocast(hidden.device.type, enabled=False):
        logps: Tensor = _LinearLogps.apply(hidden, weight, targets, dtype, chunk)
    return logps


class _LinearLogps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype, chunk: int) -> Tensor:
        narrow, head = hidden.to(dtype), rounded(weight, dtype)
        logps = hidden.new_empty(len(targets), dtype=torch.float32)
        normalizers = torch.empty_like(logps)
        for rows in _chunks(0, len(targets), min(chunk, _ROWS)):
            logits = _logits(narrow[rows], head)
            picked = logits.gather(1, targets[rows, None]).squeeze(1)
            largest = logits.amax(dim=1)
            normalizers[rows] = logits.sub_(largest[:, None]).exp_().sum(dim=1).log() + largest
            logps[rows] = picked - normalizers[rows]
        ctx.save_for_backward(hidden, weight, targets, normalizers)
        ctx.dtype, ctx.chunk = dtype, chunk
        return logps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        hidden, weight, targets, normalizers = ctx.saved_tensors
        narrow, head = hidden.to(ctx.dtype), rounded(weight, ctx.dtype)
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        of_hidden = torch.empty_like(hidden) if wants_hidden else None
        total = gradient_in_place(weight) if wants_weight else None
        of_weight = torch.zeros_like(weight) if wants_weight and total is None else total
        for chunk in _chunks(0, len(targets), ctx.chunk):
            of_logits = narrow.new_empty(chunk.stop - chunk.start, len(weight))
            for rows in _chunks(chunk.start, chunk.stop, _ROWS):
                # d logp / d logits is 1 at the target minus the softmax
                logits = _logits(narrow[rows], head).sub_(normalizers[rows, None]).exp_().mul_(-gradient[rows, None])
                logits.scatter_add_(1, targets[rows, None], gradient[rows, None])
                of_logits[rows.start - chunk.start : rows.stop - chunk.start] = logits
            if of_hidden is not None:
                of_hidden[chunk] = of_logits @ head
            if of_weight is not None and of_weight.dtype == ctx.dtype:
                of_weight.addmm_(of_logits.T, narrow[chunk])
            elif of_weight is not None:
                of_weight += of_logits.T @ narrow[chunk]
        return of_hidden, of_weight if total is None else None, None, None, None


def _chunks(start: int, stop: int, size: int) -> list[slice]:
    return [slice(first, min(first + size, stop)) for first in range(start, stop, size)]


def _logits(hidden: Tensor, head: Tensor) -> Tensor:
    """[rows, V] float32."""
    return (hidden @ head.T).float()
