"""The runs of the study: what is trained, with which learning rate, and how each run is trained and measured.

Every objective gets six tries on the clean feedback of a seed of its own, judged on questions of their own: three
learning rates times two betas where it has a beta, six learning rates where it has none. The best try is used under all
conditions. All see 64 answers a step, twice each: 64 labelled rows, or 32 pairs. RLHF sees as many of its own: four to
each prompt, once, after a reward model was trained on the pairs.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch

from align.config import TrainConfig
from align.objectives import OBJECTIVES
from align.trainer import train
from bench.study_data import CONDITIONS, judge_samples, write_feedback
from bench.study_task import ANSWER_TOKENS, draw_questions, exact_match, pretrain
from schemas.settings import load_settings

__all__ = ["VARIANTS", "Sizes", "StudyRun", "can_train", "execute", "prepare", "tries"]

VARIANTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "kto": {"name": "kto"},
    "kto, `value = concave`": {"name": "kto", "value": "concave"},
    "kto, `value = risk_neutral`": {"name": "kto", "value": "risk_neutral"},
    "kto, `value = kahneman_tversky`": {"name": "kto", "value": "kahneman_tversky"},
    "kto, `reference = uniform`": {"name": "kto", "reference": "uniform"},
    "kto, `z0_scope = none`": {"name": "kto", "z0_scope": "none"},
    "dpo": {"name": "dpo"},
    "cdpo": {"name": "cdpo"},
    "slic": {"name": "slic"},
    "orpo": {"name": "orpo"},
    "sft": {"name": "sft"},
    "csft": {"name": "csft"},
    "offline_ppo": {"name": "offline_ppo"},
    "rlhf": {"name": "rlhf", "answers_per_prompt": 4, "max_answer_tokens": ANSWER_TOKENS},
}
"""Settings of each objective that is compared."""

_BETAS: Final = (0.1, 1.0)
_RATES_WITH_BETA: Final = (3e-4, 1e-3, 3e-3)
_RATES: Final = (1e-4, 3e-4, 1e-3, 2e-3, 4e-3, 8e-3)
_ANSWERS_A_STEP: Final = 64
_EPOCHS: Final = 2
_REWARD_MODEL: Final = {"name": "reward_model"}
_REWARD_RATE: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large the study is.

    Args:
        pairs: of clean feedback; a multiple of 60, so that every condition divides it.
        held_out: questions that exact match is measured on.
        texts: that a model is pretrained on.
    """

    pairs: int = 240
    held_out: int = 500
    texts: int = 26_000


@dataclass(frozen=True, slots=True)
class StudyRun:
    """A run of the study.

    Args:
        variant: a key of `VARIANTS`.
        condition: a key of `bench.study_data.CONDITIONS`.
        seed: of writers, model, feedback and batch plan.
        rate: learning rate.
        beta: of the objective; None where it has none.
        is_try: whether it is one of the tries, judged on their own questions.
    """

    variant: str
    condition: str
    seed: int
    rate: float
    beta: float | None
    is_try: bool = False

    @property
    def key(self) -> str:
        """Names the run's files."""
        return hashlib.blake2b(json.dumps(asdict(self), sort_keys=True).encode(), digest_size=8).hexdigest()


def can_train(variant: str, condition: str) -> bool:
    """Whether the feedback of a condition is what an objective reads."""
    return CONDITIONS[condition].has_pairs or OBJECTIVES[VARIANTS[variant]["name"]].data != "preference"


def tries(variant: str, seed: int) -> list[StudyRun]:
    """The six tries of an objective, those with a small learning rate first.

    Args:
        variant: a key of `VARIANTS`.
        seed: one that is used for tries only.
    """
    has_beta = "beta" in OBJECTIVES[VARIANTS[variant]["name"]].settings
    settings: list[tuple[float, float | None]] = [(rate, None) for rate in _RATES]
    if has_beta:
        settings = [(rate, beta) for rate in _RATES_WITH_BETA for beta in _BETAS]
    return [StudyRun(variant, "clean", seed, rate, beta, is_try=True) for rate, beta in settings]


