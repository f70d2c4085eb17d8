"""Layers that keep less for the backward pass: the same numbers, fewer bytes, and no layer that is not understood."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from align.config import AdapterConfig
from align.models.loading import load_policy
from align.scoring.lean_layers import keep_less
from tests.conftest import make_model
from tests.tiny_run import write_model

IDS = torch.tensor([[5, 9, 2, 14, 3, 8, 21, 4]])


def gradients(model: Any, dtype: str = "float32") -> dict[str, Tensor | None]:
    """Of the sum of squared logits."""
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
        logits = model(input_ids=IDS, use_cache=False).logits
    logits.float().square().sum().backward()
    return {name: each.grad for name, each in model.named_parameters()}


def kept_bytes(model: Any) -> int:
    """What the forward pass keeps for the backward pass, each piece of memory once; weights are not counted."""
    weights = {each.untyped_storage().data_ptr() for each in model.parameters()}
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(input_ids=IDS, use_cache=False).logits
    assert output.requires_grad
    return sum(seen.values())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_outputs_and_gradients_stay(dtype: str) -> None:
    ours, theirs = make_model(), make_model()
    layers = theirs.config.num_hidden_layers
    assert keep_less(ours) == 3 * layers + 1
    torch.testing.assert_close(ours(input_ids=IDS).logits, theirs(input_ids=IDS).logits, rtol=1e-6, atol=1e-6)
    rtol, atol = (1e-4, 1e-5) if dtype == "float32" else (0.05, 0.05)
    torch.testing.assert_close(gradients(ours, dtype), gradients(theirs, dtype), rtol=rtol, atol=atol)
    assert ours.state_dict().keys() == theirs.state_dict().keys()


def test_less_is_kept() -> None:
    """Of each token a number for each gate, and one for each hidden unit of a norm."""
    ours, theirs = make_model(), make_model()
    keep_less(ours)
    config = theirs.config
    gates = config.num_hidden_layers * config.intermediate_size
    norms = (2 * config.num_hidden_layers + 1) * config.hidden_size
    assert kept_bytes(theirs) - kept_bytes(ours) == 4 * IDS.numel() * (gates + norms)


def test_a_copy_learns_with_its_own_weights() -> None:
    model = make_model()
    keep_less(model)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for each in twin.parameters():
            each.mul_(2)
    alone = make_model()
    with torch.no_grad():
        for each in alone.parameters():
            each.mul_(2)
    torch.testing.assert_close(twin(input_ids=IDS).logits, alone(input_ids=IDS).logits)
    gradients(twin)
    assert all(each.grad is None for each in model.parameters())


def test_adapters_and_frozen_norms(tmp_path: Any) -> None:
    model = str(write_model(tmp_path / "model"))
    ours, theirs = (load_policy(model, adapter=AdapterConfig(enabled=True, rank=4), seed=3).model for _ in range(2))
    assert keep_less(ours) > 0
    found, wanted = gradients(ours), gradients(theirs)
    assert any(each is not None and bool(each.any()) for each in wanted.values())
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


class ShiftedRMSNorm(nn.Module):
    """As Gemma's: the weight stands for how far it is from 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((4,), 0.5))
        self.variance_epsilon = 1e-6

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon) * (1 + self.weight)


class BiasedRMSNorm(nn.Module):
    """With a bias that is 0 until it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(4))
        self.variance_epsilon = 1e-6

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon) * self.weight + self.bias


class GatedByGelu(nn.Module):
    """A gated layer with another activation."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 4)
        self.act_fn = activation

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))
        return found


@pytest.mark.parametrize(
    "layer",
    [
        ShiftedRMSNorm(),
        BiasedRMSNorm(),
        GatedByGelu(nn.GELU()),
        GatedByGelu(nn.SiLU()).to(torch.bfloat16),
        nn.RMSNorm(4),
    ],
    ids=["shifted norm", "norm with a bias", "another activation", "another dtype", "PyTorch's own"],
)
def test_other_layers_stay_as_they_are(layer: nn.Module) -> None:
    before = layer.forward
    assert keep_less(layer) == 0
    assert layer.forward == before


def test_any_gated_layer_of_silu_keeps_less() -> None:
    layer = GatedByGelu(nn.SiLU())
    assert keep_less(layer) == 1
    assert isinstance(layer(torch.ones(2, 4)), Tensor)
