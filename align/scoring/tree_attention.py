"""Attention over trees of sequences: each branch sees its prompt and itself, by PyTorch's fused attention.

It is registered with transformers as one more attention implementation and does what `sdpa` does until a forward pass
brings trees along. The first branch of a tree stands right behind its prompt, so both are one causal sequence; each
further branch attends with a mask to the prompt's keys and to its own.

Letters: H heads, G heads of keys and values, N tokens, D head size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from align.scoring.computed_again import Cheap
from align.scoring.trees import Span
from schemas.errors import ModelError

__all__ = ["IMPLEMENTATION", "attend_to_trees", "no_mask"]

IMPLEMENTATION: Final = "prompt_trees"
"""Its name, for `set_attn_implementation`."""

_UNKNOWN: Final = ("softcap", "s_aux", "position_bias")  # what some families add to attention scores


def attend_to_trees(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    spans: Sequence[Span] | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """What an attention layer of transformers asks of its implementation.

    Args:
        module: the layer.
        query: [1, H, N, D].
        key: [1, G, N, D].
        value: [1, G, N, D].
        attention_mask: not read where there are trees.
        spans: the trees; none for a batch of sequences, which is left to `sdpa`. What lies behind them gets zeros.
        scaling: of the scores.
        sliding_window: how many tokens back a token sees, itself included; none for all.
        more: handed on to `sdpa`.

    Returns:
        [1, N, H, D], and no weights.

    Raises:
        ModelError: the layer wants something of its scores that is not done here.
    """
    if spans is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, sliding_window=sliding_window, **more
        )
    unknown = [name for name in _UNKNOWN if more.get(name) is not None]
    if unknown:
        raise ModelError("attention over trees does not know a setting", where=type(module).__name__, received=unknown)
    joined: Tensor = _Joined.apply(
        *(part for span in spans for part in _attend(query, key, value, span, scaling, sliding_window))
    )
    return joined, None


def no_mask() -> Tensor:
    """The attention mask of a forward pass with trees: four dimensions, which transformers takes as it is."""
    return torch.zeros(1, 1, 1, 1)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, span: Span, scaling: float | None, window: int | None
) -> Iterator[Tensor]:
    """The outputs of a tree, [1, H, length, D] each."""
    root = span.start + span.prompt
    end = root + span.branches[0]
    trunk = slice(span.start, end)
    heads = query.shape[1]
    mask = _mask(span.prompt + span.branches[0], 0, window, query.device)
    yield scaled_dot_product_attention(
        query[:, :, trunk],
        _for_heads(key[:, :, trunk], heads),
        _for_heads(value[:, :, trunk], heads),
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
    )
    prompt = slice(span.start, root)
    for length in span.branches[1:]:
        branch = slice(end, end + length)
        end += length
        if length:
            yield scaled_dot_product_attention(
                query[:, :, branch],
                _for_heads(torch.cat([key[:, :, prompt], key[:, :, branch]], dim=2), heads),
                _for_heads(torch.cat([value[:, :, prompt], value[:, :, branch]], dim=2), heads),
                attn_mask=_mask(length, span.prompt, window, query.device),
                scale=scaling,
            )


def _mask(length: int, before: int, window: int | None, device: torch.device) -> Tensor | None:
    """Which keys each of `length` tokens sees behind `before` others; None where that is plainly causal."""
    is_wide = window is None or window >= before + length
    if is_wide and not before:
        return None
    places = torch.arange(before + length, device=device)
    seen = places[None] <= places[before:, None]
    return seen if is_wide else seen & (places[None] > places[before:, None] - (window or 0))


def _for_heads(shared: Tensor, heads: int) -> Tensor:
    """Keys or values that groups of heads share, once for each head. [1, G, N, D] to [1, H, N, D]."""
    if shared.shape[1] == heads:
        return shared
    repeated: Tensor = _Repeated.apply(shared, heads // shared.shape[1])
    return repeated


class _Repeated(Cheap):
    """Each head of keys or values several times, one behind the other."""

    @staticmethod
    def forward(ctx: Any, shared: Tensor, repeats: int) -> Tensor:
        ctx.save_for_backward(shared)
        ctx.repeats = repeats
        return shared.repeat_interleave(repeats, dim=1)

    @staticmethod
    def again(ctx: Any) -> Tensor:
        (shared,) = ctx.saved_tensors
        repeated: Tensor = shared.repeat_interleave(ctx.repeats, dim=1)
        return repeated

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.unflatten(1, (-1, ctx.repeats)).sum(dim=2), None


class _Joined(Cheap):
    """Outputs of attention, [1, H, length, D] each, one behind the other. [1, N, H, D]."""

    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        ctx.save_for_backward(*parts)  # attention keeps them too
        return torch.cat([part.transpose(1, 2) for part in parts], dim=1)

    @staticmethod
    def again(ctx: Any) -> Tensor:
        return torch.cat([part.transpose(1, 2) for part in ctx.saved_tensors], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        lengths = [part.shape[2] for part in ctx.saved_tensors]
        return tuple(part.transpose(1, 2) for part in gradient.split(lengths, dim=1))


AttentionInterface.register(IMPLEMENTATION, attend_to_trees)
AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
