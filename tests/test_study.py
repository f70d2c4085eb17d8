"""The study is what it says: exact answers, feedback of each kind, an interval by hand, and a miniature end to end."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.utils import logging as transformers_logging

import bench.study_runs as study_runs
from align.evaluate.generate import generate
from align.models.loading import load_policy
from bench.study import run_study
from bench.study_data import CONDITIONS, Judged, write_feedback
from bench.study_page import study_tables
from bench.study_picture import draw
from bench.study_runs import VARIANTS, Sizes, StudyRun, can_train, tries
from bench.study_summary import CLAIMS, Claim, best_try, interval, verdict
from bench.study_task import draw_questions, exact_match, pretrain, right_answer

ROOT = Path(__file__).parents[1]
RESULT = json.loads((ROOT / "bench" / "results" / "study.json").read_text("utf-8"))
PAIRS = 60


def judged(count: int = 2 * PAIRS) -> list[Judged]:
    questions = draw_questions(random.Random(0), count)
    return [Judged(one, right_answer(one), ("aaaa", "bbbb")) for one in questions]


def feedback(folder: Path, condition: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    write_feedback(folder, condition, judged(), seed=3)
    found = []
    for name in ("pairs", "labels"):
        path = folder / f"{name}.jsonl"
        found.append([json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else [])
    return found[0], found[1]


def is_right(row: dict[str, Any], side: str) -> bool:
    return bool(row[side] == right_answer(row["prompt"]))


def test_answers_by_hand() -> None:
    """x, y, a and b moved on by 2, over the end of the alphabet."""
    assert right_answer("2:xyab") == "zacd"
    assert len(set(draw_questions(random.Random(1), 200, {"1:aaaa"}))) == 200


@pytest.mark.parametrize(
    ("condition", "flipped"), [("clean", 0), ("flipped_10", 6), ("flipped_20", 12), ("flipped_30", 18)]
)
def test_as_many_pairs_are_the_wrong_way_round_as_it_says(condition: str, flipped: int, tmp_path: Path) -> None:
    pairs, labels = feedback(tmp_path, condition)
    assert len(pairs) == PAIRS
    assert sum(is_right(pair, "rejected") for pair in pairs) == flipped
    assert sum(row["label"] is not is_right(row, "completion") for row in labels) == 2 * flipped
    assert Counter(row["label"] for row in labels) == {True: PAIRS, False: PAIRS}


def test_half_of_the_pairs_are_circles_in_which_every_answer_wins_and_loses_once(tmp_path: Path) -> None:
    pairs, labels = feedback(tmp_path, "circles")
    by_prompt = Counter(pair["prompt"] for pair in pairs)
    assert len(pairs) == PAIRS
    assert Counter(by_prompt.values()) == {3: PAIRS // 6, 1: PAIRS // 2}
    rounds = [row for row in labels if by_prompt[row["prompt"]] == 3]
    votes = Counter((row["prompt"], row["completion"], row["label"]) for row in rounds)
    assert set(votes.values()) == {1}
    assert len({key[:2] for key in votes}) * 2 == len(votes)


def test_conditions_without_pairs_have_the_answers_that_they_say(tmp_path: Path) -> None:
    for condition, good, bad in (("unpaired", PAIRS, PAIRS), ("one_to_nine", 12, 108), ("one_y_per_x", 30, 30)):
        pairs, labels = feedback(tmp_path / condition, condition)
        assert pairs == []
        assert len({row["prompt"] for row in labels}) == len(labels)
        assert Counter(row["label"] for row in labels) == {True: good, False: bad}, condition
        assert all(row["label"] is is_right(row, "completion") for row in labels)
        assert not can_train("dpo", condition)
        assert can_train("kto", condition)


def test_the_desirables_that_are_left_weigh_as_much_as_r_asks_for(tmp_path: Path) -> None:
    """6 of 60 stay, each with 7/6 * 60/6 = 11.67, against 60 undesirable ones: R = 7/6."""
    pairs, labels = feedback(tmp_path, "discarded")
    weights = [row["weight"] for row in labels if row["label"]]
    assert (len(pairs), len(weights), len(labels)) == (6, 6, 66)
    assert sum(weights) / 60 == pytest.approx(7 / 6)


def test_every_objective_gets_six_tries() -> None:
    for variant in VARIANTS:
        mine = tries(variant, 9)
        assert len({one.key for one in mine}) == 6
        assert all(one.is_try and one.condition == "clean" and one.seed == 9 for one in mine)


def test_interval_and_verdicts_by_hand() -> None:
    """Of 1, 2, 3 the standard error is 1 / sqrt 3, and t of 97.5% with two degrees of freedom 4.303."""
    assert interval([1, 2, 3]) == pytest.approx(
        {"mean": 2, "low": 2 - 4.303 / 3**0.5, "high": 2 + 4.303 / 3**0.5}, abs=1e-3
    )
    better, as_good = (Claim("", ("kto", "clean"), ("dpo", "clean"), is_better=one) for one in (True, False))
    for low, high, wanted in ((0.1, 0.2, "agrees"), (-0.2, -0.1, "disagrees")):
        assert [verdict(one, {"low": low, "high": high}) for one in (better, as_good)] == [wanted, wanted]
    assert [verdict(one, {"low": -0.1, "high": 0.1}) for one in (better, as_good)] == ["open", "agrees"]
    runs = [StudyRun("sft", "clean", 1, rate, None) for rate in (0.1, 0.2, 0.3)]
    assert best_try([(runs[0], (0.5, 1.0)), (runs[1], (0.6, 0.0)), (runs[2], (0.6, 1.0))]) == runs[1]


def test_claims_compare_what_the_study_measures() -> None:
    for claim in CLAIMS:
        for variant, condition in (claim.first, claim.second):
            assert can_train(variant, condition)


def test_the_whole_study_is_kept_and_the_picture_is_drawn_from_it() -> None:
    """`python -m bench.study --draw` draws it anew; the table in docs is compared in tests/test_bench.py."""
    wanted = {(variant, name) for variant in VARIANTS for name in CONDITIONS if can_train(variant, name)}
    assert {(row["objective"], row["condition"]) for row in RESULT["table"]} == wanted
    assert all(len(row["seeds"]) == len(RESULT["seeds"]) >= 3 for row in RESULT["table"])
    assert RESULT["minutes"] < 60
    assert (ROOT / "docs" / "study.svg").read_text("utf-8") == draw(RESULT) + "\n"
    text = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    assert study_tables(RESULT) in text
    assert "](study.svg)" in text


def test_make_takes_seeds_conditions_and_objectives() -> None:
    command = ["make", "-n", "study", "SEEDS=2", "CONDITIONS=clean circles", "OBJECTIVES=kto dpo"]
    plan = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "bench.study --seeds 2 --conditions clean circles --objectives kto dpo" in plan


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is pretrained on fewer texts."""
    folder = tmp_path_factory.mktemp("base")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THUMBLINE_CACHE_DIR", str(folder / "cache"))
        pretrain(folder, seed=0, held_out=set(), rows=12_000)
    return folder


