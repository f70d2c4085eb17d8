"""Results that are not kept for the backward pass, because what they were made of is kept anyway.

    keeps x       ─► norm ──► q, k, v, gate, up each keep its result     here: nothing; the norm again from x
    keeps g, u    ─► silu(g) * u ──► the next product keeps it           here: nothing; the product again from g and u
    a weight      ─► rounded to bfloat16 ──► its product keeps it        here: nothing; it is rounded again

A step that is cheap beside a matrix product is a `Cheap` function: it can say its result again. Whatever autograd wants
to keep within `computing_again` is looked at, and where it is such a result, maybe seen through views and rounded once,
only the step is remembered. Values are the same, bit for bit: the same operation on the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor

__all__ = ["Cheap", "computing_again"]

_VIEWS: Final = {"ViewBackward0", "UnsafeViewBackward0", "ReshapeAliasBackward0", "UnsqueezeBackward0"}
_CAST: Final = "ToCopyBackward0"
_TURN: Final = "TBackward0"
_LEAF: Final = "torch::autograd::AccumulateGrad"


class Cheap(torch.autograd.Function):
    """A function of autograd whose result can be had again from what it saves for its own backward pass."""

    @staticmethod
    def again(ctx: Any) -> Tensor:
        """The very result of the forward pass.

        Args:
            ctx: of the forward pass, with its saved tensors.
        """
        raise NotImplementedError


class _Result:
    """A result of a cheap function that others want to keep: held while they ask for it, one after the other."""

    def __init__(self, ctx: Any) -> None:
        self.ctx = ctx
        self.asked = 0
        self._held: dict[torch.dtype, Tensor] = {}

    @torch.no_grad()
    def get(self, dtype: torch.dtype) -> Tensor:
        """The result, rounded to a dtype."""
        self.asked -= 1
        if dtype not in self._held:
            self._held[dtype] = type(self.ctx)._forward_cls.again(self.ctx).to(dtype)
        found = self._held[dtype]
        if self.asked <= 0:
            self._held.clear()
        return found


class _Packed:
    """What is kept in the place of a tensor."""

    __slots__ = ("dtype", "result", "shape")

    def __init__(self, result: _Result, tensor: Tensor) -> None:
        self.result, self.dtype, self.shape = result, tensor.dtype, tensor.shape
        result.asked += 1


class _Rounded:
    """What is kept in the place of a weight that was rounded for a product."""

    __slots__ = ("dtype", "is_turned", "version", "weight")

    def __init__(self, weight: Tensor, dtype: torch.dtype, *, is_turned: bool) -> None:
        self.weight, self.dtype, self.is_turned, self.version = weight, dtype, is_turned, weight._version

    @torch.no_grad()
    def get(self) -> Tensor:
        """The weight, rounded again.

        Raises:
            RuntimeError: it was changed since.
        """
        if self.weight._version != self.version:
            raise RuntimeError("a weight was changed between a forward pass and its backward pass")
        found = self.weight.to(self.dtype)
        return found.t() if self.is_turned else found


@contextmanager
def computing_again() -> Iterator[None]:
    """A context for forward passes: results of cheap functions are not kept for the backward pass."""
    results: dict[int, _Result] = {}

    def pack(tensor: Tensor) -> Tensor | _Packed | _Rounded:
        """What is kept in the place of a tensor."""
        ctx = _source(tensor)
        if ctx is None:
            return _rounded_weight(tensor) or tensor
        # The step is held by its result, so nothing else can get its id.
        return _Packed(results.setdefault(id(ctx), _Result(ctx)), tensor)

    with torch.autograd.graph.saved_tensors_hooks(pack, _unpack):
        yield


def _unpack(kept: Tensor | _Packed | _Rounded) -> Tensor:
    if isinstance(kept, _Rounded):
        return kept.get()
    return kept.result.get(kept.dtype).reshape(kept.shape) if isinstance(kept, _Packed) else kept


def _source(tensor: Tensor) -> Any:
    """The cheap function whose whole result a tensor holds, in the same order; None of any other tensor."""
    node: Any = tensor.grad_fn
    casts = 0
    while node is not None and not _is_cheap(node):
        name = node.name()
        casts += name == _CAST
        if casts > 1 or not (name == _CAST or name in _VIEWS):
            return None
        node = node.next_functions[0][0]
    return node


def _is_cheap(node: Any) -> bool:
    return issubclass(getattr(type(node), "_forward_cls", object), Cheap)


def _rounded_weight(tensor: Tensor) -> _Rounded | None:
    """The weight that a tensor is a rounding of, maybe turned; None of any other tensor."""
    node: Any = tensor.grad_fn
    is_turned = node is not None and node.name() == _TURN
    if is_turned:
        node = node.next_functions[0][0]
    if node is None or node.name() != _CAST:
        return None
    leaf = node.next_functions[0][0]
    if leaf is None or leaf.name() != _LEAF:
        return None
    weight: Tensor = leaf.variable
    # Any other copy was made for another reason, and is not had again by rounding.
    is_rounding = weight.dtype != tensor.dtype and weight.device == tensor.device
    return _Rounded(weight, tensor.dtype, is_turned=is_turned) if is_rounding else None
