"""Gradients of embedding and head are summed in place: the numbers stay."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from align.scoring.logps import CompletionLogps
from align.scoring.scorer import Scorer
from align.scoring.weight_passes import (
    gradient_in_place,
    sum_embedding_in_place,
    summed_in_place,
)
from align.tokens.token_ids import TokenPair
from tests.conftest import make_model

PAIRS: list[TokenPair] = [((1, 2, 3, 4), (5, 6)), ((7, 8, 2), (9, 10, 11)), ((12,), (13, 14)), ((2, 2), (15, 2))]


def gradients(dtype: str, *, tied: bool, padding_id: int | None, in_place: bool) -> dict[str, torch.Tensor | None]:
    model = make_model(tied=tied, pad_token_id=padding_id)
    scorer = Scorer(CompletionLogps(model), torch.device("cpu"), dtype, 0, 100)
    with scorer.precision():
        for pair in PAIRS:
            value = scorer([pair]).sum()
            with torch.autocast("cpu", enabled=False), summed_in_place() if in_place else nullcontext():
                value.backward()
    return {name: each.grad for name, each in model.named_parameters()}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("padding_id", [None, 2])
def test_gradients_in_place_are_those_of_autograd(dtype: str, tied: bool, padding_id: int | None) -> None:
    ours = gradients(dtype, tied=tied, padding_id=padding_id, in_place=True)
    theirs = gradients(dtype, tied=tied, padding_id=padding_id, in_place=False)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    embedding = theirs["model.embed_tokens.weight"]
    assert embedding is not None
    assert bool(embedding[2].any()) == (padding_id is None or tied)


def test_the_embedding_gives_the_gradients_of_pytorchs_own() -> None:
    own, plain = (nn.Embedding(9, 4, padding_idx=3) for _ in range(2))
    plain.load_state_dict(own.state_dict())
    sum_embedding_in_place(own)
    ids, upstream = torch.tensor([[1, 3, 1], [8, 0, 3]]), torch.randn(2, 3, 4)
    torch.testing.assert_close(own(ids), plain(ids))
    (of_own,) = torch.autograd.grad(own(ids), own.weight, upstream)
    (of_plain,) = torch.autograd.grad(plain(ids), plain.weight, upstream)
    torch.testing.assert_close(of_own, of_plain)
    with torch.no_grad():
        assert not own(ids).requires_grad


def test_a_gradient_that_is_asked_for_is_given_and_not_summed() -> None:
    """Outside of the context `torch.autograd.grad` leaves `.grad` alone, as it promises."""
    model = make_model()
    scorer = Scorer(CompletionLogps(model), torch.device("cpu"), "float32", 0, 100)
    scorer(PAIRS).sum().backward()
    weight = model.get_input_embeddings().weight
    before = weight.grad.clone()
    (asked,) = torch.autograd.grad(scorer(PAIRS).sum(), weight)
    torch.testing.assert_close(asked, before)
    torch.testing.assert_close(weight.grad, before, atol=0, rtol=0)


def test_other_embeddings_are_left_as_they_are() -> None:
    class Scaled(nn.Embedding):
        """An embedding that does more."""

    for embedding in (Scaled(3, 2), nn.Embedding(3, 2, max_norm=1.0), nn.Embedding(3, 2, scale_grad_by_freq=True)):
        sum_embedding_in_place(embedding)
        assert not embedding._forward_hooks


def test_a_weight_without_a_gradient_has_none_to_add_to() -> None:
    weight = nn.Parameter(torch.ones(2))
    with summed_in_place():
        assert gradient_in_place(weight) is None
        weight.grad = torch.zeros(2)
        assert gradient_in_place(weight) is weight.grad
        assert gradient_in_place(weight * 2) is None
    assert gradient_in_place(weight) is None
