"""Log-probabilities under a linear head, of which few rows and few words are computed at once.

    forward, for each tile:   logits ─► float32 ─► largest, sum of exponentials, target; the tile is dropped
    backward, for each tile:  logits again ─► softmax ─► its share of the gradients of hidden states and of the weight

    tile: C positions by W words     all positions of some words come behind each other, so these words' weights are
                                     rounded once, and their gradient is added to once

PyTorch's own backward of the same would keep or copy [C, V] several times and make a gradient of the weight for each
chunk; here tiles stay near the processor, and the gradient is added to that of the micro batches before
(`align.scoring.weight_passes`).

Letters: N positions, C positions of a tile, W words of a tile, H hidden size, V vocabulary.
Source of sums over parts of a row: Milakov and Gimelshein 2018, arXiv:1805.02867.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from align.scoring.float32_products import multiply
from align.scoring.weight_passes import gradient_in_place

__all__ = ["linear_token_logps", "tile_words"]

_WORDS_ON_CPU: Final = 1024  # what stays near a processor
_WORDS: Final = 8192  # what keeps a GPU busy


def tile_words(device: str) -> int:
    """W.

    Args:
        device: its type, such as `cpu`.
    """
    return _WORDS_ON_CPU if device == "cpu" else _WORDS


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
        narrow = hidden.to(dtype)
        largest = hidden.new_full((len(targets),), -torch.inf, dtype=torch.float32)
        total, picked = torch.zeros_like(largest), torch.zeros_like(largest)
        for words in _parts(len(weight), tile_words(hidden.device.type)):
            head = weight[words].to(dtype)
            for rows in _parts(len(targets), chunk):
                logits = _logits(narrow[rows], head)
                place, is_here = _place(targets[rows], words)
                picked[rows] += logits.gather(1, place).squeeze(1).where(is_here, 0.0)
                most = torch.maximum(largest[rows], logits.amax(dim=1))
                seen = total[rows] * (largest[rows] - most).exp_()
                total[rows] = logits.sub_(most[:, None]).exp_().sum(dim=1).add_(seen)
                largest[rows] = most
        normalizers = total.log_().add_(largest)
        ctx.save_for_backward(hidden, weight, targets, normalizers)
        ctx.dtype, ctx.chunk = dtype, chunk
        return picked - normalizers

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        hidden, weight, targets, normalizers = ctx.saved_tensors
        narrow = hidden.to(ctx.dtype)
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        of_hidden = torch.zeros_like(hidden, dtype=torch.float32) if wants_hidden else None
        total = gradient_in_place(weight) if wants_weight else None
        of_weight = torch.zeros_like(weight) if wants_weight and total is None else total
        for words in _parts(len(weight), tile_words(hidden.device.type)):
            head = weight[words].to(ctx.dtype)
            for rows in _parts(len(targets), ctx.chunk):
                # d logp / d logits is 1 at the target minus the softmax
                slopes = _logits(narrow[rows], head).sub_(normalizers[rows, None]).exp_().mul_(-gradient[rows, None])
                place, is_here = _place(targets[rows], words)
                slopes.scatter_add_(1, place, gradient[rows].where(is_here, 0.0)[:, None])
                slopes = slopes.to(ctx.dtype)
                if of_hidden is not None:
                    of_hidden[rows] += multiply(slopes, head)
                if of_weight is not None:
                    of_weight[words] += multiply(slopes.T, narrow[rows])
        of_input = None if of_hidden is None else of_hidden.to(hidden.dtype)
        return of_input, of_weight if total is None else None, None, None, None


def _parts(count: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, count)) for first in range(0, count, size))


def _logits(hidden: Tensor, head: Tensor) -> Tensor:
    """[rows, words] float32."""
    return multiply(hidden, head.T).float()


def _place(targets: Tensor, words: slice) -> tuple[Tensor, Tensor]:
    """Where each target stands among some words, and whether it does. [rows, 1] int64, [rows] bool."""
    place = targets - words.start
    is_here = (place >= 0) & (place < words.stop - words.start)
    return place.where(is_here, 0)[:, None], is_here
