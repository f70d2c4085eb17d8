"""What is computed again in the backward pass is the same, bit for bit, and is not kept."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from align.scoring import computed_again
from align.scoring.computed_again import Cheap, computing_again
from align.scoring.logps import CompletionLogps
from align.scoring.scorer import Scorer
from tests.conftest import make_model

# One prompt with two answers, and one with one.
PAIRS = [((1, 2, 3, 4, 5), (6, 7, 8)), ((9, 10), (11, 12, 13, 14)), ((1, 2, 3, 4, 5), (15, 16))]
Sizes = dict[int, int]


class Doubled(Cheap):
    """2x, and how often it was computed again."""

    times = 0
    last: weakref.ref[Tensor]

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return 2 * x

    @staticmethod
    def again(ctx: Any) -> Tensor:
        Doubled.times += 1
        (x,) = ctx.saved_tensors
        found = 2 * x
        Doubled.last = weakref.ref(found)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient


@contextmanager
def kept_sizes(monkeypatch: pytest.MonkeyPatch, weights: list[Tensor]) -> Iterator[Sizes]:
    """Bytes of what passes within `computing_again` keep, by where they lie; weights are not counted."""
    known = {each.untyped_storage().data_ptr() for each in weights}
    sizes: Sizes = {}
    hooks = torch.autograd.graph.saved_tensors_hooks

    def watching(pack: Callable[[Tensor], Any], unpack: Callable[[Any], Tensor]) -> AbstractContextManager[None]:
        def noted(tensor: Tensor) -> Any:
            kept = pack(tensor)
            if isinstance(kept, Tensor) and kept.untyped_storage().data_ptr() not in known:
                sizes[kept.untyped_storage().data_ptr()] = kept.untyped_storage().nbytes()
            return kept

        return hooks(noted, unpack)

    with monkeypatch.context() as patched:
        patched.setattr(torch.autograd.graph, "saved_tensors_hooks", watching)
        yield sizes


def learned(dtype: str, *, use_trees: bool, context: Any) -> tuple[Tensor, dict[str, Tensor | None]]:
    """Values and gradients of a weighted sum of the log-probabilities of some pairs."""
    model = make_model()
    scorer = Scorer(CompletionLogps(model, 4), torch.device("cpu"), dtype, 0, 1000, use_trees)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("align.scoring.logps.computing_again", context)
        values = scorer(PAIRS)
    (values * torch.tensor([1.0, -2.0, 0.5])).sum().backward()
    return values.detach(), {name: each.grad for name, each in model.named_parameters()}


@pytest.mark.parametrize("use_trees", [True, False], ids=["trees", "padded"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_values_and_gradients_are_the_same_bit_for_bit(dtype: str, use_trees: bool) -> None:
    again = learned(dtype, use_trees=use_trees, context=computing_again)
    kept = learned(dtype, use_trees=use_trees, context=nullcontext)
    torch.testing.assert_close(again, kept, rtol=0, atol=0)
    assert all(each is not None and bool(each.any()) for each in again[1].values())


def test_a_token_keeps_what_nothing_gives_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each layer two residuals, queries, keys and values once for all heads that share them, their outcome, and both
    gates; of no norm, repeated key, joined outcome or product of gates a number."""
    model = make_model()
    scored = CompletionLogps(model)
    scorer = Scorer(scored, torch.device("cpu"), "float32", 0, 1000)
    found = {}
    for length in (50, 150):
        with kept_sizes(monkeypatch, list(model.parameters())) as sizes:
            scorer([((7,) * (length - 8), (8,) * 9)])
        found[length] = sum(sizes.values())
    config = model.config
    hidden, shared = config.hidden_size, config.hidden_size * config.num_key_value_heads // config.num_attention_heads
    kept = 2 * hidden + hidden + 2 * shared + hidden + 2 * config.intermediate_size
    # a normalizer for each norm and each head; beside the layers: the last residual, angles of positions, an id
    kept += 2 + config.num_attention_heads
    beside = hidden + 1 + 2 * hidden // config.num_attention_heads + 2
    assert found[150] - found[50] == 100 * 4 * (config.num_hidden_layers * kept + beside)


