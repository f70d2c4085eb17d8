"""Held-out rewards by hand, of runs and of models; and the answers a model gives."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import align.evaluate.held_out_rewards as evaluation
from align.artifacts.metrics import MetricsLog, RewardSums, read_metrics
from align.batches.held_out import held_out_pairs
from align.config import ObjectiveConfig
from align.data.dataset import read_split
from align.evaluate import evaluate, reward_figures
from align.evaluate.generate import generate
from align.models.loading import load_policy
from align.objectives import OBJECTIVES
from align.tokens.tokenize import TokenizedRow
from align.trainer import train
from schemas.errors import ConfigError, EmptySplitError, InputError, ModelError
from tests.tiny_run import tiny_config, write_dataset, write_model

pytestmark = pytest.mark.usefixtures("own_cache")

KTO = OBJECTIVES["kto"]


def _figures(ratios: list[float], labels: list[bool], mismatched: list[float], **objective: float) -> dict[str, Any]:
    return reward_figures(
        [[ratio] for ratio in ratios],
        [[0.0]] * len(ratios),
        labels,
        [1.0] * len(ratios),
        mismatched,
        ObjectiveConfig(**objective),
        tokens=[[1]] * len(ratios),
    )


def test_figures_by_hand() -> None:
    """Ratios 3, 1 (up) and 2, -1 (down); mismatched 1, 0 give z0 = 0.5; beta = 0.5.

    Rewards 1.5, 0.5 | 1, -0.5: means 1 and 0.25, margin 0.75. Of the four pairs, 3 > 2, 3 > -1, 1 > -1: 3/4.
    Right sides of z0: 3 and 1 lie above, -1 below, 2 does not: 3/4.
    Losses: sigmoid(-1.25), sigmoid(-0.25), sigmoid(0.75), sigmoid(-0.75), mean (0.2227 + 0.4378 + 0.6792 + 0.3208) / 4.
    """
    found = _figures([3.0, 1.0, 2.0, -1.0], [True, True, False, False], [1.0, 0.0], beta=0.5)
    assert found["reward_desirable"] == pytest.approx(1.0)
    assert found["reward_undesirable"] == pytest.approx(0.25)
    assert found["reward_margin"] == pytest.approx(0.75)
    assert found["reward_accuracy"] == pytest.approx(0.75)
    assert found["sign_accuracy"] == pytest.approx(0.75)
    assert found["z0"] == pytest.approx(0.5)
    assert found["loss"] == pytest.approx(0.415125, abs=1e-4)
    assert (found["n_desirable"], found["n_undesirable"], found["largest_ratio"]) == (2, 2, 3.0)


def test_model_that_learned_nothing_scores_a_half_whatever_the_ratio() -> None:
    """Differences of rounding noise are ties: ranking and sign accuracy are exactly 0.5 at 9 up to 1 down."""
    found = _figures([1e-5, -1e-5, 3e-5, 0, 0, 0, 0, 0, 2e-5, -3e-5], [True] * 9 + [False], [1e-5])
    assert (found["reward_accuracy"], found["sign_accuracy"]) == (0.5, 0.5)
    assert found["loss"] == pytest.approx(0.5, abs=1e-5)


def test_negative_mean_is_clamped_and_no_pair_gives_no_kl() -> None:
    assert _figures([1.0, -1.0], [True, False], [-4.0, 2.0])["z0"] == 0.0
    found = _figures([1.0, -1.0], [True, False], [])
    assert (found["z0"], found["mean_kl"]) == (0.0, None)


def test_one_label_gives_no_margin() -> None:
    found = _figures([1.0, 2.0], [True, True], [])
    assert found["reward_desirable"] == pytest.approx(0.15)
    assert (found["reward_undesirable"], found["reward_margin"], found["reward_accuracy"]) == (None, None, None)


def test_weights_count_in_the_loss_only() -> None:
    found = reward_figures(
        [[0.0], [0.0]], [[0.0], [0.0]], [True, False], [2.0, 0.0], [], ObjectiveConfig(), tokens=[[1], [1]]
    )
    assert found["loss"] == pytest.approx(0.5)


def _row(number: int, group: str | None = None) -> TokenizedRow:
    return TokenizedRow(f"r{number}", (number, 1), (number, 2), number % 2 == 0, 1.0, group or f"g{number}")


def test_held_out_rows_do_not_depend_on_their_order() -> None:
    rows = [_row(number) for number in range(10)]
    assert held_out_pairs(rows, KTO, max_rows=4) == held_out_pairs(rows[::-1], KTO, max_rows=4)
    held_out = held_out_pairs(rows, KTO)
    assert len(held_out.mismatched) == 10
    assert not set(held_out.mismatched) & set(held_out.matched)


def test_held_out_rows_of_one_prompt_have_no_kl_estimate() -> None:
    held_out = held_out_pairs([_row(1, "same"), _row(2, "same")], KTO)
    assert len(held_out.matched) == 2
    assert held_out.mismatched == ()
    assert held_out_pairs([], KTO).rows == ()


def test_run_is_evaluated_as_it_was_at_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the base model of its card, without loading that model where the cache has its numbers."""
    model = write_model(tmp_path / "model")
    dataset = write_dataset(tmp_path / "dataset")
    card = train(tiny_config(), dataset=dataset, model=str(model), out=tmp_path / "run")
    loaded = []
    monkeypatch.setattr(evaluation, "load_policy", lambda name, **k: (loaded.append(name), load_policy(name))[1])
    found = evaluate(tmp_path / "run", dataset=dataset)
    assert loaded == [tmp_path / "run" / "model"]
    for key in ("reward_margin", "reward_accuracy", "sign_accuracy", "loss", "z0"):
        assert found[key] == pytest.approx(card.evaluation["last"][key], abs=1e-5)
    assert found["rows"] == 8
    assert found["reference"]["name"] == str(model)

    monkeypatch.setenv("THUMBLINE_CACHE_DIR", str(tmp_path / "empty"))
    again = evaluate(tmp_path / "run", dataset=dataset)
    assert loaded[1:] == [tmp_path / "run" / "model", str(model)]
    assert again["reward_margin"] == pytest.approx(found["reward_margin"], abs=1e-5)

    other = write_dataset(tmp_path / "other", test=4)
    assert evaluate(tmp_path / "run", dataset=other, split="train")["rows"] == 18
    shutil.rmtree(model)
    write_model(model, seed=7)
    with pytest.raises(ModelError, match="not the one that the run began with"):
        evaluate(tmp_path / "run", dataset=dataset)


