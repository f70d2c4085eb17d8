"""Matrix products in float32 by oneDNN, on processors for which PyTorch's own choice has no wide instructions.

    AMD with AVX-512     MKL computes with half of its width, oneDNN with all of it: two to four times as fast
    any other            PyTorch's own product

What is chosen depends on the processor and on sizes alone, never on a clock: a run that is resumed computes as before.
Values differ from MKL's as those of any two orders of summation do. Products in bfloat16 go through oneDNN by
themselves.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from types import MethodType
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = ["is_wider", "multiply", "use_wide_products"]

_CPU_INFO: Final = Path("/proc/cpuinfo")
_VENDOR: Final = "AuthenticAMD"
_LEAST_WEIGHTS: Final = 2**16
_LEAST_ROWS: Final = 16
"""Below, a product takes less time than choosing its kernel."""


@cache
def is_wider() -> bool:
    """Whether oneDNN has wider instructions here than what PyTorch calls by itself."""
    if platform.machine() != "x86_64" or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    try:
        return _VENDOR in _CPU_INFO.read_text("utf-8")[:1000]
    except OSError:  # not Linux
        return False


def multiply(left: Tensor, right: Tensor) -> Tensor:
    """`left @ right`, without a gradient.

    Args:
        left: [M, K].
        right: [K, N], of the same dtype.
    """
    return _linear(left, right.t()) if _is_ours(left, right) else left @ right


def use_wide_products(model: nn.Module) -> int:
    """Let a model's linear layers multiply as `multiply` does, where that is faster.

    Weights, their names and saved files stay as they are.

    Args:
        model: any; it is changed in place.

    Returns:
        How many layers do.
    """
    if not is_wider():
        return 0
    layers = [each for each in model.modules() if type(each) is nn.Linear and "forward" not in vars(each)]
    for layer in layers:
        # a bound method: a deep copy of the module is bound to the copy
        layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]
    return len(layers)


def _forward(layer: Any, x: Tensor) -> Tensor:
    weight, bias = layer.weight, layer.bias
    if torch.is_autocast_enabled(x.device.type) or not _is_ours(x, weight):
        return functional.linear(x, weight, bias)
    product: Tensor = _Linear.apply(x, weight)
    return product if bias is None else product + bias


def _is_ours(left: Tensor, weights: Tensor) -> bool:
    return (
        left.dtype == weights.dtype == torch.float32
        and left.device.type == "cpu"
        and weights.numel() >= _LEAST_WEIGHTS
        and left.numel() >= _LEAST_ROWS * left.shape[-1]
        and is_wider()
    )


def _linear(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight.T`, of any strides."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return product


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _linear(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows, flat = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
        of_x = _linear(flat, weight.t()).view_as(x) if ctx.needs_input_grad[0] else None
        return of_x, _linear(flat.t(), rows.t()) if ctx.needs_input_grad[1] else None
