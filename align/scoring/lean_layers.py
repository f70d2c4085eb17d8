"""Norms and gated feed-forward layers that keep less for the backward pass, with the numbers of the model's own.

    RMS norm      x / rms(x) * weight       keeps x and one number a token, not x / rms(x)
    gated layer   silu(gate) * up           keeps gate and up, not silu(gate)

What is not kept is computed again from what is: a pass over numbers, no matrix product. Nor do the products behind them
keep their results, see `align.scoring.computed_again`. A layer is asked, not believed: ours takes the place of a
model's only where both give the same outputs and gradients for drawn inputs.

Source of the norm: Zhang and Sennrich 2019, arXiv:1910.07467; of the layer: Shazeer 2020, arXiv:2002.05202 (SwiGLU).
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from align.scoring.computed_again import Cheap

__all__ = ["keep_less"]

_PROBE_SHAPE: Final = (2, 3)
_PARTS_OF_GATED: Final = {"gate_proj", "up_proj", "down_proj", "act_fn"}
_TOLERANCE: Final = 1e-5


def keep_less(model: nn.Module) -> int:
    """Let a model's norms and gated layers keep less for the backward pass, where they are known ones.

    Weights, their names and saved files stay as they are. Where the model is on no device yet, or in another dtype than
    float32, nothing changes.

    Args:
        model: any; it is changed in place.

    Returns:
        How many layers keep less.
    """
    asked: dict[str, bool] = {}
    changed = 0
    for module in model.modules():
        ours = _ours(module)
        if ours is None:
            continue
        kind = f"{type(module)} {module}"  # layers of one class and one shape answer alike
        if kind not in asked:
            asked[kind] = _is_same(module, ours)
        if asked[kind]:
            # a bound method: a deep copy of the module is bound to the copy
            module.forward = MethodType(ours, module)
            changed += 1
    return changed


def _ours(module: nn.Module) -> Callable[[Any, Tensor], Tensor] | None:
    """What would take the place of a module's forward, by its parts; None for other modules."""
    if type(module).__name__.endswith("RMSNorm"):
        has_weight = [name for name, _ in module.named_parameters()] == ["weight"]
        return _norm if has_weight and isinstance(getattr(module, "variance_epsilon", None), float) else None
    if {name for name, _ in module.named_children()} == _PARTS_OF_GATED:
        return _gated
    return None


def _norm(module: Any, hidden_states: Tensor) -> Tensor:
    normed: Tensor = _Norm.apply(hidden_states, module.weight, module.variance_epsilon)
    return normed


def _gated(module: Any, x: Tensor) -> Tensor:
    down: Tensor = module.down_proj(_Gated.apply(module.gate_proj(x), module.up_proj(x)))
    return down


def _is_same(module: Any, ours: Callable[[Any, Tensor], Tensor]) -> bool:
    """Whether both forwards give the same output and gradients for drawn inputs."""
    parameters = list(module.parameters())
    if any(each.dtype != torch.float32 or each.is_meta for each in parameters):
        return False
    width = module.weight.shape[0] if ours is _norm else getattr(module.gate_proj, "in_features", 0)
    if not width:
        return False
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(*_PROBE_SHAPE, width, generator=generator).to(parameters[0].device)
    asked = parameters if ours is _norm else []  # products of a gated layer stay the model's own
    theirs = _answers(module.forward, drawn, asked)
    found = _answers(MethodType(ours, module), drawn, asked)
    return all(_is_close(one, other) for one, other in zip(found, theirs, strict=True))


def _answers(forward: Callable[[Tensor], Tensor], drawn: Tensor, parameters: list[Tensor]) -> list[Tensor | None]:
    """Output and gradients of a forward; None for what has no gradient."""
    with torch.enable_grad():
        x = drawn.clone().requires_grad_()
        output = forward(x)
        wanted = [x, *(each for each in parameters if each.requires_grad)]
        slopes = torch.linspace(-1, 1, output.numel(), device=output.device).view_as(output)
        return [output, *torch.autograd.grad((slopes * output).sum(), wanted, allow_unused=True)]


def _is_close(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    ours, theirs = one.detach(), other.detach()
    largest = float(theirs.abs().max()) + 1e-30
    return ours.shape == theirs.shape and float((ours - theirs).abs().max()) <= _TOLERANCE * largest


class _Norm(Cheap):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        wide = x.float()
        scale = wide.square().mean(-1, keepdim=True).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return _Norm._of(wide, scale, weight, x.dtype)

    @staticmethod
    def again(ctx: Any) -> Tensor:
        x, weight, scale = ctx.saved_tensors
        return _Norm._of(x.float(), scale, weight, x.dtype)

    @staticmethod
    def _of(wide: Tensor, scale: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
        return (wide * scale).to(dtype) * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight, scale = ctx.saved_tensors
        normed = x.float() * scale
        wide = gradient.float()
        of_weight = (wide * normed).flatten(0, -2).sum(0).to(weight.dtype) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, of_weight, None
        inner = wide * weight
        share = (inner * normed).mean(-1, keepdim=True)
        return inner.sub_(normed.mul_(share)).mul_(scale).to(x.dtype), of_weight, None


class _Gated(Cheap):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def again(ctx: Any) -> Tensor:
        gate, up = ctx.saved_tensors
        return functional.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        of_up = functional.silu(gate).mul_(gradient)
        return torch.ops.aten.silu_backward(gradient * up, gate), of_up
