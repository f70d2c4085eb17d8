"""The cap on the share of one rater holds in what is made of a finished dataset: rebalanced again, or mixed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from feedback.config import RebalanceConfig
from feedback.dataset.history import with_history
from feedback.dataset.rows import read_curated
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from feedback.pipeline import CurateResult, curate, default_config, mix_dataset, rebalance_dataset

OVERRIDES = ("rebalance.mode=off", "split.test_fraction=0", "export.raters=true")
OFF = RebalanceConfig(mode="off")


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")


def curated(folder: Path, raters: int = 60, *overrides: str) -> CurateResult:
    """A dataset of 400 votes, nine in ten of them up; one rater gave every ninth, before the cap."""
    rows = [
        {
            "prompt": f"q {n} {n * 7}",
            "completion": f"a {n} {n * 3}",
            "label": "up" if n % 10 else "down",
            "user": "loud" if n % 9 == 1 else f"u{n % raters}",
            "model": f"m{n // 10 % 2}",
            "time": 1_767_606_699 + n,
        }
        for n in range(400)
    ]
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return curate(default_config([folder / "in.jsonl"], "thumbs", overrides=(*OVERRIDES, *overrides)), folder / "made")


def rows_of(result: CurateResult) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted(result.folder.glob("data/*.parquet"))])


def largest_share(rows: pl.DataFrame, *, label: bool = True) -> float:
    """Share of a label's rows that rest on the rater who gave most of them."""
    rows = rows.filter(label=label)
    return int(rows["rater_key"].drop_nulls().value_counts()["count"].max() or 0) / rows.height


def told(result: CurateResult) -> str:
    """What the last report of `rebalance` says."""
    report = [one for one in result.manifest.stages if one.stage == "rebalance"][-1]
    assert report.rows_in == report.rows_kept + sum(report.dropped.values())
    return " ".join(report.notes)


def test_a_dataset_that_is_rebalanced_keeps_its_cap(tmp_path: Path) -> None:
    """At seed 0 a hash alone would give the rater 9 of 53 rows; it is the same as `curate` gives at once."""
    parent = curated(tmp_path)
    assert 0.09 < largest_share(rows_of(parent)) <= 0.1
    again = rebalance_dataset([parent.folder], tmp_path / "again", RebalanceConfig())
    assert largest_share(rows_of(again)) <= 0.1
    assert "near the cap of influence" in told(again)
    shutil.rmtree(parent.folder)
    at_once = curated(tmp_path, 60, "rebalance.mode=downsample")
    assert set(rows_of(at_once)["row_id"]) == set(rows_of(again)["row_id"])


def test_a_cap_holds_where_some_raters_have_no_row_left(tmp_path: Path) -> None:
    """53 rows of one label and 38 of the other leave fewer raters than a team has; they were none before."""
    parent = curated(tmp_path, 51, "rebalance.mode=downsample")
    assert rows_of(parent)["rater_key"].n_unique() < 50
    again = rebalance_dataset([parent.folder], tmp_path / "again", RebalanceConfig(high=1.0))
    assert largest_share(rows_of(again)) <= 0.1
    assert "near the cap of influence" in told(again)


def test_a_mix_keeps_the_cap_of_its_dataset(tmp_path: Path) -> None:
    """Half of what is new is of one rater, who gave a tenth of all; the counts say who was left out, and why."""
    parent = curated(tmp_path, 60, "split.test_fraction=0.1")
    rows = rows_of(parent)
    loud = rows["rater_key"].mode()[0]
    new = pl.concat([rows.filter(rater_key=loud), rows.filter(pl.col("rater_key") != loud).head(40)])
    events = new["source_event_ids"].explode()
    one, two = (
        mix_dataset(parent.folder, tmp_path / name, events, older_share=0.3, config=OFF) for name in ("one", "two")
    )
    assert one.manifest.digest == two.manifest.digest
    made = rows.filter(pl.col("row_id").is_in(rows_of(one)["row_id"].implode()))
    for kept in (made, made.filter(split="train")):
        assert largest_share(kept) <= max(0.1, 2 / kept.filter("label")["rater_key"].n_unique())
    assert made.filter(split="test").height == rows.filter(split="test").height > 0
    mixed, balanced = one.manifest.stages[-3:-1]
    assert balanced.rows_in == mixed.rows_kept
    assert balanced.dropped["rater_cap"] > 0
    assert "desirable rows of one rater left out" in told(one)


def test_a_dataset_that_nothing_is_left_out_of_is_as_it_was(tmp_path: Path) -> None:
    """Of one split a rater may be behind more than of both: which rows are held out is chance, and no cap counts it."""
    parent = curated(tmp_path, 60, "split.test_fraction=0.3")
    again = rebalance_dataset([parent.folder], tmp_path / "again", OFF)
    assert rows_of(again).equals(rows_of(parent))


def test_a_cap_that_does_not_hold_in_a_mix_is_said(tmp_path: Path) -> None:
    """Thirty raters are a team, of which nobody is held."""
    parent = curated(tmp_path, 30)
    rows = rows_of(parent)
    events = rows.filter(rater_key=rows["rater_key"].mode()[0])["source_event_ids"].explode()
    made = mix_dataset(parent.folder, tmp_path / "mix", events, older_share=0.5, config=OFF)
    assert "is not held to 10.0%" in told(made)
    assert "are a team" in told(made)


def test_rows_of_a_dataset_are_spread_over_their_models_and_weeks(tmp_path: Path) -> None:
    parent = curated(tmp_path)
    config = RebalanceConfig(strata=("model", "week"))
    again = rebalance_dataset([parent.folder], tmp_path / "again", config)
    assert "No row tells" not in told(again)
    rows, is_found = with_history(read_curated(again.folder, again.manifest), again.folder)
    assert is_found
    models = rows.filter("label")["model_id"].value_counts()["count"]
    assert models.len() == 2
    assert models.max() - models.min() <= 3
    assert rows["event_ts"].null_count() == 0


def test_a_dataset_without_its_stages_says_that_nobody_is_held(tmp_path: Path) -> None:
    parent = curated(tmp_path)
    shutil.rmtree(parent.folder / "stages")
    again = rebalance_dataset([parent.folder], tmp_path / "again", RebalanceConfig(strata=("model",)))
    assert told(again).startswith("Raters, models and times are not known: they are in the dataset's folder stages")
    assert "no rater is held to caps.max_rater_share = 0.1." in told(again)
    assert "No row tells its model" in told(again)


def test_a_dataset_without_a_cap_is_not_capped_later(tmp_path: Path) -> None:
    """Nor is it said of one whose stages are lost that a cap does not hold."""
    parent = curated(tmp_path, 60, "caps.max_rater_share=null")
    share = largest_share(rows_of(parent))
    config = replace(RebalanceConfig(), mode="reweight")
    again = rebalance_dataset([parent.folder], tmp_path / "again", config)
    assert largest_share(rows_of(again)) == share > 0.1
    shutil.rmtree(parent.folder / "stages")
    late = rebalance_dataset([parent.folder], tmp_path / "late", config)
    assert "Raters, models and times are not known" in told(late)
    assert "no rater is held" not in told(late)
