"""A frozen set whose own prompts do not come in again, or come in otherwise: it still holds out what is of it."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from feedback.config import PHONE_REGIONS, RebalanceConfig
from feedback.dataset.frozen import freeze, read_frozen
from feedback.pipeline import CurateResult, curate, default_config, rebalance_dataset
from feedback.pipeline.order import Stages
from tests.feedback_log import almost, story

RAW_OR_REDACTED = list(itertools.product(("false", "true"), repeat=2))


def row(number: int, prompt: str, completion: str) -> dict[str, Any]:
    label = "up" if number % 2 else "down"
    return {"prompt": prompt, "completion": completion, "label": label, "user": f"u{number}", "time": 1767606699}


def question(number: int) -> str:
    """A question of 40 words, of somebody."""
    return f"{story(f'q{number}', 39)} user{number}@example.com"


def reworded(number: int) -> str:
    """A question in a wording of its own: nearly the same as the first one, not as the other one of the frozen set."""
    words = question(number).split()
    return " ".join([*words[:30], "elsewhere", *words[31:]])


def log(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


def curated(folder: Path, rows: list[dict[str, Any]], *overrides: str) -> CurateResult:
    path = log(folder.with_suffix(".jsonl"), rows)
    return curate(default_config([path], "thumbs", overrides=["rebalance.mode=off", *overrides]), folder)


def frozen_set(folder: Path, redact: str = "false") -> Path:
    """Half of 40 questions, each in two wordings, frozen."""
    rows = [row(n, question(n), story(f"a{n}", 30)) for n in range(40)]
    rows += [row(n, almost(question(n)), story(f"z{n}", 30)) for n in range(40)]
    curated(folder / "first", rows, "split.test_fraction=0.5", f"export.redact={redact}")
    freeze(folder / "first", folder / "frozen")
    return folder / "frozen"


def numbers(folder: Path, split: str) -> set[int]:
    """Which of the questions are in a split of a dataset, in whatever words."""
    shards = pl.concat([pl.read_parquet(path) for path in (folder / "data").glob("*.parquet")])
    prompts = [turns[-1]["content"] for turns in shards.filter(split=split)["prompt"].to_list()]
    first = {story(f"q{n}", 39)[:60]: n for n in range(80)}
    return {first[prompt[:60]] for prompt in prompts if prompt[:60] in first}


def later(folder: Path, frozen: Path, rows: list[dict[str, Any]], *overrides: str) -> CurateResult:
    """A later run, with as many new questions."""
    new = [row(n, question(n), story(f"a{n}", 30)) for n in range(40, 80)]
    wanted = [f"split.held_out={frozen}", "split.test_fraction=0", *overrides]
    return curated(folder / "later", rows + new, *wanted)


@pytest.mark.parametrize(("before", "after"), RAW_OR_REDACTED)
def test_near_duplicate_of_a_prompt_that_never_comes_again_is_held_out(tmp_path: Path, before: str, after: str) -> None:
    """Whether the set, and the later run, are redacted or not."""
    frozen = frozen_set(tmp_path, before)
    again = [row(n, reworded(n), story(f"b{n}", 30)) for n in range(40)]
    result = later(tmp_path, frozen, again, f"export.redact={after}")
    held = numbers(frozen, "test")
    assert len(held) == 20
    assert numbers(result.folder, "test") == held
    assert numbers(result.folder, "train") == {*range(80)} - held


@pytest.mark.parametrize("match", ["near", "normalized", "exact", "off"])
@pytest.mark.parametrize(("before", "after"), RAW_OR_REDACTED)
def test_prompt_itself_is_held_out_though_redaction_changes_it(
    tmp_path: Path, before: str, after: str, match: str
) -> None:
    frozen = frozen_set(tmp_path, before)
    again = [row(n, question(n), story(f"b{n}", 30)) for n in range(40)]
    result = later(tmp_path, frozen, again, f"export.redact={after}", f"dedup.match={match}")
    held = numbers(frozen, "test")
    assert numbers(result.folder, "test") == held
    assert numbers(result.folder, "train") == {*range(80)} - held


def test_prompt_with_nearly_the_same_answer_is_held_out(tmp_path: Path) -> None:
    """As in every split: short prompts in other words before one long answer."""
    rows = [row(n, f"Tell me {n}", story(f"a{n}", 60)) for n in range(20)]
    curated(tmp_path / "first", rows, "split.test_fraction=0.5")
    freeze(tmp_path / "first", tmp_path / "frozen")
    again = [row(n, f"Say {n}", story(f"a{n}", 60)) for n in range(20)]
    result = later(tmp_path, tmp_path / "frozen", again)

    def answers(folder: Path, split: str) -> set[str]:
        shards = pl.concat([pl.read_parquet(path) for path in (folder / "data").glob("*.parquet")])
        return {turns[-1]["content"] for turns in shards.filter(split=split)["completion"].to_list()}

    held = answers(tmp_path / "frozen", "test")
    assert len(held) == 10
    assert answers(result.folder, "test") == held
    assert answers(result.folder, "train").isdisjoint(held)


def test_only_the_same_prompts_are_held_out_where_nothing_near_is_looked_for_and_the_report_says_so(
    tmp_path: Path,
) -> None:
    frozen = frozen_set(tmp_path)
    again = [row(n, reworded(n), story(f"b{n}", 30)) for n in range(40)]
    result = later(tmp_path, frozen, again, "dedup.match=exact")
    assert numbers(result.folder, "test") == set()
    split = next(stage for stage in result.manifest.stages if stage.stage == "split")
    assert split.notes[-1] == (
        "Of the frozen set only the same prompts are held out: nearly the same ones need dedup.match = near."
    )


def test_same_rows_are_held_out_whatever_the_order_of_the_input_and_its_partitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = frozen_set(tmp_path, "true")
    again = [row(n, reworded(n), story(f"b{n}", 30)) for n in range(40)]
    digests, sides = [], []
    for seed in range(3):
        random.Random(seed).shuffle(again)
        if seed == 2:
            monkeypatch.setattr("feedback.pipeline.partitions._ROWS_A_PARTITION", 30)
        (tmp_path / str(seed)).mkdir()
        result = later(tmp_path / str(seed), frozen, again, "export.redact=true")
        digests.append(result.manifest.digest)
        shards = pl.concat([pl.read_parquet(path) for path in (result.folder / "data").glob("*.parquet")])
        sides.append(shards.select("row_id", "group_id", "split").sort("row_id"))
    assert digests[0] == digests[1]
    assert sides[0].equals(sides[1])
    assert sides[0].equals(sides[2])


def test_what_took_personal_data_out_of_a_set_is_known_by_its_history(tmp_path: Path) -> None:
    """A dataset that is rebalanced says in its config what was done last, which took nothing out."""
    rows = [row(n, question(n), story(f"a{n}", 30)) for n in range(40)]
    curated(tmp_path / "first", rows, "split.test_fraction=0.5", "export.redact=true")
    rebalanced = rebalance_dataset([tmp_path / "first"], tmp_path / "again", RebalanceConfig(mode="off"))
    assert rebalanced.manifest.config["export"]["redact"] is False
    freeze(tmp_path / "again", tmp_path / "frozen")
    assert read_frozen(tmp_path / "frozen").redactions == (PHONE_REGIONS,)


def test_run_that_breaks_off_goes_on_with_the_same_set_and_begins_anew_with_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = frozen_set(tmp_path)
    other = tmp_path / "other"
    rows = [row(n, question(n), story(f"a{n}", 30)) for n in range(60)]
    curated(other, rows, "split.test_fraction=0.5", "seed=1")
    again = [row(n, reworded(n), story(f"b{n}", 30)) for n in range(40)]
    whole = later(tmp_path, other, again)
    whole.folder.rename(tmp_path / "whole")

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    for place in (frozen, other):
        with monkeypatch.context() as patched:
            patched.setattr(Stages, "_clusters" if place == frozen else "_balance_plan", broken)
            with pytest.raises(KeyboardInterrupt):
                later(tmp_path, place, again)
    assert later(tmp_path, other, again).manifest.digest == whole.manifest.digest
