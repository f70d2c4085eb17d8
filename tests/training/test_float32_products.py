"""Products by oneDNN have the values and gradients of PyTorch's own, and are taken where they are faster only."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForSequenceClassification

from align.scoring import float32_products
from align.scoring.computed_again import computing_again
from align.scoring.float32_products import multiply, use_wide_products
from align.scoring.logps import CompletionLogps
from align.scoring.scorer import Scorer
from align.scoring.sequence_rewards import SequenceRewards
from tests.conftest import make_model

PAIRS = [((1, 2, 3, 4, 5, 6, 7), tuple(range(8, 40))), ((1, 2, 3, 4, 5, 6, 7), (9, 10))]
WIDE = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 4}

needs_onednn = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")),
    reason="this PyTorch has no oneDNN",
)


@pytest.fixture
def wider(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """As on a processor on which oneDNN is faster; the shapes of the weights of all its products."""
    seen: list[torch.Size] = []
    own = float32_products._linear
    monkeypatch.setattr(float32_products, "is_wider", lambda: True)
    monkeypatch.setattr(float32_products, "_linear", lambda x, weight: seen.append(weight.shape) or own(x, weight))
    return seen


def results(model: nn.Module, dtype: str) -> list[torch.Tensor | None]:
    scorer = Scorer(CompletionLogps(model), torch.device("cpu"), dtype, 0, 1000)
    values = scorer(PAIRS)
    (values * torch.tensor([1.0, -2.0])).sum().backward()
    return [values.detach(), *(each.grad for each in model.parameters())]


@needs_onednn
def test_a_model_has_the_same_values_and_gradients(wider: list[torch.Size], monkeypatch: pytest.MonkeyPatch) -> None:
    ours = results(make_model(**WIDE), "float32")
    assert {(512, 256), (256, 512), (256, 256)} <= set(wider)
    with monkeypatch.context() as patch:
        patch.setattr(float32_products, "is_wider", lambda: False)
        count = len(wider)
        theirs = results(make_model(**WIDE), "float32")
        assert len(wider) == count
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


@needs_onednn
def test_products_in_bfloat16_stay_pytorchs_own(wider: list[torch.Size], monkeypatch: pytest.MonkeyPatch) -> None:
    ours = results(make_model(**WIDE), "bfloat16")
    assert not wider
    monkeypatch.setattr(float32_products, "is_wider", lambda: False)
    torch.testing.assert_close(ours, results(make_model(**WIDE), "bfloat16"), atol=0, rtol=0)


@needs_onednn
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_layer_with_and_without_a_bias(has_bias: bool, wider: list[torch.Size]) -> None:
    layer, x = nn.Linear(256, 300, bias=has_bias), torch.randn(2, 20, 256, requires_grad=True)
    plain = copy.deepcopy(layer)
    assert use_wide_products(layer) == 1
    assert use_wide_products(layer) == 0, "once"
    twin = copy.deepcopy(layer)
    assert twin.forward.__self__ is twin
    with computing_again():
        ours = layer(x)
    upstream = torch.randn_like(ours)
    asked = torch.autograd.grad(ours, (x, *layer.parameters()), upstream)
    expected = torch.autograd.grad(plain(x), (x, *plain.parameters()), upstream)
    assert len(wider) == 3
    torch.testing.assert_close(ours, plain(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(asked, expected, atol=1e-4, rtol=1e-4)


@needs_onednn
def test_frozen_weights_and_inputs_get_no_gradient(wider: list[torch.Size]) -> None:
    layer = nn.Linear(256, 256, bias=False)
    use_wide_products(layer)
    layer.weight.requires_grad_(False)
    x = torch.randn(16, 256, requires_grad=True)
    layer(x).sum().backward()
    assert (layer.weight.grad, len(wider)) == (None, 2)
    layer.weight.requires_grad_(True)
    layer(x.detach()).sum().backward()
    assert layer.weight.grad is not None
    assert len(wider) == 4


@needs_onednn
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
def test_a_product_of_any_strides(turned: tuple[bool, bool], wider: list[torch.Size]) -> None:
    left, right = torch.randn(40, 300), torch.randn(300, 256)
    if turned[0]:
        left = left.t().contiguous().t()
    if turned[1]:
        right = right.t().contiguous().t()
    torch.testing.assert_close(multiply(left, right), left @ right, atol=1e-4, rtol=1e-5)
    assert wider == [torch.Size([256, 300])]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (torch.zeros(15, 256), torch.zeros(256, 256)),
        (torch.zeros(16, 255), torch.zeros(255, 256)),
        (torch.zeros(16, 256, dtype=torch.float64), torch.zeros(256, 256, dtype=torch.float64)),
        (torch.zeros(16, 256, dtype=torch.bfloat16), torch.zeros(256, 256, dtype=torch.bfloat16)),
    ],
    ids=["few rows", "few weights", "float64", "bfloat16"],
)
def test_other_products_are_pytorchs_own(left: torch.Tensor, right: torch.Tensor, wider: list[torch.Size]) -> None:
    torch.testing.assert_close(multiply(left, right), left @ right)
    assert not wider


@needs_onednn
@pytest.mark.parametrize(
    ("told", "capability", "machine", "expected"),
    [
        ("vendor_id\t: AuthenticAMD\n", "AVX512", "x86_64", True),
        ("vendor_id\t: GenuineIntel\n", "AVX512", "x86_64", False),
        ("vendor_id\t: AuthenticAMD\n", "AVX2", "x86_64", False),
        ("vendor_id\t: AuthenticAMD\n", "AVX512", "arm64", False),
        (None, "AVX512", "x86_64", False),
    ],
)
def test_the_processor_decides(
    told: str | None, capability: str, machine: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "cpuinfo"
    if told is not None:
        place.write_text(f"processor\t: 0\n{told}", "utf-8")
    monkeypatch.setattr(float32_products, "_CPU_INFO", place)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    monkeypatch.setattr("platform.machine", lambda: machine)
    asked: Any = float32_products.is_wider
    assert asked.__wrapped__() is expected


def test_a_model_is_left_as_it_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float32_products, "is_wider", lambda: False)
    model = make_model()
    assert use_wide_products(model) == 0
    assert all("forward" not in vars(each) for each in model.modules())


@needs_onednn
def test_a_layer_answers_in_inference_mode(wider: list[torch.Size]) -> None:
    """As in generation."""
    layer = nn.Linear(256, 256)
    use_wide_products(layer)
    with torch.inference_mode():
        x = torch.randn(4, 5, 256)
        torch.testing.assert_close(layer(x), nn.functional.linear(x, layer.weight, layer.bias), atol=1e-5, rtol=1e-5)
    assert len(wider) == 1


@needs_onednn
def test_a_reward_model_multiplies_so_too(wider: list[torch.Size], monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for is_wide in (True, False):
        monkeypatch.setattr(float32_products, "is_wider", lambda is_wide=is_wide: is_wide)
        torch.manual_seed(0)
        config = LlamaConfig(vocab_size=300, num_hidden_layers=1, num_labels=1, pad_token_id=0, **WIDE)
        module = SequenceRewards(LlamaForSequenceClassification(config))
        ids = torch.arange(1, 41).view(2, 20)
        rewards = module(ids, torch.ones_like(ids), torch.ones_like(ids, dtype=torch.bool))
        rewards.sum().backward()
        found.append([rewards, *(each.grad for each in module.parameters())])
    assert (512, 256) in wider
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)
