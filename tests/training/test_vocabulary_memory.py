"""Memory of a step grows with its tokens alone: what is as wide as the vocabulary does not know how many there are."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from align.config import ObjectiveConfig
from align.distributed.ranks import start_accelerator
from align.reference.reference_pass import score_reference
from align.scoring.logps import CompletionLogps
from align.scoring.scorer import Scorer
from align.step.example import Example
from align.step.gradient import backward_step
from align.trainer.take_step import step_rules
from tests.conftest import make_model
from tests.training.test_logps import llama_like
from tests.vocabulary_watch import VocabularyWatch

WORDS, WIDTH, CHUNK = 4099, 32, 16  # a prime: no other dimension is as large


def examples_of(tokens: int, *, is_pair: bool) -> list[Example]:
    """Four examples with completions of so many tokens each."""
    rng = torch.Generator().manual_seed(tokens)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(WORDS, (length,), generator=rng).tolist())

    prompts = [ids(5) for _ in range(4)]
    answers = [[ids(tokens) for _ in range(1 + is_pair)] for _ in range(4)]
    return [
        Example(
            row_id=str(at),
            sequences=tuple((prompts[at], answer) for answer in answers[at]),
            mismatched=None if is_pair else (prompts[at], answers[at - 1][0]),
            reference_logps=(-9.0 * tokens,) * (1 + is_pair),
            mismatched_reference_logp=-9.0 * tokens,
            label=is_pair or at % 2 == 0,
            weight=1.0,
        )
        for at in range(4)
    ]


def watched(model: Any, tokens: int, *, objective: str, dtype: str, use_trees: bool) -> dict[str, VocabularyWatch]:
    """What lived in the reference pass, and in a step: z0 pass, forward and backward."""
    examples, accelerator = examples_of(tokens, is_pair=objective == "dpo"), start_accelerator("cpu")
    scorer = Scorer(CompletionLogps(model, CHUNK), torch.device("cpu"), dtype, 0, 10**6, use_trees)
    pairs = [pair for example in examples for pair in example.sequences]
    model.zero_grad()
    with VocabularyWatch(WORDS) as reference:
        score_reference(pairs, scorer, accelerator, model_digest="m", own=None, shared=None)
    with VocabularyWatch(WORDS) as step:
        backward_step(examples, scorer, step_rules(ObjectiveConfig(name=objective)), accelerator)
    assert all(parameter.grad is not None for parameter in model.parameters())
    return {"reference": reference, "step": step}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("use_trees", [True, False])
@pytest.mark.parametrize(
    ("objective", "head"), [("kto", "linear"), ("kto", "scaled"), ("dpo", "linear"), ("sft", "linear")]
)
def test_four_times_the_tokens_have_the_same_vocabulary_in_memory(
    objective: str, head: str, use_trees: bool, dtype: str
) -> None:
    """64 and 256 completion tokens in one pass, 16 at a time: not an element more, and never as many as N x V.

    Beside the weight there are up to three chunks of logits, its gradients as head and as embedding, and in bfloat16 a
    copy of it.
    """
    changes = {"vocab_size": WORDS, "hidden_size": WIDTH}
    model = make_model(**changes) if head == "linear" else llama_like("cohere", logit_scale=0.5, **changes)
    few, many = (watched(model, tokens, objective=objective, dtype=dtype, use_trees=use_trees) for tokens in (16, 64))
    weight, chunk, logits = WORDS * WIDTH, WORDS * CHUNK, WORDS * 256
    for name in ("reference", "step"):
        assert many[name].peak == few[name].peak
        assert many[name].largest <= max(weight, chunk)
    assert many["reference"].peak <= 2 * weight + 3 * chunk < logits
    assert many["step"].peak <= 4 * weight + 2 * chunk < logits


def test_the_watch_counts_what_is_kept_and_forgets_what_is_not() -> None:
    """Four chunks kept are as bad as one tensor of all; four made in turn are one. A view is what it is a view of."""
    with VocabularyWatch(WORDS) as kept:
        chunks = [torch.zeros(CHUNK, WORDS) for _ in range(4)]
        views = [chunk[:2] for chunk in chunks]
    assert (kept.peak, kept.largest) == (4 * CHUNK * WORDS, CHUNK * WORDS)
    del chunks, views
    with VocabularyWatch(WORDS) as made:
        for _ in range(4):
            torch.zeros(CHUNK, WORDS)
    assert (made.peak, made.operations) == (CHUNK * WORDS, 4)
    with VocabularyWatch(WORDS) as backward:
        logits = torch.zeros(CHUNK, WORDS, requires_grad=True)
        logits.exp().sum().backward()
    assert backward.peak >= 3 * CHUNK * WORDS
