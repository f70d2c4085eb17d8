"""Offline PPO on a model: the step against a plain computation, and what is left of it when the model is saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import align.trainer.loop as loop
from align.config import ObjectiveConfig
from align.distributed.ranks import start_accelerator
from align.models.loading import LoadedModel, load_policy
from align.scoring.logps import CompletionLogps
from align.scoring.scorer import Scorer
from align.step.actor_critic import ActorCritic, attach_critic, backward_actor_critic, detach_critic
from align.step.example import Example
from align.trainer import train
from schemas.errors import ReferenceMismatchError
from tests.conftest import make_model
from tests.tiny_run import tiny_config, write_dataset, write_model

CONFIG = ObjectiveConfig(name="offline_ppo", clip=0.3, value_weight=0.5, kl_weight=0.2)


def examples() -> list[Example]:
    torch.manual_seed(2)
    rows = []
    for position, (prompt, answer) in enumerate([(3, 4), (9, 2), (5, 7), (2, 1), (6, 3)]):
        pair = tuple(tuple(torch.randint(4, 300, (length,)).tolist()) for length in (prompt, answer))
        rows.append(Example(f"r{position}", (pair,), None, (0.0,), 0.0, position % 2 == 0, 1.0 + position / 4))  # type: ignore[arg-type]
    return rows


def drifted() -> tuple[LoadedModel, Any]:
    """A policy a little way from its reference, with a value head that says something."""
    loaded = LoadedModel(make_model(), None, "tiny", "digest")
    critic = attach_critic(loaded)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return loaded, critic


def plain_loss(loaded: LoadedModel, critic: Any, rows: list[Example]) -> tuple[torch.Tensor, list[float]]:
    """LOSSES.md, one row and one token at a time: the loss of the step and the log-ratio of each row."""
    head, reference = critic.value_head(), critic.reference.module.model
    found = []
    for row in rows:
        prompt, answer = row.sequences[0]
        ids = torch.tensor([[*prompt, *answer]])
        start = len(prompt) - 1

        def logps(model: Any, ids: torch.Tensor = ids, start: int = start) -> torch.Tensor:
            every = model(ids).logits[0, :-1].log_softmax(-1)
            picked: torch.Tensor = every.gather(1, ids[0, 1:, None]).squeeze(1)[start:]
            return picked

        hidden = loaded.model.model(ids).last_hidden_state[0, start:-1]
        values = head(hidden).squeeze(-1)
        with torch.no_grad():
            theirs = logps(reference)
        rewards = [0.0] * (len(answer) - 1) + [1.0 if row.label else -1.0]
        advantages: list[float] = []
        later = 0.0
        known = values.detach().tolist()
        for place in range(len(answer) - 1, -1, -1):
            following = known[place + 1] if place + 1 < len(answer) else 0.0
            later = rewards[place] + 0.99 * following - known[place] + 0.99 * 0.95 * later
            advantages.insert(0, later)
        found.append((logps(loaded.model), theirs, values, torch.tensor(advantages), row.weight))
    together = torch.cat([one[3] for one in found])
    mean, variance = together.mean(), together.var(unbiased=False)
    total = torch.zeros(())
    for ours, theirs, values, advantages_of, weight in found:
        whitened = (advantages_of - mean) / (variance + 1e-8).sqrt()
        ratio = (ours - theirs).exp()
        surrogate = torch.maximum(-whitened * ratio, -whitened * ratio.clamp(0.7, 1.3))
        error = 0.25 * (values - (advantages_of + values.detach())) ** 2
        total = total + weight * (surrogate + error + 0.2 * (ours - theirs)).mean()
    return total / len(rows), [float((one[0] - one[1]).sum().detach()) for one in found]


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("tokens", [1, 20, 10_000])
def test_a_step_equals_the_definition_in_any_micro_batches(tokens: int) -> None:
    rows = examples()
    loaded, critic = drifted()
    wanted, ratios = plain_loss(loaded, critic, rows)
    wanted.backward()
    theirs = gradients(loaded.model)
    loaded, critic = drifted()
    scorer = Scorer(CompletionLogps(loaded.model), torch.device("cpu"), "float32", 0, tokens)
    outcome = backward_actor_critic(rows, scorer, critic, CONFIG, start_accelerator("cpu"))
    assert outcome.loss == pytest.approx(float(wanted.detach()), abs=1e-5)
    ours = gradients(loaded.model)
    assert ours.keys() == theirs.keys()
    assert "value_head.weight" in ours
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=2e-5, rtol=1e-3)
    assert outcome.rewards.desirable == 3
    of_label = {
        label: sum(r for r, row in zip(ratios, rows, strict=True) if row.label is label) for label in (True, False)
    }
    assert outcome.rewards.desirable_reward == pytest.approx(of_label[True], abs=1e-4)
    assert outcome.rewards.undesirable_reward == pytest.approx(of_label[False], abs=1e-4)
    assert outcome.largest_ratio == pytest.approx(max(map(abs, ratios)), abs=1e-4)


def test_a_row_of_weight_0_teaches_nothing_but_moves_the_mean_of_advantages() -> None:
    rows = [replace(row, weight=0.0) for row in examples()]
    loaded, critic = drifted()
    scorer = Scorer(CompletionLogps(loaded.model), torch.device("cpu"), "float32", 0, 100)
    outcome = backward_actor_critic(rows, scorer, critic, CONFIG, start_accelerator("cpu"))
    assert outcome.loss == 0.0
    assert all(not value.any() for value in gradients(loaded.model).values())


@pytest.mark.usefixtures("own_cache")
def test_the_value_head_is_gone_when_the_model_is_saved(tmp_path: Any) -> None:
    model, dataset = write_model(tmp_path / "model"), write_dataset(tmp_path / "data")
    config = tiny_config(objective={"name": "offline_ppo"}, max_steps=2)
    train(config, dataset=dataset, model=str(model), out=tmp_path / "out")
    with safe_open(tmp_path / "out" / "model" / "model.safetensors", "pt") as file:
        assert not [name for name in file.keys() if "value_head" in name]  # noqa: SIM118 - it is no mapping
    assert not hasattr(load_policy(tmp_path / "out" / "model").model, "value_head")
    lines = (tmp_path / "out" / "metrics.jsonl").read_text()
    assert '"loss": null' in lines


@pytest.mark.usefixtures("own_cache")
def test_with_an_adapter_the_reference_is_the_model_without_it(tmp_path: Any) -> None:
    model, dataset = write_model(tmp_path / "model"), write_dataset(tmp_path / "data")
    config = tiny_config(objective={"name": "offline_ppo"}, adapter={"enabled": True, "rank": 4}, epochs=4)
    card = train(config, dataset=dataset, model=str(model), out=tmp_path / "out")
    assert card.evaluation["last"]["reward_margin"] > 0.05
    assert card.steps["first_largest_ratio"] < 1e-3


def test_a_reference_of_other_weights_stops_before_the_first_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attach(loaded: LoadedModel) -> ActorCritic:
        critic = attach_critic(loaded)
        assert critic.reference.module is not None
        with torch.no_grad():
            for weight in critic.reference.module.parameters():
                weight.mul_(1.05)
        return critic

    monkeypatch.setattr(loop, "attach_critic", attach)
    model, dataset = write_model(tmp_path / "model"), write_dataset(tmp_path / "data")
    with pytest.raises(ReferenceMismatchError, match="step 0: policy and reference differ"):
        train(tiny_config(objective={"name": "offline_ppo"}), dataset=dataset, model=str(model), out=tmp_path / "out")


def test_what_was_attached_can_be_taken_off() -> None:
    loaded, critic = drifted()
    detach_critic(critic)
    assert not hasattr(loaded.model, "value_head")
