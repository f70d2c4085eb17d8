"""A frozen evaluation set: nothing of it, and nothing nearly the same, is ever trained on."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from feedback.config import SplitConfig
from feedback.dataset.frozen import freeze, read_frozen
from feedback.pipeline import curate, default_config, load_curate_config
from feedback.split import split_plan
from schemas.errors import CorruptionError, EmptySplitError, InputNotFoundError, OutputExistsError
from schemas.manifest import Manifest
from tests.feedback_tables import candidate, table

WORDS = [f"word{n}" for n in range(400)]


def question(number: int) -> str:
    """A question of 24 words of its own."""
    return " ".join(random.Random(number).choices(WORDS, k=24))


def write(path: Path, numbers: range, *, tail: str = "", answers: int = 10_000) -> Path:
    """Votes on an answer to each question, with `tail` behind the question: nearly the same one."""
    rows = [
        {
            "prompt": f"{question(n)}{tail}",
            "completion": f"the answer {n}{tail} is {question(n + answers)}",
            "label": "up" if n % 3 else "down",
            "user": f"u{n}",
        }
        for n in numbers
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted((folder / "data").glob("*.parquet"))])


def prompts_of(frame: pl.DataFrame, split: str) -> set[str]:
    return {turns[0]["content"] for turns in frame.filter(split=split)["prompt"].to_list()}


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    """The test split of 100 answers, frozen."""
    write(tmp_path / "first.jsonl", range(100))
    curate(default_config([tmp_path / "first.jsonl"], "thumbs"), tmp_path / "first")
    freeze(tmp_path / "first", tmp_path / "frozen")
    return tmp_path / "frozen"


def test_frozen_set_is_a_dataset_of_the_test_split_alone(frozen: Path, tmp_path: Path) -> None:
    manifest, parent = Manifest.read(frozen), Manifest.read(tmp_path / "first")
    manifest.verify(frozen)
    assert (manifest.parent_digest, {shard.split for shard in manifest.shards}) == (parent.digest, {"test"})
    assert rows_of(frozen).equals(rows_of(tmp_path / "first").filter(split="test"))
    assert freeze(tmp_path / "first", frozen).digest == manifest.digest


@pytest.mark.parametrize("redact", ["true", "false"])
def test_nothing_of_it_is_trained_on_later_not_even_in_other_words(frozen: Path, tmp_path: Path, redact: str) -> None:
    """All questions come again with a few words more, and new ones: 200 of them nearly the same as 100 old ones."""
    write(tmp_path / "again.jsonl", range(100), tail=" please")
    write(tmp_path / "new.jsonl", range(100, 300))
    inputs = [tmp_path / f"{name}.jsonl" for name in ("first", "again", "new")]
    overrides = [f"split.held_out={frozen}", "split.test_fraction=0", "rebalance.mode=off", f"export.redact={redact}"]
    result = curate(default_config(inputs, "thumbs", overrides=overrides), tmp_path / "later")
    rows, held = rows_of(tmp_path / "later"), prompts_of(rows_of(frozen), "test")
    both = held | {f"{prompt} please" for prompt in held}
    assert prompts_of(rows, "train").isdisjoint(both)
    assert prompts_of(rows, "test") <= both
    assert len(prompts_of(rows, "train")) > 200
    assert result.manifest.config["split"]["held_out"] == Manifest.read(frozen).digest
    assert str(tmp_path) not in json.dumps(result.manifest.to_dict())


def test_group_stays_out_when_the_frozen_wording_itself_is_gone(frozen: Path, tmp_path: Path) -> None:
    """The frozen answers are voted into doubt and left out; the same questions in other words have other answers."""
    write(tmp_path / "again.jsonl", range(100), tail=" please", answers=50_000)
    contra = [tmp_path / f"contra{n}.jsonl" for n in range(2)]
    for number, path in enumerate(contra):
        votes = [json.loads(line) for line in (tmp_path / "first.jsonl").read_text().splitlines()]
        flipped = [
            row | {"label": "down" if row["label"] == "up" else "up", "user": f"v{number}{n}"}
            for n, row in enumerate(votes)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in flipped[number::2]))
    config = default_config(
        [tmp_path / "first.jsonl", tmp_path / "again.jsonl", *contra],
        "thumbs",
        overrides=[f"split.held_out={frozen}", "split.test_fraction=0", "dedup.match=near", "rebalance.mode=off"],
    )
    curate(replace(config, conflicts=replace(config.conflicts, policy="drop")), tmp_path / "later")
    held = prompts_of(rows_of(frozen), "test")
    trained = prompts_of(rows_of(tmp_path / "later"), "train")
    assert trained
    assert trained.isdisjoint(held | {f"{prompt} please" for prompt in held})


def test_same_feedback_with_another_place_of_the_set_gives_the_same_bytes(frozen: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "frozen"
    moved.parent.mkdir()
    digests = []
    for place in (frozen, moved):
        if place == moved:
            frozen.rename(moved)
        config = default_config([tmp_path / "first.jsonl"], "thumbs", overrides=[f"split.held_out={place}"])
        digests.append(curate(config, tmp_path / place.parent.name / "out").manifest.digest)
    assert digests[0] == digests[1]
    without = curate(default_config([tmp_path / "first.jsonl"], "thumbs"), tmp_path / "without").manifest.digest
    assert without == Manifest.read(tmp_path / "first").digest != digests[0]


def test_path_in_a_config_file_is_relative_to_that_file(frozen: Path, tmp_path: Path) -> None:
    path = tmp_path / "curate.toml"
    path.write_text('[[sources]]\npath = "first.jsonl"\nformat = "thumbs"\n[split]\nheld_out = "frozen"\n')
    assert load_curate_config(path).split.held_out == str(tmp_path / "frozen")


def test_frozen_groups_count_towards_the_share_that_is_held_out() -> None:
    """Of 100 single rows a quarter is wanted and 10 are frozen: 15 more are chosen, and the same ones without them."""
    rows = table(*(candidate(f"p{n}", label=n % 5 > 0) for n in range(100))).select("group_id", "label")
    frozen = rows["group_id"].sort().head(10)
    plan = split_plan(rows, SplitConfig(test_fraction=0.25), seed=1, frozen_groups=frozen, frozen="digest")
    assert plan.test_groups.len() == 25
    assert frozen.is_in(plan.test_groups.implode()).all()
    only = split_plan(rows, SplitConfig(test_fraction=0), seed=1, frozen_groups=frozen, frozen="digest")
    assert only.test_groups.equals(frozen)
    assert only.described()["held_out"] == "digest"


def test_set_without_both_labels_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "some.jsonl", range(60))
    overrides = ["split.test_fraction=0"]
    curate(default_config([tmp_path / "some.jsonl"], "thumbs", overrides=overrides), tmp_path / "some")
    with pytest.raises(EmptySplitError, match="the test split has 0 desirable and 0 undesirable rows"):
        freeze(tmp_path / "some", tmp_path / "frozen")


def test_set_that_is_damaged_or_not_there_stops_curation(frozen: Path, tmp_path: Path) -> None:
    other = default_config([tmp_path / "first.jsonl"], "thumbs", overrides=[f"split.held_out={tmp_path / 'nowhere'}"])
    with pytest.raises(InputNotFoundError, match="no manifest"):
        curate(other, tmp_path / "out")
    shard = next(frozen.glob("data/*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    with pytest.raises(CorruptionError, match="a shard is not what the manifest says"):
        read_frozen(frozen)


def test_damaged_set_is_made_again_and_a_sound_one_found_whoever_made_it(frozen: Path, tmp_path: Path) -> None:
    (shard,) = frozen.glob("data/*.parquet")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + b"?")
    manifest = freeze(tmp_path / "first", frozen)
    assert shard.read_bytes() == whole
    replace(manifest, thumbline_version="0.0.1").write(frozen)
    assert freeze(tmp_path / "first", frozen).thumbline_version == "0.0.1"


def test_set_of_another_dataset_is_not_replaced(frozen: Path, tmp_path: Path) -> None:
    write(tmp_path / "second.jsonl", range(300, 420))
    curate(default_config([tmp_path / "second.jsonl"], "thumbs"), tmp_path / "second")
    with pytest.raises(OutputExistsError, match="made from other files or with another config"):
        freeze(tmp_path / "second", frozen)
