"""The stage `mix`: all that is new, and a share of what is older."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.config import CurateConfig, ExportConfig, RebalanceConfig
from feedback.mix import mix, mix_pairs, older_rows
from feedback.pipeline import curate, default_config, mix_dataset, mix_pairs_of_dataset, rebalance_dataset
from schemas.datasets import PAIR_CANDIDATE
from schemas.errors import InputNotFoundError
from schemas.manifest import Manifest
from schemas.settings import load_settings
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


def test_whoever_a_row_rests_on_is_still_said_of_it_when_a_dataset_is_mixed_or_rebalanced(tmp_path: Path) -> None:
    """Of rows of one rater, of several, and of one whom nobody knows; and nothing where the dataset says nothing."""
    votes = [
        {"prompt": f"q {n}", "completion": f"a {n}", "label": "up" if n % 3 else "down", "user": user}
        for n in range(60)
        for user in ([f"u{n}"], [f"u{n}", f"v{n}"], [None])[n % 3]
    ]
    path = tmp_path / "votes.jsonl"
    path.write_text("".join(json.dumps({k: v for k, v in row.items() if v is not None}) + "\n" for row in votes))
    as_it_is = RebalanceConfig(mode="off")
    config = replace(default_config([path], "thumbs"), rebalance=as_it_is)
    told, untold = ExportConfig(raters=True), ExportConfig()
    for name, export in (("told", told), ("untold", untold)):
        curate(replace(config, export=export), tmp_path / name)
        events = rows_of(tmp_path / name)["source_event_ids"].explode()
        options = {"older_share": 0.5, "config": as_it_is, "export_config": export}
        mix_dataset(tmp_path / name, tmp_path / f"{name} mixed", events, **options)
        rebalance_dataset([tmp_path / name], tmp_path / f"{name} again", as_it_is)
    before = dict(rows_of(tmp_path / "told").select("row_id", "rater_key").iter_rows())
    assert sum(key is None for key in before.values()) == 40
    assert len(set(before.values())) == 21
    for made in ("told mixed", "told again"):
        assert dict(rows_of(tmp_path / made).select("row_id", "rater_key").iter_rows()) == before
    for made in ("untold", "untold mixed", "untold again"):
        assert "rater_key" not in rows_of(tmp_path / made).columns


def pairs(count: int) -> pl.DataFrame:
    """Pairs with two judgements each, every tenth held out."""
    places = range(count)
    narrow = {
        "row_id": [f"{place * 7919:016x}{0:016x}" for place in places],
        "row_key": [place * 7919 for place in places],
        "source_event_ids": [[f"a{place}", f"b{place}"] for place in places],
        "split": ["test" if place % 10 == 0 else "train" for place in places],
    }
    made = pl.DataFrame(narrow, schema_overrides={"row_key": pl.UInt64})
    other = {name: kind for name, kind in pl.Schema(PAIR_CANDIDATE).items() if name not in narrow}
    filled = {name: pl.lit(1 if kind.is_numeric() else "-").cast(kind) for name, kind in other.items()}
    return made.with_columns(**filled).select(PAIR_CANDIDATE.names)


def test_older_pairs_make_the_wanted_share_and_those_with_a_new_judgement_are_new() -> None:
    """Of 90 pairs that are trained on, 9 have one new judgement of two: with a share of 3/4, 27 older ones stay."""
    made = pairs(100)
    new = pl.Series([f"b{place}" for place in range(10)])
    result = mix_pairs(made, new, 0.75, digest_in="d")
    assert result.report.figures == {"new": 9, "older": 27, "older_left_out": 54}
    assert result.report.dropped == {"older": 54}
    assert result.kept.filter(split="test").equals(made.filter(split="test"))
    assert set(made["row_id"][1:10]) <= set(result.kept["row_id"])
    assert result.report.notes == ("9 new pairs and 27 of 81 older pairs.",)
    shuffled = mix_pairs(made.sample(fraction=1, shuffle=True, seed=1), new, 0.75, digest_in="d")
    assert shuffled.kept.equals(result.kept)
    assert shuffled.report == result.report
    more = mix_pairs(made, new, 0.8, digest_in="d")
    assert set(result.kept["row_id"]) < set(more.kept["row_id"])
    assert more.report.digest_out != result.report.digest_out


@pytest.fixture
def duels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset of 80 comparisons and 40 prompts with an answer up and one down, whose raters it names."""
    monkeypatch.setenv("THUMBLINE_RATER_KEY", "1" * 32)
    votes = [
        {"prompt": f"q {n}", "completion": f"{name} {n}", "label": label, "user": f"u{n}"}
        for n in range(40)
        for name, label in (("yes", "up"), ("no", "down"))
    ]
    compared = [{"prompt": f"w {n}", "chosen": f"good {n}", "rejected": f"bad {n} of {n}"} for n in range(80)]
    for name, rows in (("votes", votes), ("duels", compared)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = load_settings(
        CurateConfig,
        {
            "sources": [
                {"path": str(tmp_path / "votes.jsonl"), "format": "thumbs"},
                {"path": str(tmp_path / "duels.jsonl"), "format": "trl"},
            ],
            "export": {"raters": True},
        },
        where="test",
    )
    curate(config, tmp_path / "history")
    return tmp_path / "history"


def rows_of(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted(folder.glob("data/*.parquet"))]).sort("row_id")


def test_mixed_pairs_are_a_dataset_that_chains_to_its_parent_and_is_made_once(duels: Path, tmp_path: Path) -> None:
    place = duels / "preference"
    parent, before = Manifest.read(place), rows_of(place)
    train = before.filter(split="train")
    options = {"older_share": 0.5, "export_config": ExportConfig(redact=False, raters=True)}
    made = mix_pairs_of_dataset(duels, tmp_path / "mixed", train.head(20)["source_event_ids"].explode(), **options)
    again = mix_pairs_of_dataset(duels, tmp_path / "mixed", train.head(20)["source_event_ids"].explode(), **options)
    assert (made.was_done, again.was_done) == (False, True)
    assert (made.manifest.dataset_type, made.manifest.parent_digest) == ("preference", parent.digest)
    assert [stage.stage for stage in made.manifest.stages] == [*(one.stage for one in parent.stages), "mix", "export"]
    assert made.manifest.stages[-2].digest_in == parent.digest
    assert made.manifest.stages[-2].figures["new"] == made.manifest.stages[-2].figures["older"] == 20
    mixed = rows_of(tmp_path / "mixed")
    assert mixed.filter(split="train").height == 40
    assert mixed.equals(before.join(mixed.select("row_id"), on="row_id", how="semi"))
    assert mixed["rater_key"].null_count() < mixed.height


def test_pairs_of_a_dataset_without_any_are_not_there_to_mix(history: Path, tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match=r"no manifest\.json"):
        mix_pairs_of_dataset(history, tmp_path / "mixed", pl.Series(["a"]), older_share=0.5)
