"""A reward model: one head everywhere, scores of datasets, the best of several answers, and its command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from click.testing import CliRunner

from align.batches.collate import collate
from align.evaluate.rank import RewardModel, load_reward_model, rank_answers, score_dataset
from align.models.loading import load_policy
from align.objectives import OBJECTIVES
from align.scoring.sequence_rewards import SequenceRewards
from align.trainer import train
from cli.main import thumbline
from schemas.errors import EmptySplitError, InputError, ModelError, ShapeError
from tests.conftest import make_model
from tests.tiny_run import tiny_config, write_dataset, write_model


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model that prefers `yes it is` to `no sorry`."""
    folder = tmp_path_factory.mktemp("run")
    pairs = folder / "pairs"
    pairs.mkdir()
    rows = [
        {"prompt": f"hello {n}", "chosen": "yes it is " * (1 + n % 3), "rejected": "no sorry " * (1 + n % 4)}
        for n in range(12)
    ]
    for split in ("train", "test"):
        (pairs / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = write_model(folder / "model")
    config = tiny_config(objective={"name": "reward_model"}, epochs=6)
    card = train(config, dataset=pairs, model=str(model), out=folder / "out")
    assert card.evaluation["last"]["reward_accuracy"] == 1.0
    return folder


def test_a_fresh_reward_model_gives_0_and_the_first_loss_is_log_2(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "out" / "metrics.jsonl").read_text().splitlines()]
    first = next(line for line in lines if line["kind"] == "step")
    assert first["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert (first["reward_margin"], first["largest_ratio"], first["pair_accuracy"]) == (0.0, 0.0, 0.5)


def test_rewards_are_those_that_transformers_gives(run: Path) -> None:
    """Whatever the padding: at the last token of each sequence."""
    loaded = load_policy(run / "out" / "model", head="rewards")
    theirs: Any = transformers.AutoModelForSequenceClassification.from_pretrained(run / "out" / "model")
    pairs = [((5, 6, 7), (8, 9)), ((5, 6), (8, 9, 10, 11)), ((7,), (12,))]
    batch = collate(pairs, loaded.tokenizer.pad_token_id)
    ours = SequenceRewards(loaded.model)(batch.input_ids, batch.attention_mask, batch.completion_mask)
    for (prompt, completion), reward in zip(pairs, ours.tolist(), strict=True):
        logits = theirs(input_ids=torch.tensor([[*prompt, *completion]])).logits
        assert float(logits.detach()) == pytest.approx(reward, abs=1e-5)
    assert len({round(value, 4) for value in ours.tolist()}) == 3


def test_labelled_answers_and_pairs_are_scored(run: Path, tmp_path: Path) -> None:
    judge = load_reward_model(run / "out")
    labelled = score_dataset(judge, write_dataset(tmp_path / "rows"))
    assert (labelled["rows"], labelled["n_desirable"], labelled["n_undesirable"]) == (8, 4, 4)
    assert labelled["reward_accuracy"] == 1.0
    assert labelled["reward_margin"] > 0
    pairs = score_dataset(judge, run / "pairs", split="train")
    assert (pairs["rows"], pairs["reward_accuracy"]) == (12, 1.0)
    with pytest.raises(EmptySplitError, match="the split 'other' has no row to score"):
        score_dataset(judge, run / "pairs", split="other")


def test_the_best_of_several_answers_comes_first(run: Path) -> None:
    """Answers of a random model are ranked by what the reward model gives each; the same seed gives the same ones."""
    judge, policy = load_reward_model(run / "out"), load_policy(run / "model")
    prompts: list[Any] = [[{"role": "user", "content": "hello 1"}], [{"role": "user", "content": "hello 2"}]]
    ranked = rank_answers(policy, judge, prompts, best_of=5, max_new_tokens=6)
    assert [len(answers) for answers in ranked] == [5, 5]
    for answers in ranked:
        rewards = [one.reward for one in answers if one.reward is not None]
        assert rewards == sorted(rewards, reverse=True)
        assert len({one.text for one in answers}) > 1
    assert ranked == rank_answers(policy, judge, prompts, best_of=5, max_new_tokens=6)
    assert ranked != rank_answers(policy, judge, prompts, best_of=5, max_new_tokens=6, seed=1)
    with pytest.raises(InputError, match="best_of: no answer is asked for"):
        rank_answers(policy, judge, prompts, best_of=0)


def test_an_answer_that_is_blank_or_too_long_has_no_reward_and_comes_last(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["no sorry", " ", "yes it is", "yes " * 40]
    monkeypatch.setattr("align.evaluate.rank.generate", lambda *_, **__: texts)
    judge = load_reward_model(run / "out")
    short = RewardModel(judge.loaded, judge.scorer, tiny_config(tokens={"max_completion_tokens": 60}))
    (answers,) = rank_answers(judge.loaded, short, [[{"role": "user", "content": "hello"}]], best_of=4)
    assert [one.text for one in answers[:2]] == ["yes it is", "no sorry"]
    assert [one.reward for one in answers[2:]] == [None, None]


def test_the_command_scores_and_ranks(run: Path, tmp_path: Path) -> None:
    questions = tmp_path / "questions.txt"
    questions.write_text("hello 1\nhello\u20282\n", encoding="utf-8")
    arguments = ["evaluate", str(run / "model"), "--reward-model", str(run / "out")]
    more = ["--dataset", str(run / "pairs"), "--prompts", str(questions), "--best-of", "3", "--max-new-tokens", "4"]
    done = CliRunner().invoke(thumbline, [*arguments, *more, "--json"], catch_exceptions=False)
    found = json.loads(done.stdout)
    assert found["scores"]["reward_accuracy"] == 1.0
    assert [len(one["answers"]) for one in found["answers"]] == [3, 3]
    shown = CliRunner().invoke(thumbline, [*arguments, *more], catch_exceptions=False)
    assert "best of 3" in shown.stdout
    assert "reward accuracy" in shown.stdout
    assert CliRunner().invoke(thumbline, arguments).exit_code == 2
    assert CliRunner().invoke(thumbline, ["evaluate", str(run / "out"), "--best-of", "2"]).exit_code == 2


def test_a_model_without_a_scalar_head_is_refused() -> None:
    with pytest.raises(ModelError, match="the model has no scalar head"):
        SequenceRewards(make_model())


def test_only_training_gives_a_model_a_new_head(run: Path, tmp_path: Path) -> None:
    """Whatever would be judged by a head of zeros is refused: scores, ranks, and the judge of `rlhf`."""
    message = "the model has no head that gives rewards: got \"no weights named 'score.weight'\".*reward_model"
    model = str(run / "model")
    with pytest.raises(ModelError, match=message):
        load_reward_model(model)
    config = tiny_config(objective={"name": "rlhf", "reward_model": model})
    with pytest.raises(ModelError, match=message):
        train(config, dataset=run / "pairs", model=model, out=tmp_path / "out")
    assert not load_policy(model, head="rewards", new_head=True).model.score.weight.any()


def test_masks_that_do_not_fit_are_refused(run: Path) -> None:
    rewards = SequenceRewards(load_policy(run / "out" / "model", head="rewards").model)
    ids = torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ShapeError, match="ids and masks differ in shape"):
        rewards(ids, ids, torch.ones(2, 2, dtype=torch.bool))


def test_the_registry_says_what_a_reward_model_ends_in() -> None:
    assert [name for name, known in OBJECTIVES.items() if known.head == "rewards"] == ["reward_model"]
