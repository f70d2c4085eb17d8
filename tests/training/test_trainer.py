"""The training loop: what a run leaves behind, and what it refuses."""

import math
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import align.trainer.loop as trainer
from align.artifacts.metrics import read_metrics
from align.models.loading import load_policy
from align.objectives import OBJECTIVES
from align.reference.reference_pass import score_reference
from align.step.gradient import backward_step
from align.trainer import take_step, train
from schemas.errors import (
    ConfigError,
    CorruptionError,
    EmptySplitError,
    NonFiniteLossError,
    OneLabelError,
    OutputExistsError,
    ReferenceMismatchError,
    UnknownChoiceError,
)
from tests.tiny_run import tiny_config, weights_of, write_dataset, write_model

pytestmark = pytest.mark.usefixtures("own_cache")


def test_run_learns_and_leaves_what_it_promises(dataset: Path, model: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    card = train(tiny_config(epochs=4, evaluation={"every_steps": 5}), dataset=dataset, model=model, out=out)
    names = {path.name for path in out.iterdir()}
    assert names == {
        "checkpoints",
        "execution.json",
        "metrics.jsonl",
        "model",
        "plan.parquet",
        "reference.parquet",
        "run.json",
        "run_card.json",
        "run_card.md",
        "tensorboard",
    }
    first, last = card.evaluation["first"], card.evaluation["last"]
    assert (first["reward_margin"], first["reward_accuracy"], first["loss"]) == pytest.approx((0, 0.5, 0.5), abs=1e-4)
    assert last["reward_margin"] > 0.5
    assert last["reward_accuracy"] > 0.9
    lines = read_metrics(out)
    assert [line["step"] for line in lines if line["kind"] == "step"] == list(range(12))
    assert [line["step"] for line in lines if line["kind"] == "evaluation"] == [0, 5, 10, 12]
    assert lines[1]["largest_ratio"] < 1e-4
    assert card.steps["examples"] == 72
    assert (card.ratio["desirable"], card.ratio["undesirable"], card.ratio["value"]) == (9, 9, 1.0)
    assert card.warnings == ()
    assert load_policy(out / "model").tokenizer.chat_template
    assert any((out / "tensorboard").iterdir())


def test_metrics_line_holds_what_a_step_found(dataset: Path, model: str, tmp_path: Path) -> None:
    train(tiny_config(epochs=1), dataset=dataset, model=model, out=tmp_path / "out")
    line = next(line for line in read_metrics(tmp_path / "out") if line["kind"] == "step")
    assert set(line) == {
        *("kind", "step", "epoch", "loss", "z0", "mean_kl", "z0_clamped", "n_desirable", "n_undesirable"),
        *("reward_desirable", "reward_undesirable", "reward_margin", "largest_ratio", "grad_norm", "learning_rate"),
        "pair_accuracy",
        *("examples", "micro_batches", "tokens", "padded_tokens", "seconds", "rows_lost", "is_skipped"),
        *("seconds_mismatched", "seconds_gradient", "seconds_update", "peak_memory_mib"),
        *("tokens_per_second", "padded_tokens_per_second"),
    }
    phases = [line[f"seconds_{phase}"] for phase in ("mismatched", "gradient", "update")]
    assert min(phases) > 0
    assert sum(phases) == pytest.approx(line["seconds"])
    assert line["tokens_per_second"] == pytest.approx(line["tokens"] / line["seconds"])
    assert 50 < line["peak_memory_mib"] < 100_000
    assert line["n_desirable"] + line["n_undesirable"] == line["examples"] == 6
    assert line["learning_rate"] == 0.01


def test_metrics_of_step_0_are_those_of_a_policy_that_is_its_reference(
    dataset: Path, model: str, tmp_path: Path
) -> None:
    """Every log-ratio is 0, so z0 is, and each row costs 1 - sigmoid(0); the gradient of it is not 0."""
    train(tiny_config(epochs=1, max_steps=1), dataset=dataset, model=model, out=tmp_path / "out")
    before, step = read_metrics(tmp_path / "out")[:2]
    nothing = {"step": 0, "loss": 0.5, "z0": 0.0, "mean_kl": 0.0, "largest_ratio": 0.0, "reward_margin": 0.0}
    nothing |= {"reward_desirable": 0.0, "reward_undesirable": 0.0}
    of_rows = {"kind": "evaluation", "n_desirable": 4, "n_undesirable": 4}
    assert before == pytest.approx(nothing | of_rows | {"reward_accuracy": 0.5, "sign_accuracy": 0.5}, abs=1e-4)
    of_step = {"kind": "step", "epoch": 0, "n_desirable": 3, "n_undesirable": 3, "examples": 6, "rows_lost": 0}
    of_step |= {"z0_clamped": False, "pair_accuracy": None, "is_skipped": False, "learning_rate": 0.01}
    assert {key: step[key] for key in (nothing | of_step)} == pytest.approx(nothing | of_step, abs=1e-4)
    assert step["grad_norm"] > 0.1


def test_same_run_twice_gives_the_same_bytes(dataset: Path, model: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(tiny_config(), dataset=dataset, model=model, out=tmp_path / name)
    assert weights_of(tmp_path / "a") == weights_of(tmp_path / "b")
    for name in ("run.json", "plan.parquet", "reference.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_finished_run_is_returned_as_it_is(dataset: Path, model: str, tmp_path: Path) -> None:
    card = train(tiny_config(), dataset=dataset, model=model, out=tmp_path / "out")
    before = (tmp_path / "out" / "run_card.json").stat().st_mtime_ns
    assert train(tiny_config(), dataset=dataset, model=model, out=tmp_path / "out") == card
    assert (tmp_path / "out" / "run_card.json").stat().st_mtime_ns == before
    with pytest.raises(OutputExistsError, match="finished run of another config"):
        train(tiny_config(seed=1), dataset=dataset, model=model, out=tmp_path / "out")
    (tmp_path / "out" / "run_card.json").write_text("{")
    with pytest.raises(CorruptionError, match="run card cannot be read"):
        train(tiny_config(), dataset=dataset, model=model, out=tmp_path / "out")


def test_folder_with_something_else_is_left_alone(dataset: Path, model: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="holds no run"):
        train(tiny_config(), dataset=dataset, model=model, out=tmp_path / "out")


def test_one_label_is_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "up", label=lambda position: True)
    with pytest.raises(OneLabelError, match="18 desirable and 0 undesirable rows"):
        train(tiny_config(), dataset=dataset, model="./no-such-model", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_empty_train_split_is_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "none", train=0)
    with pytest.raises(EmptySplitError, match="train"):
        train(tiny_config(), dataset=dataset, model="./no-such-model", out=tmp_path / "out")


def test_label_lost_in_tokenization_is_refused(model: str, tmp_path: Path) -> None:
    long = write_dataset(tmp_path / "long", completion=lambda position: "yes" * (1 if position % 2 else 100))
    with pytest.raises(OneLabelError, match=r"after tokenization \(\{'too_long': 9\}\)"):
        train(tiny_config(tokens={"max_completion_tokens": 50}), dataset=long, model=model, out=tmp_path / "out")
    with pytest.raises(EmptySplitError, match="no row is left"):
        train(tiny_config(tokens={"max_completion_tokens": 1}), dataset=long, model=model, out=tmp_path / "out")


def test_unknown_objective_lists_the_known_ones(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownChoiceError, match="one of " + ", ".join(sorted(OBJECTIVES))):
        train(tiny_config(objective={"name": "ppo"}), dataset=dataset, model="./none", out=tmp_path / "out")


def test_reference_of_other_weights_stops_before_the_first_update(
    dataset: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*args: Any, **options: Any) -> Any:
        return {pair: logp + 0.01 for pair, logp in score_reference(*args, **options).items()}

    monkeypatch.setattr(trainer, "score_reference", wrong)
    with pytest.raises(ReferenceMismatchError, match="step 0: policy and reference differ"):
        train(tiny_config(), dataset=dataset, model=model, out=tmp_path / "out")
    assert not list((tmp_path / "out").glob("checkpoints/*"))


def test_step_without_a_loss_ends_the_run_and_names_its_rows(model: str, tmp_path: Path) -> None:
    silent = write_dataset(tmp_path / "silent", weight=lambda position: 0.0)
    with pytest.raises(NonFiniteLossError, match=r"step 0: .*loss 0\.0.* in rows .*train-"):
        train(tiny_config(), dataset=silent, model=model, out=tmp_path / "out")
    card = train(tiny_config(skip_bad_steps=True), dataset=silent, model=model, out=tmp_path / "skipped")
    assert card.steps["skipped"] == 6
    assert any("6 steps were skipped" in warning for warning in card.warnings)
    assert torch.equal(
        load_file(tmp_path / "skipped" / "model" / "model.safetensors")["model.norm.weight"],
        load_file(Path(model) / "model.safetensors")["model.norm.weight"],
    )


def test_step_with_a_broken_gradient_leaves_weights_and_moments_alone(
    dataset: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One update with it, and everything behind would be NaN."""
    steps_taken = count()

    def broken_once(examples: Any, scorer: Any, *rest: Any) -> Any:
        outcome = backward_step(examples, scorer, *rest)
        if next(steps_taken) == 2:
            for parameter in scorer.module.parameters():
                parameter.grad.fill_(math.nan)
        return outcome

    monkeypatch.setattr(take_step, "backward_step", broken_once)
    card = train(tiny_config(skip_bad_steps=True), dataset=dataset, model=model, out=tmp_path / "out")
    lines = [line for line in read_metrics(tmp_path / "out") if line["kind"] == "step"]
    assert card.steps["skipped"] == 1
    assert [line["step"] for line in lines if line["is_skipped"]] == [2]
    assert all(math.isfinite(line["loss"]) and math.isfinite(line["grad_norm"]) for line in lines[3:])
    saved = load_file(tmp_path / "out" / "model" / "model.safetensors")
    assert all(bool(weight.isfinite().all()) for weight in saved.values())


def test_nan_weights_end_the_run(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A learning rate that blows the weights up is found in the step after."""
    wild = tiny_config(optimizer={"learning_rate": 1e30, "max_grad_norm": 0.0})
    with pytest.raises(NonFiniteLossError, match="step 1"):
        train(wild, dataset=dataset, model=str(write_model(tmp_path / "m")), out=tmp_path / "out")


def test_card_warns_of_the_ratio_of_the_rows_trained_on(model: str, tmp_path: Path) -> None:
    """12 up and 6 down is R = 2; weights of 1/2 on the up rows bring it to 1, and the warning goes."""
    dataset = write_dataset(tmp_path / "skewed", test=0, label=lambda position: position % 3 != 0)
    card = train(tiny_config(epochs=1), dataset=dataset, model=model, out=tmp_path / "a")
    assert card.ratio["value"] == pytest.approx(2.0)
    assert any("R = 2.000" in warning for warning in card.warnings)
    assert any("no held-out split" in warning for warning in card.warnings)
    assert "nothing was evaluated" in card.to_markdown()
    weighted = write_dataset(
        tmp_path / "weighted",
        label=lambda position: position % 3 != 0,
        weight=lambda position: 0.5 if position % 3 else 1.0,
    )
    card = train(tiny_config(epochs=1), dataset=weighted, model=model, out=tmp_path / "b")
    assert card.ratio["value"] == pytest.approx(1.0)
    assert not any("R =" in warning for warning in card.warnings)


def test_adapter_run_leaves_the_adapter_and_on_request_the_whole_model(
    dataset: Path, model: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    config = tiny_config(epochs=3, adapter={"enabled": True, "rank": 4, "merge": True})
    card = train(config, dataset=dataset, model=model, out=out)
    assert (out / "model" / "adapter_model.safetensors").is_file()
    assert not (out / "model" / "model.safetensors").exists()
    assert card.evaluation["last"]["reward_margin"] > 0.1
    assert card.steps["first_largest_ratio"] < 1e-4
    ids = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(
        load_policy(out / "model").model(ids).logits, load_policy(out / "merged").model(ids).logits
    )


def test_bfloat16_run_keeps_float32_weights(dataset: Path, model: str, tmp_path: Path) -> None:
    card = train(tiny_config(dtype="bfloat16"), dataset=dataset, model=model, out=tmp_path / "out")
    assert card.device["dtype"] == "bfloat16"
    assert card.evaluation["last"]["reward_margin"] > 0
    weights = load_file(tmp_path / "out" / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_recomputed_activations_train_the_same_model(dataset: Path, model: str, tmp_path: Path) -> None:
    """To the tolerance of Adam's first steps, which turn rounding of tiny gradients into whole steps."""
    plain = train(tiny_config(), dataset=dataset, model=model, out=tmp_path / "a")
    saving = train(tiny_config(gradient_checkpointing=True), dataset=dataset, model=model, out=tmp_path / "b")
    assert saving.steps["last_loss"] == pytest.approx(plain.steps["last_loss"], abs=1e-4)


def test_model_that_cannot_recompute_activations_says_so(
    dataset: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    monkeypatch.setattr(LlamaForCausalLM, "supports_gradient_checkpointing", False)
    with pytest.raises(ConfigError, match="cannot recompute activations"):
        train(tiny_config(gradient_checkpointing=True), dataset=dataset, model=model, out=tmp_path / "out")


def test_steps_can_be_limited(dataset: Path, model: str, tmp_path: Path) -> None:
    card = train(tiny_config(max_steps=2), dataset=dataset, model=model, out=tmp_path / "out")
    assert card.steps["steps"] == 2
    lines = [line for line in read_metrics(tmp_path / "out") if line["kind"] == "step"]
    assert [line["learning_rate"] for line in lines] == pytest.approx([0.01, 0.01])
