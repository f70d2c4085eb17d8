"""Control tokens of csft on a model that was trained with csft before: one to an answer, and one to a question."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from align.batches.inputs import build_inputs, read_rows, tokenize_split
from align.data.dataset import read_split
from align.evaluate.held_out_rewards import evaluate
from align.models.loading import load_policy, load_tokenizer
from align.objectives import OBJECTIVES
from align.scoring.scorer import build_scorer
from align.tokens.control_tokens import CONTROL_TOKENS, add_control_tokens, ask_for_good, with_control_tokens
from align.trainer import train
from tests.conftest import CHAT_TEMPLATE, make_model, make_tokenizer
from tests.tiny_run import tiny_config

pytestmark = pytest.mark.usefixtures("own_cache")


def test_csft_goes_on_from_a_model_of_csft_with_one_token_to_each(model: str, dataset: Path, tmp_path: Path) -> None:
    """The ids of a second run are those of the first, and so is the saved template."""
    config = tiny_config(objective={"name": "csft"}, max_steps=1)
    inputs = []
    names = [model, str(tmp_path / "first" / "model")]
    for name, out in zip(names, ("first", "second"), strict=True):
        train(config, dataset=dataset, model=name, out=tmp_path / out)
        loaded = load_policy(name)
        add_control_tokens(loaded.model, loaded.tokenizer)
        rows = read_rows(dataset, OBJECTIVES["csft"])
        inputs.append(build_inputs(rows, loaded.tokenizer, config, dataset=dataset))
    first, second = inputs
    assert second.train.rows == first.train.rows
    assert second.held_out == first.held_out
    assert second.digests == first.digests
    tokenizer = load_tokenizer(tmp_path / "second" / "model")
    good, bad = (tokenizer.convert_tokens_to_ids(CONTROL_TOKENS[label]) for label in (True, False))
    for row in second.train.rows:
        assert [each for each in (*row.prompt_ids, *row.completion_ids) if each in (good, bad)] == [
            good if row.label else bad
        ]
    held_out = tokenize_split(read_split(dataset, "test"), tokenizer, config.tokens).rows
    for row in (*second.held_out.rows, *held_out):
        assert row.prompt_ids[-1] == good
        assert [*row.prompt_ids, *row.completion_ids].count(good) == 1
    assert tokenizer.chat_template == load_tokenizer(tmp_path / "first" / "model").chat_template
    assert tokenizer.chat_template.count(CONTROL_TOKENS[True]) == 1


def test_the_held_out_loss_of_csft_is_its_objectives(model: str, dataset: Path, tmp_path: Path) -> None:
    """Mean of a token, each answer behind its own label's, which counts too; rewards are of what is asked for good."""
    config, out = tiny_config(objective={"name": "csft"}, max_steps=2), tmp_path / "run"
    last = train(config, dataset=dataset, model=model, out=out).evaluation["last"]
    trained, asking = load_policy(out / "model"), load_policy(model)
    add_control_tokens(asking.model, asking.tokenizer)
    rows = tokenize_split(read_split(dataset, "test"), asking.tokenizer, config.tokens)
    learned = [row.sequences[0] for row in with_control_tokens(rows, asking.tokenizer).rows]
    assert [pair[1][0] for pair in learned] == asking.tokenizer.convert_tokens_to_ids(
        [CONTROL_TOKENS[row.label] for row in rows.rows]
    )
    scorer = build_scorer(trained, device=torch.device("cpu"), dtype="float32", tokens=200)
    loss = -sum(scorer.score(learned)) / sum(len(completion) for _, completion in learned)
    assert last["loss"] == pytest.approx(loss, abs=1e-5)
    again = evaluate(out, dataset=dataset)
    assert (again["loss"], again["reward_margin"]) == pytest.approx((last["loss"], last["reward_margin"]), abs=1e-5)
    assert evaluate(model, dataset=dataset, reference=model, config=config)["loss"] is None


def test_each_of_several_templates_asks_and_stops_asking() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = {"default": CHAT_TEMPLATE, "tool_use": CHAT_TEMPLATE}
    ask_for_good(tokenizer)
    ask_for_good(tokenizer)
    assert [template.count(CONTROL_TOKENS[True]) for template in tokenizer.chat_template.values()] == [1, 1]
    add_control_tokens(make_model(), tokenizer)
    assert set(tokenizer.chat_template.values()) == {CHAT_TEMPLATE}
