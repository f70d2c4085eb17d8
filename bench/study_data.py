"""Feedback for the study: answers sampled from the pretrained model, judged by the exact answer, under each condition.

    questions ─► 8 sampled answers each ─► judged ─► a condition ─► pairs.jsonl and labels.jsonl

Pairs and labels hold the same judgements: a pair is two labelled rows. A condition that has no pairs writes none, and
what trains on pairs is not run under it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from align.evaluate.generate import generate
from align.models.loading import load_policy
from bench.study_task import ANSWER_TOKENS, right_answer, write_jsonl
from schemas.messages import Message

__all__ = ["CONDITIONS", "Condition", "Judged", "judge_samples", "write_feedback"]

_SAMPLES: Final = 8
_RATIO: Final = 7 / 6  # R, the middle of the range [1, 4/3] that the paper asks for


@dataclass(frozen=True, slots=True)
class Judged:
    """A question that a model answered right and wrong.

    Args:
        question: what was asked.
        right: the right answer.
        wrong: its wrong answers, different ones, in the order in which they were sampled.
    """

    question: str
    right: str
    wrong: tuple[str, ...]


Row = dict[str, Any]
Feedback = tuple[list[Row], list[Row]]
"""Pairs and labelled rows."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What feedback is like.

    Args:
        title: in tables.
        does: in a sentence's half.
        has_pairs: whether there are pairs to train on.
        make: makes it of twice as many judged questions as there are pairs in clean feedback.
    """

    title: str
    does: str
    has_pairs: bool
    make: Callable[[Sequence[Judged], random.Random], Feedback]


def judge_samples(model: str | Path, questions: Sequence[str], *, seed: int) -> list[Judged]:
    """The questions that the model answered both right and wrong, in their order.

    Args:
        model: a folder.
        questions: what it is asked, 8 times each.
        seed: of the samples.
    """
    asked: list[list[Message]] = [[{"role": "user", "content": each}] for each in questions for _ in range(_SAMPLES)]
    loaded = load_policy(model)
    answers = generate(loaded, asked, max_new_tokens=ANSWER_TOKENS, sample_seed=seed, batch_size=512)
    judged = []
    for place, question in enumerate(questions):
        sampled = answers[place * _SAMPLES : (place + 1) * _SAMPLES]
        right = right_answer(question)
        wrong = tuple(dict.fromkeys(answer for answer in sampled if answer and answer != right))
        if wrong and right in sampled:
            judged.append(Judged(question, right, wrong))
    return judged


def write_feedback(folder: Path, condition: str, judged: Sequence[Judged], *, seed: int) -> None:
    """Write the feedback of a condition: `labels.jsonl`, and `pairs.jsonl` where it has pairs.

    Args:
        folder: where.
        condition: a key of `CONDITIONS`.
        judged: twice as many judged questions as there are pairs in clean feedback.
        seed: of what the condition leaves to chance.
    """
    known = CONDITIONS[condition]
    pairs, labels = known.make(judged, random.Random(f"{condition} {seed}"))
    write_jsonl(folder / "labels.jsonl", labels)
    if known.has_pairs:
        write_jsonl(folder / "pairs.jsonl", pairs)


def _pair(question: str, chosen: str, rejected: str) -> Row:
    return {"prompt": question, "chosen": chosen, "rejected": rejected}


def _label(question: str, answer: str, *, is_good: bool, weight: float = 1.0) -> Row:
    return {"prompt": question, "completion": answer, "label": is_good, "weight": weight}


def _both(pairs: list[Row]) -> Feedback:
    """Pairs and the labelled rows that they are."""
    labels = [
        _label(pair["prompt"], pair[side], is_good=side == "chosen")
        for pair in pairs
        for side in ("chosen", "rejected")
    ]
    return pairs, labels


def _clean_pairs(judged: Sequence[Judged]) -> list[Row]:
    return [_pair(one.question, one.right, one.wrong[0]) for one in judged[: len(judged) // 2]]


def _clean(judged: Sequence[Judged], chance: random.Random) -> Feedback:
    del chance
    return _both(_clean_pairs(judged))


def _flipped(share: float) -> Callable[[Sequence[Judged], random.Random], Feedback]:
    def make(judged: Sequence[Judged], chance: random.Random) -> Feedback:
        """Clean pairs, some of them the wrong way round."""
        pairs = _clean_pairs(judged)
        for place in chance.sample(range(len(pairs)), round(share * len(pairs))):
            pair = pairs[place]
            pairs[place] = _pair(pair["prompt"], pair["rejected"], pair["chosen"])
        return _both(pairs)

    return make


def _circles(judged: Sequence[Judged], chance: random.Random) -> Feedback:
    """As many pairs as clean feedback has, half of them in circles: right over wrong over other over right."""
    del chance
    count = len(judged) // 2
    with_two = [one for one in judged if len(one.wrong) > 1][: count // 6]
    pairs = []
    for one in with_two:
        circle = (one.right, *one.wrong[:2])
        pairs += [_pair(one.question, circle[place], circle[(place + 1) % 3]) for place in range(3)]
    used = {one.question for one in with_two}
    others = [one for one in judged if one.question not in used][: count - len(pairs)]
    return _both([*pairs, *_clean_pairs([*others, *others])])


def _one_answer_each(share: float) -> Callable[[Sequence[Judged], random.Random], Feedback]:
    def make(judged: Sequence[Judged], chance: random.Random) -> Feedback:
        """One answer to each question, a share of them right."""
        places = chance.sample(range(len(judged)), round(share * len(judged)))
        good = set(places)
        labels = [
            _label(one.question, one.right if place in good else one.wrong[0], is_good=place in good)
            for place, one in enumerate(judged)
        ]
        return [], labels

    return make


def _discarded(judged: Sequence[Judged], chance: random.Random) -> Feedback:
    """A tenth of the good answers is left, and weighs so much that R is in the middle of its range."""
    pairs = _clean_pairs(judged)
    kept = set(chance.sample(range(len(pairs)), round(len(pairs) / 10)))
    weight = _RATIO * len(pairs) / len(kept)
    labels = [_label(pair["prompt"], pair["rejected"], is_good=False) for pair in pairs]
    labels += [_label(pairs[place]["prompt"], pairs[place]["chosen"], is_good=True, weight=weight) for place in kept]
    return [pairs[place] for place in sorted(kept)], labels


def _one_y_per_x(judged: Sequence[Judged], chance: random.Random) -> Feedback:
    """Of each clean pair one answer, good and bad ones in turn."""
    del chance
    _, labels = _both(_clean_pairs(judged))
    return [], [row for place, row in enumerate(labels) if place % 4 in (0, 3)]


CONDITIONS: Final[Mapping[str, Condition]] = {
    "clean": Condition("clean", "every pair is a right over a wrong answer", True, _clean),
    "flipped_10": Condition("10% flipped", "one pair in ten is the wrong way round", True, _flipped(0.1)),
    "flipped_20": Condition("20% flipped", "one in five is", True, _flipped(0.2)),
    "flipped_30": Condition("30% flipped", "three in ten are", True, _flipped(0.3)),
    "circles": Condition(
        "circles",
        "half of the pairs are circles of three: right over wrong over other wrong over right",
        True,
        _circles,
    ),
    "unpaired": Condition(
        "unpaired",
        "one answer to each question, to twice as many questions, half of them right",
        False,
        _one_answer_each(0.5),
    ),
    "one_to_nine": Condition(
        "1:9", "the same, one right answer to nine wrong ones, not weighted", False, _one_answer_each(0.1)
    ),
    "discarded": Condition(
        "90% discarded",
        "nine in ten right answers of clean pairs are gone, and the others weigh 11.7 times as much (R = 7/6)",
        True,
        _discarded,
    ),
    "one_y_per_x": Condition(
        "one y per x", "one answer of each clean pair, right and wrong in turn", False, _one_y_per_x
    ),
}
"""By name, in the order of the table."""
