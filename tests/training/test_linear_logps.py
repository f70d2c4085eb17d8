"""The head's own backward pass gives the gradients of the plain computation, in chunks of any size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from align.scoring import linear_logps
from align.scoring.linear_logps import linear_token_logps
from align.scoring.logps import CompletionLogps
from align.scoring.scorer import Scorer
from tests.conftest import make_model


def drawn(positions: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(positions)
    hidden = torch.randn(positions, 8, generator=rng).to(dtype).requires_grad_()
    weight = torch.randn(50, 8, generator=rng).to(dtype).requires_grad_()
    return hidden, weight, torch.randint(50, (positions,), generator=rng)


@settings(max_examples=20, deadline=None)
@given(positions=st.integers(1, 40), chunk=st.integers(1, 50), words=st.integers(1, 60))
def test_values_and_gradients_are_those_of_the_whole_logits(positions: int, chunk: int, words: int) -> None:
    hidden, weight, targets = drawn(positions)
    upstream = torch.linspace(-2, 1, positions)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear_logps, "_WORDS_ON_CPU", words)
        ours = linear_token_logps(hidden, targets, weight, chunk=chunk)
        gradients = torch.autograd.grad(ours, (hidden, weight), upstream)
    plain = (hidden @ weight.T).log_softmax(-1).gather(1, targets[:, None]).squeeze(1)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradients, torch.autograd.grad(plain, (hidden, weight), upstream))


@pytest.mark.parametrize("words", [1, 7, 1024])
def test_gradients_in_bfloat16_are_near_those_of_the_whole_logits(words: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products in bfloat16 of weights in float32, whose gradients are added up in float32."""
    monkeypatch.setattr(linear_logps, "_WORDS_ON_CPU", words)
    hidden, weight, targets = drawn(30)
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            logps = linear_token_logps(hidden, targets, weight, chunk=8)
        found.append(torch.autograd.grad(logps.sum(), (hidden, weight)))
    for ours, exact in zip(*found, strict=True):
        assert ours.dtype == torch.float32
        assert float((ours - exact).norm() / exact.norm()) < 0.005


def test_a_frozen_head_gets_no_gradient() -> None:
    hidden, weight, targets = drawn(9)
    linear_token_logps(hidden, targets, weight.requires_grad_(False), chunk=4).sum().backward()
    assert weight.grad is None
    assert hidden.grad is not None


@pytest.mark.parametrize("words", [1, 7, 1024])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_huge_logits_stay_finite(dtype: torch.dtype, words: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits of thousands, the largest in any tile: log-probabilities are finite, gradients 0 or finite."""
    monkeypatch.setattr(linear_logps, "_WORDS_ON_CPU", words)
    hidden, weight, targets = drawn(6, dtype)
    logps = linear_token_logps(hidden * 1000, targets, weight, chunk=4)
    logps.sum().backward()
    assert logps.isfinite().all()
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


def test_passes_in_one_context_have_gradients_of_their_own() -> None:
    """Three passes in one bfloat16 context: their gradients sum up to those of three contexts."""
    pairs = [((1, 2, 3, 4), (5, 6)), ((7, 8), (9, 10, 11)), ((12,), (13, 14))]
    found = []
    for is_shared in (True, False):
        model = make_model()
        scorer = Scorer(CompletionLogps(model), torch.device("cpu"), "bfloat16", 0, 100)
        if is_shared:
            with scorer.precision():
                for pair in pairs:
                    value = scorer([pair]).sum()
                    with torch.autocast("cpu", enabled=False):
                        value.backward()
        else:
            for pair in pairs:
                scorer([pair]).sum().backward()
        found.append({name: each.grad for name, each in model.named_parameters()})
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-6)
