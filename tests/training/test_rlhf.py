"""RLHF: advantages and gradients by hand, samples that follow from the seed, and a tiny model that earns more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from align.artifacts.card import find_run_card
from align.artifacts.metrics import read_metrics
from align.config import ObjectiveConfig
from align.evaluate.generate import sample_token_ids
from align.models.loading import load_policy, load_tokenizer
from align.objectives.rloo import leave_one_out_advantages, penalized_rewards, rloo_loss
from align.resources.forecast import forecast
from align.step.rlhf import step_seed
from align.trainer import train
from cli.main import thumbline
from schemas.errors import CheckpointMismatchError, ConfigError, ModelError, ShapeError
from tests.conftest import make_model, make_tokenizer
from tests.tiny_run import tiny_config, write_model

pytestmark = pytest.mark.usefixtures("own_cache")


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_returns_and_advantages_by_hand() -> None:
    """R = 2 - 0.5 (-3 - -5) = 1 and 4 - 0.5 (-6 - -4) = 5 and 0: advantages 1 - 5/2, 5 - 1/2 and 0 - 3."""
    rewards, policy, reference = double(2, 4, 0)[None], double(-3, -6, -1)[None], double(-5, -4, -1)[None]
    returns = penalized_rewards(rewards, policy, reference, beta=0.5)
    assert returns.tolist() == [[1.0, 5.0, 0.0]]
    assert leave_one_out_advantages(returns).tolist() == [pytest.approx([-1.5, 4.5, -3.0])]


def test_advantages_are_those_of_a_loop() -> None:
    returns = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    oracle = [[row[k] - sum(row[j] for j in range(4) if j != k) / 3 for k in range(4)] for row in returns.tolist()]
    torch.testing.assert_close(leave_one_out_advantages(returns), torch.tensor(oracle, dtype=torch.float64))


def test_gradient_of_the_loss_is_minus_the_advantage_times_the_weight() -> None:
    logps = double(-3.0, -1e4, 0.0).requires_grad_()
    advantages = double(2.0, -1.5, 0.0).requires_grad_()
    losses = rloo_loss(logps, advantages, double(1.0, 2.0, 3.0))
    assert losses.tolist() == [6.0, -3e4, 0.0]
    losses.sum().backward()
    assert logps.grad is not None
    assert logps.grad.tolist() == [-2.0, 3.0, 0.0]
    assert advantages.grad is None


def test_the_expected_gradient_is_that_of_reward_less_kl() -> None:
    """A softmax of three answers: all 81 draws of four, each with its probability, against autograd of the target."""
    logits = double(0.3, -0.2, 0.9).requires_grad_()
    reference, rewards, beta = torch.log_softmax(double(0.5, 0.1, -0.4), dim=0), double(1.0, -2.0, 0.5), 0.7
    logps = torch.log_softmax(logits, dim=0)
    target = (logps.exp() * (rewards - beta * (logps - reference))).sum()
    (wanted,) = torch.autograd.grad(target, logits, retain_graph=True)
    draws = torch.cartesian_prod(*[torch.arange(3)] * 4)
    returns = penalized_rewards(rewards[draws], logps[draws], reference[draws], beta=beta)
    advantages = leave_one_out_advantages(returns)
    losses = rloo_loss(logps[draws].flatten(), advantages.flatten()).view(81, 4).mean(dim=1)
    expected = (logps[draws].sum(dim=1).exp().detach() * losses).sum()
    (found,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(-found, wanted)


@pytest.mark.parametrize("shape", [(3, 1), (4,)])
def test_an_answer_without_others_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="no other answers to compare with"):
        leave_one_out_advantages(torch.zeros(shape))


def test_alike_answers_teach_nothing() -> None:
    assert leave_one_out_advantages(torch.full((2, 3), 7.25)).tolist() == [[0.0] * 3] * 2


def test_samples_follow_from_the_seed_and_end_with_the_token_that_ends(tmp_path: Path) -> None:
    loaded = load_policy(write_model(tmp_path / "model"))
    prompts = [(1, 2, 3), (4, 5), (6, 7, 8, 9)]
    end = loaded.tokenizer.eos_token_id
    with torch.no_grad():  # an end is likely, not certain
        loaded.model.get_output_embeddings().weight[end] *= 3
    drawn = [sample_token_ids(loaded, prompts * 20, max_new_tokens=6, seed=seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(1 <= len(answer) <= 6 for answer in drawn[0])
    assert all(end not in answer[:-1] for answer in drawn[0])
    assert all(answer[-1] == end for answer in drawn[0] if len(answer) < 6)
    assert len({step_seed(seed, step) for seed in (0, 1) for step in range(50)}) == 100


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Answers with an exclamation mark are preferred, to prompts of one word."""
    folder = tmp_path_factory.mktemp("pairs")
    for split, start, count in (("train", 0, 12), ("test", 20, 4)):
        rows = [
            {"prompt": f"hello {n}", "chosen": "!" * (1 + n % 3), "rejected": "zq " * (1 + n % 2)}
            for n in range(start, start + count)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def reward_run(model: str, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("reward") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THUMBLINE_CACHE_DIR", str(out.parent / "cache"))
        train(tiny_config(objective={"name": "reward_model"}, epochs=10), dataset=pairs, model=model, out=out)
    return str(out)


def rlhf(reward_run: str, **changes: Any) -> Any:
    objective = {"name": "rlhf", "reward_model": reward_run, "max_answer_tokens": 3, "answers_per_prompt": 8}
    return tiny_config(objective=objective | changes.pop("objective", {}), **changes)


def test_a_tiny_model_earns_more_and_a_larger_beta_holds_it_nearer(
    model: str, pairs: Path, reward_run: str, tmp_path: Path
) -> None:
    found = {}
    for beta in (0.01, 1.0):
        out = tmp_path / f"run-{beta}"
        config = rlhf(reward_run, epochs=20, objective={"beta": beta}, optimizer={"learning_rate": 0.02})
        card = train(config, dataset=pairs, model=model, out=out)
        lines = [line for line in read_metrics(out) if line["kind"] == "step"]
        assert lines[0]["answer_drift"] == pytest.approx(0, abs=1e-4)
        assert lines[0]["largest_ratio"] < 1e-4
        assert all(0 <= line["answers_cut"] <= 1 for line in lines)
        rewards = [line["answer_reward"] for line in lines]
        found[beta] = (sum(rewards[-6:]) / 6 - sum(rewards[:6]) / 6, lines[-1]["answer_drift"])
        assert card.steps["last_answer_reward"] == rewards[-1]
        assert card.digests["reward_model"]
        assert "Mean reward of sampled answers" in (out / "run_card.md").read_text("utf-8")
    assert found[0.01][0] > 1.0
    assert abs(found[1.0][0]) < 0.5
    assert found[0.01][1] > 10 * abs(found[1.0][1])


def test_an_interrupted_run_goes_on_bit_for_bit(
    model: str, pairs: Path, reward_run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples follow from the step, and the reference is the model that training began with."""
    config = rlhf(reward_run, max_steps=4)
    train(config, dataset=pairs, model=model, out=tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("align.trainer.loop._is_stopping", lambda _run, _stop: True)
        with pytest.raises(KeyboardInterrupt):
            train(config, dataset=pairs, model=model, out=tmp_path / "broken")
    train(config, dataset=pairs, model=model, out=tmp_path / "broken")
    whole, broken = (load_policy(tmp_path / run / "model").model.state_dict() for run in ("whole", "broken"))
    assert all(torch.equal(whole[key], broken[key]) for key in whole)


@pytest.mark.parametrize("execution", [{"batch": {"tokens_per_micro_batch": 1}}, {"gradient_checkpointing": True}])
def test_micro_batches_and_recomputed_activations_change_no_weight(
    execution: dict[str, Any], model: str, pairs: Path, reward_run: str, tmp_path: Path
) -> None:
    found = []
    for name, changes in (("plain", {}), ("other", execution)):
        train(rlhf(reward_run, max_steps=2, **changes), dataset=pairs, model=model, out=tmp_path / name)
        found.append(load_policy(tmp_path / name / "model").model.state_dict())
    for key, value in found[0].items():
        torch.testing.assert_close(value, found[1][key], rtol=1e-3, atol=2e-4)


def test_an_adapter_is_switched_off_for_the_reference(model: str, pairs: Path, reward_run: str, tmp_path: Path) -> None:
    """The drift is 0 before the first step and not afterwards, though no second model is in memory."""
    config = rlhf(reward_run, max_steps=3, adapter={"enabled": True, "rank": 4}, optimizer={"learning_rate": 0.05})
    train(config, dataset=pairs, model=model, out=tmp_path / "run")
    drifts = [line["answer_drift"] for line in read_metrics(tmp_path / "run") if line["kind"] == "step"]
    assert drifts[0] == pytest.approx(0, abs=1e-4)
    assert abs(drifts[-1]) > 1e-3


def test_a_forecast_counts_what_is_sampled(model: str, pairs: Path, reward_run: str) -> None:
    """12 prompts with 8 answers of at most 3 tokens, 2 epochs; the reference scores each of them anew."""
    config = rlhf(reward_run)
    found = forecast(pairs, load_tokenizer(model), config, parameters=100)
    assert found.passes is not None
    assert (found.passes.policy.sequences, found.passes.reference.sequences) == (12 * 8 * 2, 12 * 8 * 2 + 8)
    assert found.passes.policy.flops_per_weight == 6 + 2 + 2


def test_a_reward_model_of_another_tokenizer_is_refused(model: str, pairs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    make_model().save_pretrained(other)
    make_tokenizer(added=("<extra>",)).save_pretrained(other)
    run = tmp_path / "reward"
    train(tiny_config(objective={"name": "reward_model"}, max_steps=1), dataset=pairs, model=str(other), out=run)
    with pytest.raises(ModelError, match="another tokenizer than the model that is trained"):
        train(rlhf(str(run)), dataset=pairs, model=model, out=tmp_path / "run")


def test_a_run_is_not_gone_on_with_under_another_reward_model(
    model: str, pairs: Path, reward_run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = tmp_path / "judge"
    judge.symlink_to(reward_run)
    config = rlhf(str(judge))
    with monkeypatch.context() as patch:
        patch.setattr("align.trainer.loop._is_stopping", lambda _run, _stop: True)
        with pytest.raises(KeyboardInterrupt):
            train(config, dataset=pairs, model=model, out=tmp_path / "run")
    judge.unlink()
    train(tiny_config(objective={"name": "reward_model"}, max_steps=1), dataset=pairs, model=model, out=judge)
    with pytest.raises(CheckpointMismatchError, match="reward_model"):
        train(config, dataset=pairs, model=model, out=tmp_path / "run")


def test_without_a_reward_model_nothing_is_trained(model: str, pairs: Path, tmp_path: Path) -> None:
    config = tiny_config(objective={"name": "rlhf"})
    with pytest.raises(ConfigError, match=r"'rlhf' needs a reward model.*objective\.reward_model=RUN"):
        train(config, dataset=pairs, model=model, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_names_the_reward_model_in_a_file_beside_it(
    model: str, pairs: Path, reward_run: str, tmp_path: Path
) -> None:
    (tmp_path / "reward").symlink_to(reward_run)
    lines = [
        f'dataset = "{pairs}"',
        f'model = "{model}"',
        'out = "run"',
        "max_steps = 1",
        'device = "cpu"',
        "[objective]",
        'name = "rlhf"',
        'reward_model = "reward"',
        "max_answer_tokens = 3",
    ]
    (tmp_path / "rlhf.toml").write_text("\n".join(lines))
    done = CliRunner().invoke(thumbline, ["train", str(tmp_path / "rlhf.toml")], catch_exceptions=False)
    assert done.exit_code == 0
    card = find_run_card(tmp_path / "run")
    assert card is not None
    assert card.config["objective"]["reward_model"] == str(tmp_path / "reward")


def test_settings_are_those_of_rlhf_alone() -> None:
    from align.objectives.losses import check_objective

    with pytest.raises(ConfigError, match=r"answers_per_prompt: the objective 'dpo' has no such setting"):
        check_objective(ObjectiveConfig(name="dpo", answers_per_prompt=8))
