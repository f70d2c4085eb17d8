"""Completion log-probabilities: equal to the plain computation, and never a [tokens, vocabulary] matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from align.batches.collate import Sequences, collate
from align.scoring.logps import CompletionLogps, stream_token_logps
from schemas.errors import ModelError, ShapeError

ROWS = [(5, 3), (1, 9), (12, 1), (4, 17)]


def batch(lengths: list[tuple[int, int]], *, vocab: int = 300, seed: int = 0) -> Sequences:
    rng = torch.Generator().manual_seed(seed)
    pairs = [tuple(torch.randint(vocab, (n,), generator=rng).tolist() for n in lengths) for lengths in lengths]
    return collate(pairs, pad_id=0)  # type: ignore[arg-type]


def plain(model: Any, sequences: Sequences) -> torch.Tensor:
    """The whole logits, float32 log-softmax, gather, mask, sum."""
    logits = model(input_ids=sequences.input_ids, attention_mask=sequences.attention_mask).logits
    logps = logits[:, :-1].float().log_softmax(-1).gather(2, sequences.input_ids[:, 1:, None]).squeeze(2)
    return (logps * sequences.completion_mask[:, 1:]).sum(1)


def score(module: CompletionLogps, sequences: Sequences) -> torch.Tensor:
    logps: torch.Tensor = module(sequences.input_ids, sequences.attention_mask, sequences.completion_mask)
    return logps


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("head_tokens", [1, 4, 512])
def test_values_and_gradients_equal_the_plain_computation(model_factory: Any, tied: bool, head_tokens: int) -> None:
    model, sequences = model_factory(tied=tied), batch(ROWS)
    ours, theirs = score(CompletionLogps(model, head_tokens), sequences), plain(model, sequences)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-6)
    weight = torch.tensor([1.0, -2.0, 0.5, 3.0])
    torch.testing.assert_close(
        gradients(model, (ours * weight).sum()), gradients(model, (theirs * weight).sum()), atol=1e-5, rtol=1e-5
    )


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=6), st.integers(1, 40))
def test_a_batch_equals_its_rows_alone(tiny_model: Any, lengths: list[tuple[int, int]], head_tokens: int) -> None:
    """Masked equals removed: padding and the other rows change nothing."""
    module = CompletionLogps(tiny_model, head_tokens)
    sequences = batch(lengths)
    with torch.no_grad():
        together = score(module, sequences)
        for row, (prompt, completion) in enumerate(lengths):
            end = prompt + completion
            alone = Sequences(
                sequences.input_ids[row : row + 1, :end],
                sequences.attention_mask[row : row + 1, :end],
                sequences.completion_mask[row : row + 1, :end],
            )
            torch.testing.assert_close(together[row], score(module, alone)[0], atol=1e-4, rtol=1e-6)


def test_what_stands_on_padding_does_not_count(tiny_model: Any) -> None:
    module, sequences = CompletionLogps(tiny_model), batch(ROWS)
    other = sequences.input_ids.masked_fill(sequences.attention_mask == 0, 77)
    with torch.no_grad():
        changed = module(other, sequences.attention_mask, sequences.completion_mask)
        torch.testing.assert_close(score(module, sequences), changed, atol=1e-6, rtol=0)


def test_an_empty_mask_scores_0(tiny_model: Any) -> None:
    sequences = batch([(3, 2)])
    logps = CompletionLogps(tiny_model)(
        sequences.input_ids, sequences.attention_mask, torch.zeros_like(sequences.completion_mask)
    )
    assert logps.tolist() == [0.0]


class LargestTensor(TorchDispatchMode):
    """Remembers the largest tensor that any operation made, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.operations += 1
        for each in out if isinstance(out, tuple | list) else [out]:
            if isinstance(each, torch.Tensor):
                self.numel = max(self.numel, each.numel())
        return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_tensor_is_tokens_by_vocabulary(model_factory: Any, dtype: torch.dtype) -> None:
    """With 240 completion tokens, 4096 words and chunks of 16, nothing exceeds the head's own [V, H] weight."""
    vocab, head_tokens = 4096, 16
    model = model_factory(vocab_size=vocab).to(dtype)
    module, sequences = CompletionLogps(model, head_tokens), batch([(8, 120), (8, 120)], vocab=vocab)
    largest = max(vocab * 32, vocab * head_tokens)
    with LargestTensor() as forward:
        loss = score(module, sequences).sum()
    with LargestTensor() as backward:
        loss.backward()
    with LargestTensor() as control:
        plain(model, sequences)
    assert forward.numel <= largest
    assert backward.numel <= largest
    assert backward.operations > 100
    assert control.numel >= 240 * vocab


def test_autocast_is_the_same_in_the_recomputed_pass(tiny_model: Any) -> None:
    """Float32 weights under bfloat16 autocast: values and gradients are those of the whole logits under autocast."""
    sequences, module = batch(ROWS), CompletionLogps(tiny_model, 4)
    results = []
    for function in (lambda: score(module, sequences), lambda: plain(tiny_model, sequences)):
        with torch.autocast("cpu", torch.bfloat16):
            logps = function()
        results.append((logps.detach(), gradients(tiny_model, logps.sum())))
    assert results[0][0].dtype == torch.float32
    torch.testing.assert_close(results[0], results[1], atol=0.05, rtol=0.02)


def test_nothing_is_kept_for_backward_without_gradients(tiny_model: Any) -> None:
    with torch.no_grad():
        assert not score(CompletionLogps(tiny_model), batch(ROWS)).requires_grad