def prepare(folder: Path, seed: int, sizes: Sizes) -> tuple[float, float]:
    """Pretrain the model of a seed and write its feedback under every condition, where that was not done.

    Args:
        folder: of the study's scratch files.
        seed: of everything.
        sizes: of everything.

    Returns:
        Exact match of the model before alignment, sampled and greedy, on the held-out questions.
    """
    _settle_process(folder)
    place, done = _place(folder, seed), _place(folder, seed) / "base.json"
    if not done.is_file():
        shutil.rmtree(place, ignore_errors=True)
        questions = _questions(seed, sizes)
        held_out = {question for part in questions.values() for question in part}
        model = pretrain(place, seed=seed, held_out=held_out, rows=sizes.texts)
        judged = judge_samples(model, questions["feedback"], seed=seed)
        if len(judged) < 2 * sizes.pairs:
            raise SystemExit(
                f"Only {len(judged)} questions were answered right and wrong; {2 * sizes.pairs} are needed."
            )
        for condition in CONDITIONS:
            write_feedback(place / condition, condition, judged[: 2 * sizes.pairs], seed=seed)
        found = exact_match(model, questions["test"])
        done.write_text(json.dumps(found), "utf-8")
    sampled, greedy = json.loads(done.read_text("utf-8"))
    return sampled, greedy


def execute(folder: Path, run: StudyRun, sizes: Sizes) -> tuple[float, float]:
    """Train a run and measure it, where that was not done.

    Args:
        folder: of the study's scratch files.
        run: the run; its seed is prepared.
        sizes: of everything.

    Returns:
        Exact match, sampled and greedy: on the held-out questions, or for a try on those for tries.
    """
    place = _place(folder, run.seed)
    done, out = place / f"{run.key}.json", place / f"run-{run.key}"
    if not done.is_file():
        _settle_process(out)
        shutil.rmtree(out, ignore_errors=True)
        _train(run, place, out)
        found = exact_match(out / "run" / "model", _questions(run.seed, sizes)["try" if run.is_try else "test"])
        shutil.rmtree(out)
        done.write_text(json.dumps(found), "utf-8")
    sampled, greedy = json.loads(done.read_text("utf-8"))
    return sampled, greedy


def _train(run: StudyRun, place: Path, out: Path) -> None:
    """Leave the run in `out/run`, and the reward model that it needs beside it."""
    objective = dict(VARIANTS[run.variant])
    if run.beta is not None:
        objective["beta"] = run.beta
    known = OBJECTIVES[objective["name"]]
    feedback = place / run.condition / ("pairs.jsonl" if known.data == "preference" else "labels.jsonl")
    model = str(place / "base" / "model")
    if known.is_online:
        objective["reward_model"] = str(out / "reward")
        train(_config(_REWARD_MODEL, _REWARD_RATE, run.seed), dataset=feedback, model=model, out=out / "reward")
    train(_config(objective, run.rate, run.seed), dataset=feedback, model=model, out=out / "run")


def _config(objective: Mapping[str, Any], rate: float, seed: int) -> TrainConfig:
    known = OBJECTIVES[objective["name"]]
    answers = objective["answers_per_prompt"] if known.is_online else 2 if known.data == "preference" else 1
    values = {
        "objective": dict(objective),
        "epochs": 1 if known.is_online else _EPOCHS,
        "batch": {"batch_size": _ANSWERS_A_STEP // answers, "tokens_per_micro_batch": 4096},
        "optimizer": {"learning_rate": rate},
        "checkpoint": {"every_steps": 0},
        "device": "cpu",
        "seed": seed,
    }
    return load_settings(TrainConfig, values, where="bench.study")


def _place(folder: Path, seed: int) -> Path:
    return folder / f"seed-{seed}"


def _questions(seed: int, sizes: Sizes) -> dict[str, list[str]]:
    """Questions that no text of the pretraining has: of the feedback, for tries, and held out to the end."""
    drawn = draw_questions(random.Random(f"questions {seed}"), 4 * sizes.pairs + 2 * sizes.held_out)
    first, second = sizes.held_out, 2 * sizes.held_out
    return {"test": drawn[:first], "try": drawn[first:second], "feedback": drawn[second:]}


def _settle_process(folder: Path) -> None:
    """One thread, no bars, and a reference cache of the run's own, so that runs do not depend on their order."""
    from transformers.utils import logging

    torch.set_num_threads(1)
    os.environ["THUMBLINE_CACHE_DIR"] = str(folder / "cache")
    logging.disable_progress_bar()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
