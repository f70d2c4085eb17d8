"""Models that turn positions of long sequences by another table: what else is in a batch changes no number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from align.batches.collate import collate
from align.models.loading import LoadedModel
from align.scoring.rope_tables import RopeTables, rope_tables
from align.scoring.scorer import Scorer, build_scorer
from align.trainer import train
from schemas.errors import ModelError
from tests.conftest import make_model, make_tokenizer
from tests.tiny_run import tiny_config, write_dataset
from tests.training.test_trees import drawn_pairs

FIRST = 32
LENGTHS = [(5, 3), (5, 60), (20, 12), (20, 13), (5, 1), (20, 14), (40, 9), (5, 28)]


def model_of(rope: str, *, head: str = "logps") -> Any:
    """A random model whose first table serves 32 tokens."""
    if rope == "dynamic":
        parameters = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}
        model = make_model(max_position_embeddings=FIRST, rope_parameters=parameters)
    else:
        torch.manual_seed(0)
        config = transformers.Phi3Config(
            vocab_size=300,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            original_max_position_embeddings=FIRST,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=None,
            num_labels=1,
            rope_parameters={
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "short_factor": [1.0] * 4,
                "long_factor": [4.0] * 4,
                "original_max_position_embeddings": FIRST,
                "factor": 16.0,
            },
        )
        classes = {"logps": transformers.Phi3ForCausalLM, "rewards": transformers.Phi3ForSequenceClassification}
        model = classes[head](config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 3 if parameter.dim() > 1 else 1  # so that attention looks at places
    return model


def scorer_of(model: Any, *, use_trees: bool = True, head: Any = "logps") -> Scorer:
    loaded = LoadedModel(model, make_tokenizer(), "", "")
    scorer = build_scorer(loaded, device=torch.device("cpu"), dtype="float32", tokens=10_000, head=head)
    return replace(scorer, use_trees=use_trees)


@pytest.mark.parametrize("use_trees", [True, False])
def test_numbers_and_gradients_are_those_of_the_pairs_alone(use_trees: bool) -> None:
    """Also of prompts whose answers lie on both sides, and of lengths one beside the border."""
    scorer = scorer_of(model_of("longrope"), use_trees=use_trees)
    assert scorer.has_trees is use_trees
    pairs = drawn_pairs(LENGTHS, prompts=3)
    together, alone = scorer(pairs), torch.cat([scorer([pair]) for pair in pairs])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.tensor(scorer.score(pairs)), alone, rtol=1e-4, atol=1e-4)
    weights = list(scorer.module.parameters())
    found, wanted = (
        torch.autograd.grad((values * torch.arange(1, 9)).sum(), weights, allow_unused=True)
        for values in (together, alone)
    )
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_trees_and_padding_agree_at_the_border() -> None:
    model, pairs = model_of("longrope"), drawn_pairs(LENGTHS, prompts=3)
    trees, padded = (scorer_of(model, use_trees=use_trees)(pairs) for use_trees in (True, False))
    torch.testing.assert_close(trees, padded, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_numbers_are_those_of_transformers() -> None:
    """Its own, of one sequence at a time and without the last token, which predicts nothing."""
    model, pairs = model_of("longrope"), drawn_pairs(LENGTHS, prompts=3)
    found = scorer_of(model)(pairs).tolist()
    for (prompt, completion), ours in zip(pairs, found, strict=True):
        logits = model(input_ids=torch.tensor([[*prompt, *completion[:-1]]]), use_cache=False).logits[0]
        logps = logits[len(prompt) - 1 :].log_softmax(-1)
        wanted = logps.gather(1, torch.tensor(completion)[:, None]).sum()
        assert ours == pytest.approx(float(wanted), rel=1e-4, abs=1e-3)


@torch.no_grad()
def test_rewards_are_those_of_transformers() -> None:
    model = model_of("longrope", head="rewards")
    pairs = [
        (prompt, tuple(token or 1 for token in completion)) for prompt, completion in drawn_pairs(LENGTHS, prompts=3)
    ]
    found = scorer_of(model, head="rewards")(pairs).tolist()
    for (prompt, completion), ours in zip(pairs, found, strict=True):
        wanted = model(input_ids=torch.tensor([[*prompt, *completion]])).logits
        assert ours == pytest.approx(float(wanted), rel=1e-4, abs=1e-4)


def test_lengths_beyond_the_one_table_of_dynamic_rope_are_refused() -> None:
    scorer = scorer_of(model_of("dynamic"))
    short, long = drawn_pairs([(20, 13), (20, 14)], prompts=2)
    assert scorer([short]).isfinite().all()
    with pytest.raises(
        ModelError, match=r"dynamic rope.*a sequence of 33 tokens.*at most 32.*Lower tokens\.max_prompt"
    ):
        scorer([short, long])


def test_losses_of_tokens_and_shared_weights_take_short_sequences_only() -> None:
    scorer = scorer_of(model_of("longrope"))
    short, long = drawn_pairs([(20, 13), (20, 14)], prompts=2)
    assert scorer.of_tokens(collate([short], 0))[0].isfinite().all()
    with pytest.raises(ModelError, match="longrope rope"):
        scorer.of_tokens(collate([short, long], 0))
    with pytest.raises(ModelError, match="longrope rope"):
        replace(scorer, ranks=object()).check_lengths([short, long])  # type: ignore[arg-type]


def test_run_with_rows_that_are_too_long_is_refused_before_its_folder_is_begun(
    dataset: Path, tmp_path: Path, own_cache: None
) -> None:
    model_of("dynamic").save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    with pytest.raises(ModelError, match="dynamic rope"):
        train(tiny_config(), dataset=dataset, model=str(tmp_path / "model"), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_run_of_both_sides_learns_the_same_whatever_shares_a_pass(tmp_path: Path, own_cache: None) -> None:
    """Micro batches of all rows and of one row: law 4."""
    model_of("longrope").save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    rows = write_dataset(tmp_path / "rows", train=12, prompt=lambda place: f"{place} " + "x" * (1 if place % 3 else 40))
    figures = []
    for tokens in (1, 5000):
        config = tiny_config(epochs=1, batch={"tokens_per_micro_batch": tokens})
        card = train(config, dataset=rows, model=str(tmp_path / "model"), out=tmp_path / f"out{tokens}")
        figures.append([card.steps["last_loss"], card.evaluation["last"]["reward_margin"]])
    assert figures[0] == pytest.approx(figures[1], abs=2e-3)


def test_ropes_of_one_table_have_no_border() -> None:
    assert rope_tables(make_model().config) is None
    assert rope_tables(model_of("longrope").config) == RopeTables("longrope", FIRST)
    assert rope_tables(model_of("dynamic").config) == RopeTables("dynamic", FIRST)
    assert rope_tables(transformers.GPT2Config()) is None