def test_exact_match_is_what_generated_answers_say(base: Path) -> None:
    """Greedy answers to the letter; of sampled ones the mean, to within four standard errors."""
    model = base / "base" / "model"
    questions = draw_questions(random.Random(5), 150)
    sampled, greedy = exact_match(model, questions)
    asked = [[{"role": "user", "content": one}] for one in questions]
    loaded = load_policy(model)
    answers = generate(loaded, asked, max_new_tokens=5, batch_size=200)
    assert greedy == pytest.approx(sum(map(right, questions, answers)) / 150)
    drawn = generate(loaded, asked * 20, max_new_tokens=5, sample_seed=1, batch_size=3000)
    share = sum(map(right, questions * 20, drawn)) / 3000
    assert 0.02 < sampled < 0.98
    assert share == pytest.approx(sampled, abs=4 * (sampled * (1 - sampled) / 3000) ** 0.5)


def right(question: str, answer: str) -> bool:
    return answer == right_answer(question)


@pytest.fixture
def _settings_of_this_process() -> Iterator[None]:
    """Put back what a run of the study settles for the process that it is in, which is one of its own otherwise."""
    threads, is_shown = torch.get_num_threads(), transformers_logging.is_progress_bar_enabled()
    yield
    torch.set_num_threads(threads)
    if is_shown:
        transformers_logging.enable_progress_bar()


@pytest.mark.usefixtures("own_cache", "_settings_of_this_process")
def test_a_miniature_of_the_study_runs_end_to_end(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pretrained model for all seeds, a rate or two for tries; a second call trains nothing."""

    def copied(folder: Path, **_: object) -> str:
        shutil.copytree(base / "base", folder / "base")
        return str(folder / "base" / "model")

    monkeypatch.setattr(study_runs, "pretrain", copied)
    monkeypatch.setattr(study_runs, "_RATES", (1e-3, 2e-3))
    monkeypatch.setattr(study_runs, "_RATES_WITH_BETA", (1e-3,))
    call: dict[str, Any] = {
        "variants": ["kto", "dpo", "sft", "rlhf"],
        "conditions": ["clean", "unpaired"],
        "seeds": [0, 1],
        "sizes": Sizes(pairs=12, held_out=40),
    }
    result = run_study(tmp_path, **call)
    assert [(row["objective"], row["condition"]) for row in result["table"]] == [
        *((name, "clean") for name in ("kto", "dpo", "sft", "rlhf")),
        *((name, "unpaired") for name in ("kto", "sft")),
    ]
    assert [one["is_chosen"] for one in result["tries"]].count(True) == 4
    assert all(0 <= share <= 1 for row in result["table"] for seed in row["seeds"] for share in seed)
    assert [claim["says"] for claim in result["claims"]] == ["KTO is as good as DPO on the same pairs"]
    monkeypatch.setattr(study_runs, "train", None)
    assert run_study(tmp_path, **call) == result
    shown = study_tables(result | {"date": "2026-01-02", "machine": "here", "minutes": 1, "processes": 1})
    assert "| `sft` |" in shown
    assert "– |" in shown
    assert draw(result).startswith("<svg ")
