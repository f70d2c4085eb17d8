"""Memory decides how steps are computed and never what they learn: probe, choice, and what a resumed run keeps."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from align.artifacts.metrics import read_metrics
from align.config import TrainConfig
from align.distributed.ranks import start_accelerator
from align.models.loading import load_policy
from align.resources import execution, memory_probe
from align.resources.execution import Execution, choose_execution, longest_example
from align.resources.memory_probe import PassMemory, free_memory, measure_passes
from align.scoring.logps import CompletionLogps
from align.scoring.scorer import Scorer, build_scorer
from align.tokens.tokenize import TokenizedRow
from align.trainer import train
from tests.conftest import make_model
from tests.simulated_ranks import SimulatedRank, on_ranks
from tests.tiny_run import tiny_config, write_dataset, write_model
from tests.vocabulary_watch import VocabularyWatch

CPU = torch.device("cpu")


@pytest.mark.parametrize(("dtype", "share"), [("float32", 0.01), ("bfloat16", 0.06)])
def test_two_short_passes_tell_what_a_long_one_takes(dtype: str, share: float) -> None:
    """Of 600 tokens, after 32 and 96; a whole chunk of logits, which short passes do not make, is added."""
    model = make_model(num_hidden_layers=6)
    scorer = Scorer(CompletionLogps(model), CPU, dtype, 0, 512)
    found = measure_passes(scorer)
    assert all(parameter.grad is None for parameter in model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    took = memory_probe._peak(scorer, lambda length: memory_probe._learn(scorer, length), 600)
    chunk = 2 * 4 * 512 * 300  # 300 words are one tile
    assert found.fixed - chunk + 600 * found.per_token == pytest.approx(took, rel=share)


def test_recomputed_activations_take_less_a_token() -> None:
    keeping, saving = make_model(num_hidden_layers=12), make_model(num_hidden_layers=12)
    saving.activation_checkpointing_enable({"use_reentrant": False})
    saving.train()
    kept, saved = (
        measure_passes(Scorer(CompletionLogps(model), CPU, "float32", 0, 512)) for model in (keeping, saving)
    )
    assert saved.per_token < 0.6 * kept.per_token


def test_tokens_within_a_memory_are_those_of_the_line() -> None:
    """1,000 bytes, and 10 a token: 50 tokens in 1,500 bytes, none in 900."""
    line = PassMemory(1000, 10)
    assert (line.tokens_within(1500), line.tokens_within(900)) == (50, 0)


def test_a_container_is_asked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("3000\n")
    monkeypatch.setattr(memory_probe, "_CGROUP", tmp_path)
    assert (free_memory(CPU), free_memory(CPU, 2)) == (2000, 1000)
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(CPU) > 2**20


def choose(
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    free: float,
    keeping: float = 100.0,
    longest: int = 50,
    **changes: Any,
) -> Execution:
    """The choice with so many free bytes, where a token costs `keeping` bytes, or a tenth of that when recomputed."""
    loaded = load_policy(write_model(out / "model"))
    config, accelerator = TrainConfig(device="cpu", **changes), start_accelerator("cpu")
    scorer = build_scorer(loaded, device=CPU, dtype="float32", tokens=0)
    standing = 12 * sum(each.numel() for each in loaded.model.parameters())
    monkeypatch.setattr(execution, "free_memory", lambda device, processes: (free + standing) / 0.8)
    monkeypatch.setattr(
        execution, "measure_passes", lambda _: PassMemory(0, keeping / 10 if loaded.model.training else keeping)
    )
    found = choose_execution(config, loaded, scorer, accelerator, longest=longest, out=out)
    assert loaded.model.training == found.gradient_checkpointing
    return found


def test_enough_memory_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU takes passes of 512 tokens, and three times as many in bfloat16."""
    assert choose(tmp_path / "a", monkeypatch, free=1e9) == Execution(512, False, "cpu")
    assert choose(tmp_path / "b", monkeypatch, free=1e9, dtype="bfloat16") == Execution(1024, False, "cpu")


def test_less_memory_takes_fewer_tokens_a_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """20,001 bytes are 200 tokens, and the longest example has 50."""
    assert choose(tmp_path, monkeypatch, free=20_001) == Execution(200, False, "cpu")


