"""Log-probabilities of completions, with a language-model head that is streamed over positions.

Letters: B sequences, T tokens, N completion tokens of the batch, H hidden size, V vocabulary, C = head_tokens.

hidden states [B, T, H] ──gather the positions that predict a completion token──► [N, H]
    ──C at a time: head, float32 log-softmax, pick the target; recomputed in backward──► [N] ──sum by row──► [B]

No tensor of more than C rows is ever V wide. Prompt, padding and the last position never meet the head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from align.scoring.computed_again import computing_again
from align.scoring.float32_products import use_wide_products
from align.scoring.lean_layers import keep_less
from align.scoring.linear_logps import linear_token_logps
from align.scoring.tree_attention import IMPLEMENTATION, no_mask
from align.scoring.trees import Trees, plant_trees
from align.scoring.weight_passes import sum_embedding_in_place
from schemas.errors import ModelError, ShapeError

__all__ = ["CompletionLogps", "stream_token_logps"]

_PROBE_TOKENS = 4
# Two prompts, one with two answers and an answer of one token: what a model must score alike alone and in trees.
_PROBE_PAIRS = (((1, 2, 3), (4, 5, 6)), ((7, 8), (9, 1, 2)), ((1, 2, 3), (8, 7)), ((7, 8), (3,)))


class CompletionLogps(nn.Module):
    """A causal language model as a function from sequences to summed completion log-probabilities.

    Where the model's attention can be told about trees (`has_trees`), `of_trees` gives the same numbers with each
    prompt computed once and without padding.

    Args:
        model: a Hugging Face causal language model, or a LoRA model of peft around one.
        head_tokens: C, completion positions that go through the head at once. Memory of the head grows with it.

    Raises:
        ModelError: the model has no head over hidden states, or its logits are not what head and config say.
        ShapeError: `head_tokens` is less than 1.
    """

    def __init__(self, model: nn.Module, head_tokens: int = 512) -> None:
        super().__init__()
        if head_tokens < 1:
            raise ShapeError("head_tokens is too small", received=head_tokens, expected="at least 1")
        self.model = model
        self.head_tokens = head_tokens
        self._finish = _logit_transform(_causal_lm(model).config)
        _check_against_model(_causal_lm(model), self._finish)
        self.has_trees = _set_tree_attention(_causal_lm(model))
        sum_embedding_in_place(_causal_lm(model).get_input_embeddings())
        keep_less(model)
        use_wide_products(model)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, completion_mask: Tensor) -> Tensor:
        """Log-probability of each completion, summed over its tokens, in nats.

        Args:
            input_ids: [B, T] int64, padded on the right.
            attention_mask: 1 on real tokens. [B, T] int64.
            completion_mask: True on the tokens to score; position 0 is never scored. [B, T] bool.

        Returns:
            [B] float32.

        Raises:
            ShapeError: the inputs differ in shape.
        """
        return self.of_tokens(input_ids, attention_mask, completion_mask)[0].sum(dim=1)

    def of_tokens(
        self, input_ids: Tensor, attention_mask: Tensor, completion_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probability of each completion token, for objectives that look at tokens one by one.

        Args:
            input_ids: as in `forward`. [B, T].
            attention_mask: likewise. [B, T].
            completion_mask: likewise. [B, T].

        Returns:
            Log-probabilities in nats, 0 elsewhere, [B, T - 1] float32; True on completion tokens, [B, T - 1] bool; and
            the hidden states that predict them, [B, T - 1, H].

        Raises:
            ShapeError: the inputs differ in shape.
        """
        if not input_ids.shape == attention_mask.shape == completion_mask.shape:
            shapes = [tuple(each.shape) for each in (input_ids, attention_mask, completion_mask)]
            raise ShapeError("ids and masks differ in shape", received=shapes, expected="three times [B, T]")
        with computing_again():
            # The last token predicts nothing, as in trees; where it is the one too many, it would change rope's table.
            hidden = _backbone(self.model)(
                input_ids=input_ids[:, :-1],
                attention_mask=attention_mask[:, :-1],
                use_cache=False,
                return_dict=True,
            ).last_hidden_state
        scored = completion_mask[:, 1:]
        logps = stream_token_logps(
            hidden[scored],
            input_ids[:, 1:][scored],
            _causal_lm(self.model).get_output_embeddings(),
            head_tokens=self.head_tokens,
            finish=self._finish,
        )
        # masked_scatter, not index_add: the order of the sum is fixed on every device
        return logps.new_zeros(scored.shape).masked_scatter(scored, logps), scored, hidden

    def of_trees(self, trees: Trees) -> Tensor:
        """What `forward` gives for the pairs of some trees, where `has_trees`.

        Args:
            trees: of B pairs.

        Returns:
            [B] float32, in nats.
        """
        with computing_again():
            hidden = _tree_hidden(_backbone(self.model), trees)
        logps = stream_token_logps(
            hidden[trees.predictors],
            trees.targets,
            _causal_lm(self.model).get_output_embeddings(),
            head_tokens=self.head_tokens,
            finish=self._finish,
        )
        mask = trees.completion_mask
        return logps.new_zeros(mask.shape).masked_scatter(mask, logps).sum(dim=1)


