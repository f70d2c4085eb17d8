"""What a reward model is for: scores of the answers in a dataset, and the best of several answers to a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.batches.inputs import tokenize_split
from align.config import TrainConfig
from align.data.dataset import read_any
from align.data.parts import dataset_name
from align.data.rows import LabelledRow
from align.distributed.ranks import start_accelerator
from align.evaluate.generate import generate
from align.evaluate.held_out_rewards import reward_figures
from align.models.loading import LoadedModel, load_policy
from align.scoring.scorer import Scorer, build_scorer
from align.tokens.model_limits import refuse_beyond
from schemas.errors import EmptySplitError, InputError
from schemas.messages import Message
from schemas.paths import AnyPath, path_of
from schemas.progress import Progress, silent

__all__ = ["RankedAnswer", "RewardModel", "load_reward_model", "rank_answers", "reward_model_name", "score_dataset"]


@dataclass(frozen=True, slots=True)
class RankedAnswer:
    """An answer and the reward that it got; without one where it does not fit into the token limits."""

    text: str
    reward: float | None


@dataclass(frozen=True)
class RewardModel:
    """A reward model, ready to score."""

    loaded: LoadedModel
    scorer: Scorer
    config: TrainConfig


def load_reward_model(model: str | Path, config: TrainConfig | None = None) -> RewardModel:
    """The reward model of a run's folder, or of any model with a scalar head.

    Args:
        model: a run of the objective `reward_model`, or a model by name or path.
        config: token limits, dtype and device.

    Raises:
        ModelError: it cannot be loaded, or has no scalar head.
    """
    config = config or TrainConfig()
    loaded = load_policy(reward_model_name(model), head="rewards")
    device = start_accelerator(config.device).device
    tokens = config.batch.tokens_per_micro_batch
    scorer = build_scorer(loaded, device=device, dtype=config.dtype, tokens=tokens, head="rewards")
    return RewardModel(loaded, scorer, config)


def reward_model_name(model: str | Path) -> str:
    """The name of the reward model itself: of a run's folder the model in it.

    Args:
        model: as in `load_reward_model`.
    """
    of_run = Path(model).expanduser() / "model"
    return str(of_run if model and of_run.is_dir() else model)


def score_dataset(
    reward_model: RewardModel, dataset: AnyPath, *, split: str = "test", progress: Progress = silent
) -> dict[str, Any]:
    """How well rewards agree with the labels, or with the pairs, of a dataset.

    Args:
        reward_model: what scores.
        dataset: labelled answers or pairs.
        split: the split to score.
        progress: told of every row that is tokenized.

    Returns:
        `rows`, `rows_lost`, and of `align.evaluate.reward_figures` the counts, means, margin and accuracy: of labelled
        answers the chance that a desirable one has the larger reward, of pairs the share whose chosen one has.

    Raises:
        InputError: the dataset cannot be read.
        EmptySplitError: the split has no row, or none that fits.
    """
    dataset = path_of(dataset, name="dataset")
    rows = read_any(dataset, split)
    tokens = tokenize_split(rows, reward_model.loaded.tokenizer, reward_model.config.tokens, progress=progress)
    if not tokens.rows:
        raise EmptySplitError(f"the split {split!r} has no row to score", where=dataset, received=tokens.dropped)
    named = ((f"row {row.row_id!r}", pair) for row in tokens.rows for pair in row.sequences)
    refuse_beyond(named, reward_model.loaded.model.config, where=dataset)
    width = len(tokens.rows[0].sequences)
    values = reward_model.scorer.score([pair for row in tokens.rows for pair in row.sequences])
    found = reward_figures(
        [values[start : start + width] for start in range(0, len(values), width)],
        [[0.0] * width] * len(tokens.rows),
        [row.label for row in tokens.rows],
        [row.weight for row in tokens.rows],
        [],
        None,
        tokens=[[1] * width] * len(tokens.rows),
    )
    kept = {key: found[key] for key in found if key.startswith(("n_", "reward_"))}
    return {
        "dataset": dataset_name(dataset),
        "split": split,
        "rows": len(tokens.rows),
        "rows_lost": tokens.dropped,
        **kept,
    }


def rank_answers(
    policy: LoadedModel,
    reward_model: RewardModel,
    prompts: Sequence[Sequence[Message]],
    *,
    best_of: int,
    max_new_tokens: int = 128,
    seed: int = 0,
    progress: Progress = silent,
) -> list[list[RankedAnswer]]:
    """Several sampled answers to each prompt, the one with the largest reward first.

    Args:
        policy: the model that answers, where it is to compute.
        reward_model: what ranks.
        prompts: turns up to the answer.
        best_of: answers for each prompt, at least 1.
        max_new_tokens: longest answer.
        seed: of the samples.
        progress: told of every answer.

    Raises:
        InputError: a prompt has no turn, or `best_of` is less than 1.
    """
    if best_of < 1:
        raise InputError("no answer is asked for", where="best_of", received=best_of, expected="at least 1")
    asked = [prompt for prompt in prompts for _ in range(best_of)]
    texts = generate(policy, asked, max_new_tokens=max_new_tokens, sample_seed=seed, progress=progress)
    ranked = []
    for number in range(len(prompts)):
        mine = texts[number * best_of : (number + 1) * best_of]
        answers = [
            RankedAnswer(text, value)
            for text, value in zip(mine, _rewards(reward_model, prompts[number], mine), strict=True)
        ]
        ranked.append(sorted(answers, key=lambda one: (one.reward is None, -(one.reward or 0.0), one.text)))
    return ranked


def _rewards(reward_model: RewardModel, prompt: Sequence[Message], texts: Sequence[str]) -> list[float | None]:
    """The reward of each answer; none for one that is blank or does not fit."""
    rows = [
        LabelledRow(str(number), list(prompt), [{"role": "assistant", "content": text}], True, 1.0, "", None)
        for number, text in enumerate(texts)
        if text.strip()
    ]
    tokens = tokenize_split(rows, reward_model.loaded.tokenizer, reward_model.config.tokens).rows if rows else ()
    values = reward_model.scorer.score([row.sequences[0] for row in tokens])
    known = dict(zip((int(row.row_id) for row in tokens), values, strict=True))
    return [known.get(number) for number in range(len(texts))]