def test_log_softmax_is_float32_for_bfloat16_hidden_states() -> None:
    """A completion below -300 nats, where bfloat16 steps by 2, differs from float64 by float32 rounding only."""
    rng = torch.Generator().manual_seed(0)
    hidden = torch.randn(50, 32, generator=rng).bfloat16()
    head = torch.nn.Linear(32, 1000, bias=False).bfloat16()
    targets = torch.randint(1000, (50,), generator=rng)
    ours = stream_token_logps(hidden, targets, head, head_tokens=7)
    exact = head(hidden).double().log_softmax(-1).gather(1, targets[:, None]).squeeze(1)
    assert ours.dtype == torch.float32
    assert exact.sum() < -300
    torch.testing.assert_close(ours.double(), exact, atol=1e-5, rtol=0)


def test_a_model_in_bfloat16_is_within_its_own_rounding(model_factory: Any) -> None:
    model, sequences = model_factory().bfloat16(), batch(ROWS)
    with torch.no_grad():
        torch.testing.assert_close(
            score(CompletionLogps(model), sequences), plain(model, sequences), atol=0.5, rtol=0.01
        )


def llama_like(kind: str, **changes: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind,
        **{
            "vocab_size": 300,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "bos_token_id": None,
            "eos_token_id": None,
            "pad_token_id": None,
        }
        | changes,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():  # large enough weights that a cap or a scale shows
        model.get_output_embeddings().weight.mul_(50)
    return model


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("gemma2", {"final_logit_softcapping": 5.0, "query_pre_attn_scalar": 8}),
        ("gemma3_text", {"final_logit_softcapping": 5.0}),
        ("granite", {"logits_scaling": 8.0}),
        ("cohere", {"logit_scale": 0.0625}),
        ("qwen3", {}),
        ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4}),
        ("gpt_neox", {}),
    ],
)
def test_families_that_change_their_logits_are_scored_as_they_do(kind: str, changes: dict[str, Any]) -> None:
    """Soft caps and scales after the head are applied, in float32."""
    model, sequences = llama_like(kind, **changes), batch(ROWS)
    ours, theirs = score(CompletionLogps(model, 4), sequences), plain(model, sequences)
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(gradients(model, ours.sum()), gradients(model, theirs.sum()), atol=1e-3, rtol=1e-3)


def test_a_model_that_changes_its_logits_in_an_unknown_way_is_refused(tiny_model: Any) -> None:
    forward: Callable[..., Any] = tiny_model.forward

    def doubled(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        out.logits = out.logits * 2
        return out

    tiny_model.forward = doubled
    with pytest.raises(ModelError, match="LlamaForCausalLM: the model changes its logits"):
        CompletionLogps(tiny_model)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(tiny_model: Any, value: float) -> None:
    """As of a model whose training failed; its logits are not what is wrong."""
    with torch.no_grad():
        tiny_model.model.layers[1].mlp.up_proj.weight[0, 0] = value
    with pytest.raises(
        ModelError, match=r"LlamaForCausalLM, model\.layers\.1\.mlp\.up_proj\.weight: .*weights are not"
    ):
        CompletionLogps(tiny_model)


def test_logits_that_overflow_are_not_blamed_on_the_weights(tiny_model: Any) -> None:
    with torch.no_grad():
        tiny_model.model.layers[0].mlp.down_proj.weight *= 1e38
        tiny_model.model.layers[0].mlp.up_proj.weight *= 1e38
    with pytest.raises(ModelError, match="the model's logits are NaN, though its weights are finite"):
        CompletionLogps(tiny_model)


def test_a_model_without_weights_is_taken_as_it_is(model_factory: Any) -> None:
    """Its logits cannot be checked before there are weights."""
    CompletionLogps(model_factory().to("meta"))


def test_a_model_without_a_head_is_refused(tiny_model: Any) -> None:
    with pytest.raises(ModelError, match="LlamaModel: the model has no head"):
        CompletionLogps(tiny_model.model)


def test_wrong_shapes_are_refused(tiny_model: Any) -> None:
    sequences = batch(ROWS)
    with pytest.raises(ShapeError, match="head_tokens is too small: got 0"):
        CompletionLogps(tiny_model, 0)
    with pytest.raises(ShapeError, match="ids and masks differ in shape"):
        CompletionLogps(tiny_model)(sequences.input_ids, sequences.attention_mask[:, 1:], sequences.completion_mask)


def test_the_check_leaves_modes_and_random_numbers_alone(model_factory: Any) -> None:
    model = model_factory(attention_dropout=0.5).train()
    model.model.norm.eval()
    before = torch.get_rng_state()
    CompletionLogps(model)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
    assert not model.model.norm.training


# peft asks transformers by an older name
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_lora_is_scored_with_and_without_its_adapter(tiny_model: Any) -> None:
    """The reference is the same module with the adapter switched off; only adapters get gradients."""
    from peft import LoraConfig, get_peft_model

    sequences = batch(ROWS)
    with torch.no_grad():
        base = plain(tiny_model, sequences)
    model = get_peft_model(tiny_model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    module = CompletionLogps(model, 4)
    ours = score(module, sequences)
    torch.testing.assert_close(ours, plain(model, sequences), atol=1e-4, rtol=1e-6)
    assert (ours - base).abs().max() > 1e-3
    assert all("lora" in name for name in gradients(model, ours.sum()))
    with torch.no_grad(), model.disable_adapter():
        torch.testing.assert_close(score(module, sequences), base, atol=1e-4, rtol=1e-6)


def test_gradient_checkpointing_of_the_layers_changes_nothing(tiny_model: Any) -> None:
    sequences, module = batch(ROWS), CompletionLogps(tiny_model, 4)
    without = gradients(tiny_model, score(module, sequences).sum())
    tiny_model.train().activation_checkpointing_enable({"use_reentrant": False})
    torch.testing.assert_close(gradients(tiny_model, score(module, sequences).sum()), without, atol=1e-5, rtol=1e-5)
