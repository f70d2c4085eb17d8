"""The stage `mix`: all that is new, and a share of what is older."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.config import RebalanceConfig
from feedback.mix import mix, older_rows
from feedback.pipeline import curate, default_config, mix_dataset
from schemas.manifest import Manifest
from tests.feedback_tables import candidate, table


def rows(count: int) -> pl.DataFrame:
    """Rows of both labels, every tenth held out."""
    made = table(*(candidate(f"p{n}", f"c{n}", n % 4 > 0) for n in range(count)))
    held = pl.int_range(pl.len()) % 10 == 0
    return made.with_columns(split=pl.when(held).then(pl.lit("test")).otherwise(pl.lit("train")))


def events_of(frame: pl.DataFrame) -> pl.Series:
    return frame["votes"].list.first().struct.field("event_id")


@pytest.mark.parametrize(("share", "older"), [(0.0, 0), (0.5, 20), (0.75, 60), (0.99, 340)])
def test_older_rows_make_the_wanted_share(share: float, older: int) -> None:
    """20 new rows of 400, of which 40 are held out: 340 older ones to choose from."""
    made = rows(400)
    new = made.filter(split="train").head(20)
    result = mix(made, events_of(new), share)
    assert result.report.figures == {"new": 20, "older": older, "older_left_out": 340 - older}
    assert result.kept.filter(split="test").height == 40
    assert set(new["row_id"]) <= set(result.kept["row_id"])
    assert result.report.dropped == ({"older": 340 - older} if older < 340 else {})


def test_row_with_an_old_and_a_new_vote_is_new() -> None:
    made = table(candidate("p", "c", True), candidate("q", "d", False)).with_columns(split=pl.lit("train"))
    votes = made["votes"].to_list()
    late = {**votes[0][0], "event_id": "late"}
    made = made.with_columns(votes=pl.Series([[*votes[0], late], votes[1]], dtype=made.schema["votes"]))
    result = mix(made, pl.Series(["late"]), 0.0)
    assert result.kept["row_id"].to_list() == [made["row_id"][0]]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.floats(0, 0.9), st.floats(0, 0.9), st.randoms(use_true_random=False))
def test_larger_share_only_adds_rows_whatever_the_order(new: int, first: float, second: float, chance) -> None:
    made = rows(80)
    events = events_of(made.sort("row_key").head(new))
    shuffled = made.sample(fraction=1, shuffle=True, seed=chance.randint(0, 10**6))
    small, large = (mix(made, events, share, seed=3) for share in sorted((first, second)))
    assert set(small.kept["row_id"]) <= set(large.kept["row_id"])
    assert mix(shuffled, events, max(first, second), seed=3).kept.equals(large.kept)


def test_older_rows_keep_their_ratio_of_labels() -> None:
    made = rows(400)
    result = mix(made, events_of(made.filter(split="train").head(40)), 0.5)
    older = result.kept.filter(split="train").filter(
        ~pl.col("row_id").is_in(made.filter(split="train").head(40)["row_id"].implode())
    )
    pool = made.filter(split="train").slice(40)
    assert older["label"].mean() == pytest.approx(pool["label"].mean(), abs=0.02)


def test_number_of_older_rows() -> None:
    assert [older_rows(100, share) for share in (0.0, 0.2, 0.5)] == [0, 25, 100]


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A dataset of 120 answers."""
    votes = [
        {"prompt": f"q {n}", "completion": f"a {n}", "label": "up" if n % 3 else "down", "user": f"u{n}"}
        for n in range(120)
    ]
    path = tmp_path / "votes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in votes))
    curate(default_config([path], "thumbs"), tmp_path / "history")
    return tmp_path / "history"


def test_mixed_dataset_chains_to_its_parent_and_is_made_once(history: Path, tmp_path: Path) -> None:
    parent = Manifest.read(history)
    train = pl.concat([pl.read_parquet(path) for path in history.glob("data/train-*.parquet")]).sort("row_id")
    events = train.head(20)["source_event_ids"].explode()
    options = {"older_share": 0.5, "config": RebalanceConfig()}
    made = mix_dataset(history, tmp_path / "mixed", events, **options)
    again = mix_dataset(history, tmp_path / "mixed", events, **options)
    assert (made.was_done, again.was_done) == (False, True)
    assert made.manifest.parent_digest == parent.digest
    stages = [stage.stage for stage in made.manifest.stages]
    assert stages[-3:] == ["mix", "rebalance", "export"]
    mixed, balanced = made.manifest.stages[-3:-1]
    assert (mixed.digest_in, balanced.digest_in) == (parent.digest, mixed.digest_out)
    assert mixed.figures["new"] == mixed.figures["older"] == 20
    assert made.manifest.ratio is not None
    assert made.manifest.ratio.is_in_range
    assert {shard.split for shard in made.manifest.shards} == {"train", "test"}