def stream_token_logps(
    hidden: Tensor,
    targets: Tensor,
    head: Callable[[Tensor], Tensor],
    *,
    head_tokens: int = 512,
    finish: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Log-probability of each target token, the head applied to `head_tokens` positions at a time.

    Args:
        hidden: hidden state that predicts each target. [N, H] float.
        targets: token ids. [N] int64.
        head: hidden states to logits, [C, H] to [C, V].
        head_tokens: C.
        finish: what the model does to its logits afterwards, in float32; none for nothing.

    Returns:
        [N] float32, in nats.
    """
    weight = _plain_weight(head)
    if finish is None and weight is not None:
        return linear_token_logps(hidden, targets, weight, chunk=head_tokens)
    finish = finish or _unchanged
    chunks = [
        _chunk(hidden[start : start + head_tokens], targets[start : start + head_tokens], head, finish)
        for start in range(0, len(targets), head_tokens)
    ]
    return torch.cat(chunks) if chunks else hidden.new_zeros(0, dtype=torch.float32)


def _plain_weight(head: Any) -> Tensor | None:
    """The weight of a head that is a linear layer and nothing more: a subclass may do more in its forward pass."""
    return head.weight if type(head) is nn.Linear and head.bias is None else None


def _chunk(
    hidden: Tensor, targets: Tensor, head: Callable[[Tensor], Tensor], finish: Callable[[Tensor], Tensor]
) -> Tensor:
    if not torch.is_grad_enabled():
        return _token_logps(hidden, targets, head, finish)
    logps: Tensor = checkpoint(_token_logps, hidden, targets, head, finish, use_reentrant=False)
    return logps


def _token_logps(
    hidden: Tensor, targets: Tensor, head: Callable[[Tensor], Tensor], finish: Callable[[Tensor], Tensor]
) -> Tensor:
    logits = finish(head(hidden).float())
    return logits.gather(1, targets[:, None]).squeeze(1) - logits.logsumexp(dim=1)


def _unchanged(logits: Tensor) -> Tensor:
    return logits


def _causal_lm(model: nn.Module) -> Any:
    """The Hugging Face model itself: peft's adapters live inside its layers."""
    wrapped: Any = model
    return wrapped.get_base_model() if hasattr(wrapped, "get_base_model") else wrapped


def _backbone(model: nn.Module) -> nn.Module:
    lm = _causal_lm(model)
    backbone = getattr(lm, str(lm.base_model_prefix), None)
    if not isinstance(backbone, nn.Module) or lm.get_output_embeddings() is None:
        raise ModelError(
            "the model has no head over the hidden states of a transformer",
            where=type(lm).__name__,
            expected="a causal language model",
        )
    return backbone


def _logit_transform(config: Any) -> Callable[[Tensor], Tensor] | None:
    """What some families do to their logits after the head, read from the config; None for nothing."""
    text = config.get_text_config()
    scale = 1.0
    for key in ("logit_scale", "lm_head_multiplier"):  # Cohere, Falcon-H1
        scale *= getattr(text, key, None) or 1.0
    scaling = getattr(text, "logits_scaling", None) or 1.0
    scale = scale * scaling if "hyperclovax" in text.model_type else scale / scaling  # Granite divides
    cap = getattr(text, "final_logit_softcapping", None)  # Gemma
    if scale == 1.0 and cap is None:
        return None

    def finish(logits: Tensor) -> Tensor:
        """The logits as the model gives them, [C, V] to [C, V]."""
        scaled = logits if scale == 1.0 else logits * scale
        return scaled if cap is None else cap * torch.tanh(scaled / cap)

    return finish


def _tree_hidden(backbone: nn.Module, trees: Trees) -> Tensor:
    """Hidden states of all tokens. [N, H]."""
    hidden: Tensor = backbone(
        input_ids=trees.input_ids,
        attention_mask=no_mask(),
        position_ids=trees.position_ids,
        use_cache=False,
        return_dict=True,
        spans=trees.spans,
    ).last_hidden_state[0]
    return hidden


@contextmanager
def _evaluating(lm: nn.Module) -> Iterator[None]:
    """A context in which nothing is dropped out; modes are as before afterwards."""
    modes = {module: module.training for module in lm.modules()}
    lm.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@torch.no_grad()
def _set_tree_attention(lm: Any) -> bool:
    """Tell the model's attention about trees; False where it is not one of PyTorch's, or gives other numbers then.

    Layers that mix tokens in other ways than by attention cannot know where a branch ends: their numbers differ.
    """
    weight = next(lm.parameters())
    if weight.is_meta or not lm._supports_attention_backend:
        return False
    if lm.config._attn_implementation == "sdpa":
        lm.set_attn_implementation(IMPLEMENTATION)
    if lm.config._attn_implementation != IMPLEMENTATION:
        return False
    backbone, vocabulary = _backbone(lm), lm.config.get_text_config().vocab_size
    pairs = [tuple([token % vocabulary for token in part] for part in pair) for pair in _PROBE_PAIRS]
    trees = plant_trees(pairs, weight.device)  # type: ignore[arg-type]
    with _evaluating(lm):
        together = _tree_hidden(backbone, trees)[trees.predictors].float()
        alone = [
            backbone(input_ids=torch.tensor([[*prompt, *completion]], device=weight.device), use_cache=False)
            .last_hidden_state[0, len(prompt) - 1 : -1]
            .float()
            for prompt, completion in pairs
        ]
    tolerance = 1e-3 if weight.dtype == torch.float32 else 5e-2
    if torch.allclose(together, torch.cat(alone), rtol=tolerance, atol=tolerance * float(together.abs().max())):
        return True
    lm.set_attn_implementation("sdpa")
    return False


@torch.no_grad()
def _check_against_model(lm: Any, finish: Callable[[Tensor], Tensor] | None) -> None:
    """Run a few tokens through the model's own forward: an unknown step after the head is an error, not noise."""
    head = lm.get_output_embeddings()
    weight = next(head.parameters()) if head is not None else next(lm.parameters())
    backbone = _backbone(lm)
    if weight.is_meta:
        return
    with _evaluating(lm):
        ids = torch.arange(_PROBE_TOKENS, device=weight.device)[None] % lm.config.get_text_config().vocab_size
        theirs = lm(input_ids=ids, use_cache=False).logits.float()
        logits = head(backbone(input_ids=ids, use_cache=False, return_dict=True).last_hidden_state).float()
        ours = logits if finish is None else finish(logits)
    if bool(theirs.isnan().any()):
        _refuse_broken(lm)
    tolerance = 1e-3 if weight.dtype == torch.float32 else 5e-2
    if theirs.shape != ours.shape or not torch.allclose(theirs, ours, rtol=tolerance, atol=tolerance):
        raise ModelError(
            "the model changes its logits after the head in a way that is not known here",
            where=type(lm).__name__,
            todo="Use another model, or report its name",
        )


def _refuse_broken(lm: Any) -> NoReturn:
    """Say which weight makes a model's logits NaN."""
    broken = [name for name, weight in lm.named_parameters() if not bool(weight.isfinite().all())]
    if broken:
        raise ModelError(
            "the model's weights are not finite",
            where=f"{type(lm).__name__}, {broken[0]}",
            received=f"NaN or infinity in {len(broken)} tensors",
            todo="Use a model whose training did not fail, or load the files from where they came from again",
        )
    raise ModelError(
        "the model's logits are NaN, though its weights are finite",
        where=type(lm).__name__,
        received=str(lm.dtype),
        todo="Use a number format with a wider range, or another model",
    )
