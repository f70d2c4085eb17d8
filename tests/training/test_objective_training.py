"""Every objective trains with the same trainer: it learns, resumes bit for bit, and refuses what it cannot use."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from align.artifacts.metrics import read_metrics
from align.evaluate import evaluate
from align.evaluate.generate import generate
from align.models.loading import load_policy
from align.objectives import OBJECTIVES
from align.tokens.control_tokens import CONTROL_TOKENS
from align.trainer import train
from schemas.errors import ConfigError, EmptySplitError, InputError
from tests.tiny_run import tiny_config, write_dataset, write_model

pytestmark = pytest.mark.usefixtures("own_cache")

VARIANTS: dict[str, dict[str, Any]] = {
    **{
        name: {"name": name} for name in OBJECTIVES if not OBJECTIVES[name].is_online
    },  # see tests/training/test_rlhf.py
    "kto concave": {"name": "kto", "value": "concave"},
    "kto risk-neutral": {"name": "kto", "value": "risk_neutral"},
    "kto kahneman-tversky": {"name": "kto", "value": "kahneman_tversky"},
    "kto uniform": {"name": "kto", "reference": "uniform", "desirable_weight": 1.75, "beta": 0.01},
    "kto without z0": {"name": "kto", "z0_scope": "none"},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same answers as labelled rows and as pairs."""
    folder = tmp_path_factory.mktemp("data")
    pairs = folder / "pairs"
    pairs.mkdir()
    chance = random.Random(1)
    for split, count in (("train", 12), ("test", 6)):
        lines = [
            {
                "row_id": f"{split}-{n}",
                "prompt": f"hello {n} " * chance.randint(1, 4),
                "chosen": "yes it is " * chance.randint(1, 4),
                "rejected": "no sorry " * chance.randint(1, 4),
            }
            for n in range(count)
        ]
        (pairs / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {"unpaired_preference": write_dataset(folder / "rows"), "preference": pairs}


def weights(folder: Path, name: str = "kto") -> dict[str, torch.Tensor]:
    return dict(load_policy(folder / "model", head=OBJECTIVES[name].head).model.state_dict())


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_an_objective_learns_what_it_is_for(
    variant: str, model: str, datasets: dict[str, Path], tmp_path: Path
) -> None:
    objective = VARIANTS[variant]
    known = OBJECTIVES[objective["name"]]
    dataset = datasets[known.data]
    out = tmp_path / "run"
    epochs = (
        6 if known.needs_reference or known.head == "rewards" else 15
    )  # likelihood alone tells good from bad more slowly
    card = train(tiny_config(objective=objective, epochs=epochs), dataset=dataset, model=model, out=out)
    steps = [line for line in read_metrics(out) if line["kind"] == "step"]
    first, last = card.evaluation["first"], card.evaluation["last"]
    epoch = len(steps) // epochs
    means = [sum(line["loss"] for line in part) / epoch for part in (steps[:epoch], steps[-epoch:])]
    if not known.is_of_tokens:  # whose loss is measured anew against whitened advantages in each step
        assert means[1] < means[0]
        assert last["loss"] < first["loss"]
    assert first["reward_accuracy"] == 0.5
    if not known.has_control_tokens:  # there, a long answer of either kind gains most
        assert last["reward_accuracy"] > 0.9
    if known.data == "preference":
        assert steps[-1]["pair_accuracy"] == 1.0
        assert (steps[0]["n_desirable"], steps[0]["n_undesirable"]) == (6, 6)
    if known.only_desirable:
        assert card.rows["train"]["lost"] == {"undesirable": 9}
    again = evaluate(str(out), dataset=dataset)
    for key in ("reward_accuracy", "reward_margin", "loss"):
        assert again[key] == (None if last[key] is None else pytest.approx(last[key], abs=1e-4)), key


@pytest.mark.parametrize("name", sorted(set(VARIANTS) & set(OBJECTIVES) - {"kto"}))
def test_an_interrupted_run_goes_on_bit_for_bit(
    name: str, model: str, datasets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = datasets[OBJECTIVES[name].data]
    config = tiny_config(objective={"name": name})
    train(config, dataset=dataset, model=model, out=tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("align.trainer.loop._is_stopping", lambda run, _stop: run.total_steps > 0)
        with pytest.raises(KeyboardInterrupt):
            train(config, dataset=dataset, model=model, out=tmp_path / "broken")
    train(config, dataset=dataset, model=model, out=tmp_path / "broken")
    whole, broken = (weights(tmp_path / run, name) for run in ("whole", "broken"))
    assert whole.keys() == broken.keys()
    assert all(torch.equal(whole[key], broken[key]) for key in whole)


@pytest.mark.parametrize("name", ["dpo", "orpo", "sft", "offline_ppo"])
def test_a_token_budget_changes_no_weight(name: str, model: str, datasets: dict[str, Path], tmp_path: Path) -> None:
    """Pairs travel together whatever the budget, and a step's loss is one mean."""
    dataset = datasets[OBJECTIVES[name].data]
    found = []
    for tokens in (1, 200, 10_000):
        config = tiny_config(objective={"name": name}, batch={"tokens_per_micro_batch": tokens}, max_steps=2)
        train(config, dataset=dataset, model=model, out=tmp_path / str(tokens))
        found.append(weights(tmp_path / str(tokens)))
    for other in found[1:]:
        for key, value in found[0].items():
            torch.testing.assert_close(other[key], value, atol=1e-5, rtol=1e-4)


def test_csft_asks_for_good_answers_without_being_told(model: str, datasets: dict[str, Path], tmp_path: Path) -> None:
    """The tokens are in vocabulary, embeddings and template, once, also where a trained model is trained again."""
    config = tiny_config(objective={"name": "csft"}, epochs=20)
    train(config, dataset=datasets["unpaired_preference"], model=model, out=tmp_path / "run")
    trained = load_policy(tmp_path / "run" / "model")
    ids = [trained.tokenizer.convert_tokens_to_ids(token) for token in CONTROL_TOKENS.values()]
    assert len(set(ids)) == 2
    assert trained.model.get_input_embeddings().weight.shape[0] >= max(ids) + 1
    text = trained.tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text.endswith(CONTROL_TOKENS[True])
    assert CONTROL_TOKENS[False] not in text
    questions = [[{"role": "user", "content": f"hello {n} hello {n} "}] for n in range(4)]
    good = generate(trained, questions, max_new_tokens=8)
    asked = trained.tokenizer.chat_template
    trained.tokenizer.chat_template = asked.replace(CONTROL_TOKENS[True], CONTROL_TOKENS[False])
    bad = generate(trained, questions, max_new_tokens=8)
    trained.tokenizer.chat_template = asked
    assert [text[:3] for text in good] == ["yes"] * 4
    assert [text[:2] for text in bad] == ["no"] * 4
    again = str(tmp_path / "run" / "model")
    train(config, dataset=datasets["unpaired_preference"], model=again, out=tmp_path / "again")
    twice = load_policy(tmp_path / "again" / "model")
    assert len(twice.tokenizer) == len(trained.tokenizer)
    assert twice.tokenizer.chat_template == trained.tokenizer.chat_template


def test_pairs_for_labelled_answers_and_the_reverse_are_refused(
    model: str, datasets: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"trains on labelled answers.*--type unpaired_preference"):
        train(tiny_config(), dataset=datasets["preference"], model=model, out=tmp_path / "run")
    config = tiny_config(objective={"name": "dpo"})
    with pytest.raises(InputError, match=r"trains on pairs.*--type preference"):
        train(config, dataset=datasets["unpaired_preference"], model=model, out=tmp_path / "run")


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"name": "orpo", "beta": 0.2}, r"objective\.beta: the objective 'orpo' has no such setting.*odds_weight"),
        ({"name": "dpo", "z0_scope": "micro"}, r"objective\.z0_scope: .*got 'micro'; expected only beta"),
        ({"name": "sft", "margin": 2.0}, r"objective\.margin: .*expected only none"),
        ({"name": "kto", "loss_aversion": 3.0}, r"loss_aversion: settings .* exclude.*kahneman_tversky"),
        (
            {"name": "kto", "ratio_low": 2.0},
            r"objective\.ratio_low: ratio_low is greater than ratio_high: got \(2\.0, 1\.3",
        ),
        ({"name": "kto", "reference": "uniform", "z0_scope": "none"}, r"z0_scope: settings .* exclude.*uniform"),
    ],
)
def test_settings_that_mean_nothing_are_refused_before_anything_is_read(
    objective: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(tiny_config(objective=objective), dataset=tmp_path / "none", model="none", out=tmp_path / "run")


def test_sft_without_a_desirable_row_is_refused(model: str, tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", label=lambda _: False)
    with pytest.raises(EmptySplitError, match="no desirable row is left to train on: got '18 undesirable rows'"):
        train(tiny_config(objective={"name": "sft"}), dataset=dataset, model=model, out=tmp_path / "run")


@pytest.mark.parametrize("name", ["csft", "reward_model"])
def test_new_weights_and_an_adapter_exclude_each_other(
    name: str, model: str, datasets: dict[str, Path], tmp_path: Path
) -> None:
    config = tiny_config(objective={"name": name}, adapter={"enabled": True})
    with pytest.raises(ConfigError, match=rf"adapter\.enabled: the objective '{name}' trains new weights"):
        train(config, dataset=datasets[OBJECTIVES[name].data], model=model, out=tmp_path / "run")


def test_a_pair_that_loses_one_answer_is_left_out_whole(model: str, tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    folder.mkdir()
    rows = [
        {"prompt": f"hello {n}", "chosen": "yes " * (1 + 90 * (n == 0)), "rejected": "no " * (1 + 90 * (n == 1))}
        for n in range(6)
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = tiny_config(objective={"name": "dpo"}, tokens={"max_completion_tokens": 100}, epochs=1)
    card = train(config, dataset=folder, model=model, out=tmp_path / "run")
    assert (card.rows["train"]["read"], card.rows["train"]["kept"]) == (6, 4)
    assert card.rows["train"]["lost"] == {"too_long": 2}
