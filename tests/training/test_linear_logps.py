"""The head's own backward pass gives the gradients of the plain computation, in chunks of any size."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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
@given(positions=st.integers(1, 40), chunk=st.integers(1, 50))
def test_values_and_gradients_are_those_of_the_whole_logits(positions: int, chunk: int) -> None:
    hidden, weight, targets = drawn(positions)
    upstream = torch.linspace(-2, 1, positions)
    ours = linear_token_logps(hidden, targets, weight, chunk=chunk)
    plain = (hidden @ weight.T).log_softmax(-1).gather(1, targets[:, None]).squeeze(1)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(ours, (hidden, weight), upstream), torch.autograd.grad(plain, (hidden, weight), upstream)
    )


def test_a_frozen_head_gets_no_gradient() -> None:
    hidden, weight, targets = drawn(9)
    linear_token_logps(hidden, targets, weight.requires_grad_(False), chunk=4).sum().backward()
    assert weight.grad is None
    assert hidden.grad is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_huge_logits_stay_finite(dtype: torch.dtype) -> None:
    """Logits of thousands: log-probabilities are finite, gradients 0 or finite."""
    hidden, weight, targets = drawn(6, dtype)
    logps = linear_token_logps(hidden * 1000, targets, weight, chunk=4)
    logps.sum().backward()
    assert logps.isfinite().all()
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


def test_weights_rounded_once_have_gradients_in_every_pass() -> None:
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