def test_run_of_a_gpu_is_evaluated_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a config that asks for a GPU is refused there, instead of taking days on the CPU."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    model, dataset = write_model(tmp_path / "model"), write_dataset(tmp_path / "dataset")
    card = train(tiny_config(max_steps=1), dataset=dataset, model=str(model), out=tmp_path / "run")
    replace(card, config={**card.config, "device": "cuda"}).write(tmp_path / "run")
    assert evaluate(tmp_path / "run", dataset=dataset)["rows"] == 8
    message = (
        "device: there is no GPU that PyTorch can use: got 'cuda'; expected auto or cpu on this machine. Set device"
    )
    with pytest.raises(ConfigError, match=message):
        evaluate(tmp_path / "run", dataset=dataset, config=tiny_config(device="cuda"))
    with pytest.raises(ConfigError, match=message):
        train(tiny_config(device="cuda"), dataset=dataset, model=str(model), out=tmp_path / "other")


def test_model_is_evaluated_against_the_named_reference(tmp_path: Path) -> None:
    """A model against itself has learned nothing."""
    model = str(write_model(tmp_path / "model"))
    dataset = write_dataset(tmp_path / "dataset")
    with pytest.raises(ConfigError, match="--reference"):
        evaluate(model, dataset=dataset)
    found = evaluate(model, dataset=dataset, reference=model)
    assert (found["reward_accuracy"], found["reward_margin"]) == (0.5, pytest.approx(0, abs=1e-5))
    other = str(write_model(tmp_path / "other", seed=3))
    assert abs(evaluate(other, dataset=dataset, reference=model)["largest_ratio"]) > 0.1


def test_split_without_rows_is_refused(tmp_path: Path) -> None:
    model = str(write_model(tmp_path / "model"))
    with pytest.raises(EmptySplitError, match="'test' has no row"):
        evaluate(model, dataset=write_dataset(tmp_path / "dataset", test=0), reference=model)


def test_reward_means_need_rows() -> None:
    assert RewardSums(0, 2, 0.0, 3.0).to_dict() == {
        "n_desirable": 0,
        "n_undesirable": 2,
        "reward_desirable": None,
        "reward_undesirable": 1.5,
        "reward_margin": None,
    }


