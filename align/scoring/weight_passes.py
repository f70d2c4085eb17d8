"""Gradients of the two largest weights, the embedding and the head, are added up in place over a step's micro batches.

    within `summed_in_place`:    gradients are added to `weight.grad` itself; no micro batch makes a [V, H] of its own

The head takes part through `align.scoring.linear_logps`, the embedding through `sum_embedding_in_place`.
What is summed in place never passes through autograd's own accumulation, so its hooks do not see it: only the trainer's
own steps, which sum gradients over ranks themselves, switch it on.

Letters: V vocabulary, H hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["gradient_in_place", "sum_embedding_in_place", "summed_in_place"]

# Not for each thread: a backward pass runs on threads of its own where there is a GPU.
_DEPTH: Final = {"in place": 0}


@contextmanager
def summed_in_place() -> Iterator[None]:
    """A context for `Tensor.backward`, not for `torch.autograd.grad`, see the module."""
    _DEPTH["in place"] += 1
    try:
        yield
    finally:
        _DEPTH["in place"] -= 1


def gradient_in_place(weight: Tensor) -> Tensor | None:
    """The gradient that a backward pass may add to; None where it must give back one of its own.

    Args:
        weight: any shape.
    """
    return weight.grad if _DEPTH["in place"] and weight.is_leaf else None


def sum_embedding_in_place(embedding: nn.Module) -> None:
    """Let an embedding's gradient be summed in place, where it is PyTorch's plain one; others stay as they are.

    Args:
        embedding: the module that token ids go through.
    """
    if type(embedding) is nn.Embedding and embedding.max_norm is None and not embedding.scale_grad_by_freq:
        embedding.register_forward_hook(_look_up)


def _look_up(embedding: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    if not (output.requires_grad and embedding.weight.is_leaf):
        return output
    found: Tensor = _Embedding.apply(embedding.weight, inputs[0], embedding.padding_idx)
    return found


class _Embedding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, padding_id: int | None) -> Tensor:
        ctx.save_for_backward(weight, ids)
        ctx.padding_id = padding_id
        return nn.functional.embedding(ids, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None]:
        weight, ids = ctx.saved_tensors
        flat, rows = ids.flatten(), gradient.reshape(-1, gradient.shape[-1])
        total = gradient_in_place(weight)
        if total is not None:
            is_real = None if ctx.padding_id is None else flat != ctx.padding_id
            if is_real is not None and not bool(is_real.all()):
                flat, rows = flat[is_real], rows[is_real]
            total.index_add_(0, flat, rows.to(total.dtype))
            return None, None, None
        padding_id = -1 if ctx.padding_id is None else ctx.padding_id
        dense: Tensor = torch.ops.aten.embedding_dense_backward(rows, flat, len(weight), padding_id, False)
        return dense.to(weight.dtype), None, None