@pytest.mark.parametrize(
    ("seen", "is_kept"),
    [
        (lambda y: y, False),
        (lambda y: y.view(6, 2), False),
        (lambda y: y.bfloat16().view(6, 2), False),
        (lambda y: y[None], False),
        (lambda y: y[1:], True),
        (lambda y: y.T, True),
        (lambda y: y.T.reshape(12), True),
        (lambda y: y.bfloat16().float(), True),
        (lambda y: y + 0, True),
        (lambda y: y.add_(1), True),
    ],
    ids=["itself", "view", "rounded", "one more axis", "part", "turned", "in another order", "twice", "sum", "changed"],
)
def test_only_the_whole_result_in_its_order_is_given_again(seen: Callable[[Tensor], Tensor], is_kept: bool) -> None:
    x = torch.arange(12, dtype=torch.float32).view(3, 4).div_(7).requires_grad_()
    Doubled.times = 0
    with computing_again():
        found = seen(Doubled.apply(x))
        squared = found.square()
    squared.sum().backward()
    assert Doubled.times == (0 if is_kept else 1)
    twin = x.detach().clone().requires_grad_()
    seen(2 * twin).square().sum().backward()
    torch.testing.assert_close(x.grad, twin.grad, rtol=0, atol=0)


def test_a_result_that_does_not_lie_in_its_order_is_given_again() -> None:
    x = torch.arange(12, dtype=torch.float32).view(3, 4).div_(7).requires_grad_()
    Doubled.times = 0
    with computing_again():
        squared = Doubled.apply(x.T)[None].square()
    squared.backward(torch.arange(12.0).view(1, 4, 3))
    assert Doubled.times == 1
    torch.testing.assert_close(x.grad, 8 * x.detach() * torch.arange(12.0).view(4, 3).T)


def test_those_that_ask_one_after_the_other_share_one_result() -> None:
    x = torch.ones(3, 4, requires_grad=True)
    with computing_again():
        y = Doubled.apply(x)
        total = (y.square() + y.exp() * y.sin()).sum()
    Doubled.times = 0
    total.backward(retain_graph=True)
    assert Doubled.times == 1
    assert Doubled.last() is None, "nobody holds it when the last one has asked"
    first = x.grad.clone() if x.grad is not None else None
    x.grad = None
    total.backward()
    torch.testing.assert_close(x.grad, first, rtol=0, atol=0)


def test_nothing_is_packed_without_a_gradient() -> None:
    with torch.no_grad(), computing_again():
        assert Doubled.apply(torch.ones(2)).grad_fn is None
    assert computed_again._source(torch.ones(2)) is None


@pytest.mark.parametrize("is_turned", [True, False])
def test_a_rounded_weight_is_not_kept_and_gradients_stay(is_turned: bool) -> None:
    weight, x = torch.randn(3, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    kept: list[Any] = []

    def product() -> Tensor:
        rounded = weight.to(torch.bfloat16)
        return x.to(torch.bfloat16) @ (rounded.t() if is_turned else rounded)

    with computing_again():
        ours = product()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        theirs = product()
    assert any(one.shape == (3, 3) for one in kept), "autograd itself keeps the rounded weight"
    upstream = torch.ones_like(ours)
    asked = (x, weight)
    for one, other in zip(
        torch.autograd.grad(ours, asked, upstream),
        torch.autograd.grad(theirs, asked, upstream),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_weight_that_was_changed_before_its_backward_pass_is_refused() -> None:
    weight, x = torch.randn(3, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    with computing_again():
        value = (x.to(torch.bfloat16) @ weight.to(torch.bfloat16)).sum()
    with torch.no_grad():
        weight.add_(1)
    with pytest.raises(RuntimeError, match="a weight was changed"):
        value.backward()


def test_a_rounding_of_what_is_no_weight_is_kept() -> None:
    """Computed weights, such as those of an adapter, would have to be computed again first."""
    weight = torch.randn(3, 3, requires_grad=True)
    assert computed_again._rounded_weight((2 * weight).to(torch.bfloat16)) is None
    assert computed_again._rounded_weight(weight.clone()) is None
    assert computed_again._rounded_weight(weight.to(torch.float32, copy=True)) is None
    assert computed_again._rounded_weight(weight.to("meta", torch.bfloat16)) is None
    assert computed_again._rounded_weight(weight.to(torch.bfloat16) + 1) is None
    assert computed_again._rounded_weight(weight.to(torch.bfloat16)[1:]) is None
    assert isinstance(computed_again._rounded_weight(weight.to(torch.bfloat16).t()), computed_again._Rounded)