def test_metrics_of_a_resumed_run_have_no_step_twice(tmp_path: Path) -> None:
    """Steps 0 to 3 were written, the checkpoint is of step 2; a kill tore the last line."""
    with MetricsLog(tmp_path, steps_done=0) as log:
        log.write("evaluation", 0, {"loss": 0.5})
        for step in range(4):
            log.write("step", step, {"loss": float("nan") if step == 1 else 1.0, "note": "text"})
        log.write("evaluation", 4, {"loss": 0.4})
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"kind": "st')
    with MetricsLog(tmp_path, steps_done=2) as log:
        log.write("step", 2, {"loss": 2.0})
    lines = read_metrics(tmp_path)
    assert [(line["kind"], line["step"], line["loss"]) for line in lines] == [
        ("evaluation", 0, 0.5),
        ("step", 0, 1.0),
        ("step", 1, None),
        ("step", 2, 2.0),
    ]
    with MetricsLog(tmp_path, steps_done=0):
        assert read_metrics(tmp_path) == []


def test_tensorboard_shows_the_scalars(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with MetricsLog(tmp_path, steps_done=0) as log:
        for step in range(3):
            log.write("step", step, {"loss": step / 2, "reward_margin": None})
    accumulator = EventAccumulator(str(tmp_path / "tensorboard"))
    accumulator.Reload()
    assert accumulator.Tags()["scalars"] == ["step/loss"]
    assert [event.value for event in accumulator.Scalars("step/loss")] == [0.0, 0.5, 1.0]


def test_answers_of_a_batch_are_those_of_single_prompts(tmp_path: Path) -> None:
    """Prompts of different lengths are padded on the left and masked, so padding changes no answer."""
    loaded = load_policy(write_model(tmp_path / "model"))
    prompts = [[{"role": "user", "content": "hello " * count}] for count in (3, 1, 7)]
    single = [generate(loaded, [prompt], max_new_tokens=6)[0] for prompt in prompts]  # type: ignore[list-item]
    assert generate(loaded, prompts, max_new_tokens=6) == single  # type: ignore[arg-type]


def test_answer_stops_at_the_token_that_ends_a_turn(tmp_path: Path) -> None:
    """A head that prefers the turn end after everything gives empty answers."""
    loaded = load_policy(write_model(tmp_path / "model", tied=False))
    with torch.no_grad():
        loaded.model.lm_head.weight.zero_()
    end = loaded.tokenizer.eos_token_id

    def prefer_end(module: Any, inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        return logits + torch.nn.functional.one_hot(torch.tensor(end), logits.shape[-1])

    loaded.model.lm_head.register_forward_hook(prefer_end)
    assert generate(loaded, [[{"role": "user", "content": "hello"}]], max_new_tokens=50) == [""]


def test_prompt_without_a_turn_is_refused(tmp_path: Path) -> None:
    loaded = load_policy(write_model(tmp_path / "model"))
    with pytest.raises(InputError, match="prompt 0: a prompt has no turn"):
        generate(loaded, [[]])


@pytest.mark.parametrize("name", ["max_new_tokens", "batch_size"])
def test_an_answer_of_nothing_is_refused(tmp_path: Path, name: str) -> None:
    loaded = load_policy(write_model(tmp_path / "model"))
    options: dict[str, Any] = {name: 0}
    with pytest.raises(InputError, match=f"{name}: nothing is asked for: got 0; expected at least 1"):
        generate(loaded, [[{"role": "user", "content": "hello"}]], **options)


def test_model_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    """Not to be no finished run, for which a reference would help."""
    with pytest.raises(ModelError, match=r"no such model: got '.*nowhere'"):
        evaluate(tmp_path / "nowhere", dataset=tmp_path)


def test_paths_may_be_texts(tmp_path: Path) -> None:
    model, dataset, out = write_model(tmp_path / "model"), write_dataset(tmp_path / "dataset"), str(tmp_path / "run")
    card = train(tiny_config(max_steps=1), dataset=str(dataset), model=model, out=out)
    assert card.model["name"] == str(model)
    found = evaluate(out, dataset=str(dataset), reference=model)
    assert found == evaluate(Path(out), dataset=dataset)
    assert len(read_split(str(dataset), "test")) == found["rows"]