def test_an_example_that_would_not_fit_has_its_activations_recomputed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4,001 bytes are 40 tokens, or 400 when activations are recomputed."""
    assert choose(tmp_path, monkeypatch, free=4_001) == Execution(400, True, "cpu")


def test_what_the_config_says_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    batch = {"tokens_per_micro_batch": 300}
    with caplog.at_level(logging.WARNING):
        plain = choose(tmp_path / "a", monkeypatch, free=4_001, gradient_checkpointing=False)
    assert plain == Execution(40, False, "cpu")
    assert "a pass of 50 tokens is needed, and memory is free for about 40" in caplog.text
    given = choose(tmp_path / "b", monkeypatch, free=4_001, batch=batch)
    assert given == Execution(300, True, "cpu")
    both = choose(tmp_path / "c", monkeypatch, free=1, batch=batch, gradient_checkpointing=False)
    assert both == Execution(300, False, "cpu")
    micro = choose(tmp_path / "d", monkeypatch, free=20_001, objective={"z0_scope": "micro"})
    assert micro == Execution(512, True, "cpu")


def test_a_resumed_run_computes_as_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = choose(tmp_path, monkeypatch, free=4_001)
    assert choose(tmp_path, monkeypatch, free=1e9) == first
    on_gpu = {**json.loads((tmp_path / "execution.json").read_text()), "device": "cuda"}
    for text in (json.dumps(on_gpu), "{", "{}"):
        (tmp_path / "execution.json").write_text(text)
        assert choose(tmp_path, monkeypatch, free=1e9) == Execution(512, False, "cpu")


def test_ranks_agree_on_the_least(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One rank has room for 200 tokens, the other for 40, which recomputes: both take 200 and recompute."""
    models = [load_policy(write_model(tmp_path / str(rank))) for rank in range(2)]
    standing = 12 * sum(each.numel() for each in models[0].model.parameters())
    scorers = [build_scorer(each, device=CPU, dtype="float32", tokens=0) for each in models]
    monkeypatch.setattr(execution, "free_memory", lambda device, processes: (20_001 + standing) / 0.8)
    costs = {id(scorers[0].module): 100.0, id(scorers[1].module): 500.0}
    monkeypatch.setattr(
        execution,
        "measure_passes",
        lambda one: PassMemory(0, costs[id(one.module)] / (10 if one.module.model.training else 1)),
    )

    def on_rank(rank: SimulatedRank) -> Execution:
        rank.is_main_process = rank.process_index == 0
        mine = models[rank.process_index], scorers[rank.process_index]
        return choose_execution(TrainConfig(), *mine, rank, longest=50, out=tmp_path)  # type: ignore[arg-type]

    assert on_ranks(2, on_rank) == [Execution(200, True, "cpu")] * 2
    assert all(each.model.training for each in models)


def test_the_longest_example_counts_both_answers_or_all_samples() -> None:
    """A prompt of 3 and answers of 4 and 2: padded 2 x 7, as a tree 3 + 3 + 1. Four samples of 5: 3 + 4 x 4."""
    pair = TokenizedRow("r", (1, 2, 3), (4,) * 4, True, 1.0, "g", rejected=((1, 2, 3), (5, 5)))
    config = tiny_config(objective={"name": "dpo"})
    assert longest_example([pair], config, has_trees=False) == 14
    assert longest_example([pair], config, has_trees=True) == 7
    online = tiny_config(objective={"name": "rlhf", "reward_model": "m", "max_answer_tokens": 5})
    assert longest_example([pair], online, has_trees=True) == 19


@pytest.mark.usefixtures("own_cache")
def test_a_run_with_little_memory_learns_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses and z0 of every step, with 40 tokens a pass and recomputed activations beside 512 without."""
    model, dataset = str(write_model(tmp_path / "model")), write_dataset(tmp_path / "data", test=0)
    config = tiny_config(epochs=1, batch={"tokens_per_micro_batch": 0})
    card = train(config, dataset=dataset, model=model, out=tmp_path / "plain")
    assert (card.device["tokens_per_micro_batch"], card.device["gradient_checkpointing"]) == (512, False)
    lines = iter([PassMemory(0, 1e9), PassMemory(0, 1)])
    monkeypatch.setattr(execution, "measure_passes", lambda _: next(lines))
    monkeypatch.setattr(execution, "free_memory", lambda device, processes: 0)
    monkeypatch.setattr(execution, "_standing", lambda loaded, config: -40)
    card = train(config, dataset=dataset, model=model, out=tmp_path / "small")
    assert (card.device["tokens_per_micro_batch"], card.device["gradient_checkpointing"]) == (40, True)
    plain, small = read_metrics(tmp_path / "plain"), read_metrics(tmp_path / "small")
    assert [line["micro_batches"] for line in plain] < [line["micro_batches"] for line in small]
    for mine, other in zip(small, plain, strict=True):
        for key in ("loss", "z0", "reward_margin", "grad_norm"):
            assert mine.get(key, 0.0) == pytest.approx(other.get(key, 0.0), rel=1e-3, abs=1e-4)


def test_the_probe_makes_no_chunk_of_logits_as_long_as_a_real_one() -> None:
    """Eight rows of logits, not 512: a probe before every run must be cheap."""
    scorer = Scorer(CompletionLogps(make_model(vocab_size=4099)), CPU, "float32", 0, 512)
    with VocabularyWatch(4099) as watch:
        measure_passes(scorer)
    assert watch.largest == 4099 * 32  # the weight
