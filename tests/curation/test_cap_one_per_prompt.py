"""Where each prompt gives one row, the cap on the share of one rater holds for the rows that are chosen."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.caps import cap_influence
from feedback.config import CapsConfig, RebalanceConfig
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from feedback.pipeline import CurateResult, curate, default_config, rebalance_dataset
from feedback.rater_share import cap_share, cap_share_beside
from feedback.rebalance import apply_rebalance, merge_rebalance, narrow_columns, rebalance, rebalance_plan
from feedback.rebalance.explain import explain_rebalance
from feedback.stage import StageResult, write_stage
from schemas.manifest import Manifest
from tests.feedback_tables import candidate, table

ONE = RebalanceConfig(one_per_prompt=True, high=4 / 3)


def brigade() -> list[dict[str, Any]]:
    """Sixty raters judge a thousand answers to fifty prompts, and one judges a hundred prompts of their own."""
    rows = [
        {"prompt": f"q {n % 50} {n % 50 * 7}", "completion": f"a {n} {n * 3}", "user": f"u{n // 2 % 60}"}
        for n in range(1000)
    ]
    rows += [{"prompt": f"own {n} {n * 7}", "completion": f"b {n} {n * 3}", "user": "loud"} for n in range(100)]
    return [row | {"label": "up" if n % 2 else "down"} for n, row in enumerate(rows)]


@pytest.fixture
def votes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    path = tmp_path / "votes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in brigade()))
    return path


def largest_share(rows: pl.DataFrame) -> float:
    return float(rows["rater_key"].drop_nulls().value_counts()["count"].max() or 0) / rows.height


def holds(result: CurateResult) -> None:
    """In each label, in the train split and in both, nobody is above the cap, and the counts sum."""
    rows = pl.concat([pl.read_parquet(path) for path in sorted(result.folder.glob("data/*.parquet"))])
    train = rows.filter(split="train")
    assert train["prompt"].n_unique() == train.height
    for label in (True, False):
        raters = train.filter(label=label)["rater_key"].n_unique()
        for one in (rows, train):
            assert largest_share(one.filter(label=label)) <= max(0.1, 2 / raters)
    report = next(one for one in reversed(result.manifest.stages) if one.stage == "rebalance")
    assert report.rows_in == report.rows_kept + sum(report.dropped.values())
    assert report.dropped["rater_cap"] > 50
    assert report.config["max_rater_share"] == 0.1
    told = " ".join(report.notes)
    assert "desirable rows of one rater left out: the most active gave" in told


def test_one_row_of_each_prompt_keeps_the_cap(votes: Path, tmp_path: Path) -> None:
    """Without the cap, one rater in 61 would be behind two thirds of the train split."""
    config = default_config([votes], "thumbs", overrides=("export.raters=true", "rebalance.one_per_prompt=true"))
    holds(curate(config, tmp_path / "out"))


def test_one_row_of_each_prompt_of_a_finished_dataset_keeps_its_cap(votes: Path, tmp_path: Path) -> None:
    made = curate(default_config([votes], "thumbs", overrides=("export.raters=true",)), tmp_path / "made")
    holds(rebalance_dataset([made.folder], tmp_path / "again", ONE))


def crowd() -> pl.DataFrame:
    """Sixty raters on ten prompts, one of whom alone asks twenty more; a tenth is held out."""
    rows = [
        candidate(
            f"p{n % 10}", f"a{n}", n // 10 % 2 == 0, rater_key=f"u{n % 60}", split="test" if n % 10 == 9 else "train"
        )
        for n in range(400)
    ]
    rows += [
        candidate(f"own{n}", f"b{n}", n % 2 == 0, rater_key="loud", split="test" if n > 17 else "train")
        for n in range(20)
    ]
    return table(*rows).sort("row_key")


def balanced(rows: pl.DataFrame, share: float = 0.1) -> StageResult:
    caps = CapsConfig(max_rater_share=share)
    return rebalance(cap_influence(rows, caps, with_all_raters=True).kept, ONE, max_rater_share=share)


def test_partitions_and_any_order_give_the_rows_of_the_whole() -> None:
    """A plan of narrow columns decides for each partition, of which each has whole prompts."""
    rows = cap_influence(crowd(), CapsConfig(), with_all_raters=True).kept
    whole = rebalance(rows, ONE, max_rater_share=0.1)
    assert whole.report.dropped["rater_cap"] > 0
    shuffled = rows.sample(fraction=1, shuffle=True, seed=3)
    assert rebalance(shuffled, ONE, max_rater_share=0.1).kept.equals(whole.kept)
    plan = rebalance_plan(shuffled.select(narrow_columns(ONE)), ONE, max_rater_share=0.1)
    in_part = pl.col("prompt_key") % 3
    parts = [apply_rebalance(rows.filter(in_part == n), plan) for n in range(3)]
    assert {one for part in parts for one in part.kept["row_id"]} == set(whole.kept["row_id"])
    merged = merge_rebalance([part.report for part in parts], plan)
    assert (merged.dropped, merged.figures, merged.notes) == (
        whole.report.dropped,
        whole.report.figures,
        whole.report.notes,
    )


def test_whom_few_raters_are_left_beside_is_held_to_twice_an_equal_share_and_it_is_said() -> None:
    """Nine prompts give a row of one rater each: with the brigade there are ten, of whom each may give a fifth."""
    report = balanced(crowd()).report
    assert any("known raters gave" in note and "instead of 10.0%" in note for note in report.notes)


def test_a_cap_that_rows_held_out_break_by_themselves_is_said() -> None:
    """Of 40 rows held out 20 are of one rater, whose 6 rows to train on go; 9 prompts give one row each."""
    rows = [candidate(f"p{n % 9}", f"a{n}", n % 2 == 0, rater_key=f"u{n}", split="train") for n in range(36)]
    rows += [candidate(f"own{n}", f"b{n}", n % 2 == 0, rater_key="loud", split="train") for n in range(6)]
    rows += [candidate(f"t{n}", f"c{n}", n % 2 == 0, rater_key="loud", split="test") for n in range(20)]
    rows += [candidate(f"s{n}", f"d{n}", n % 2 == 0, rater_key=f"s{n}", split="test") for n in range(20)]
    marked = cap_influence(table(*rows), CapsConfig(max_rater_share=1.0), with_all_raters=True).kept
    result = rebalance(marked, ONE, max_rater_share=0.1)
    assert result.report.dropped["rater_cap"] == 6
    assert any("by those of the test split alone, which stay" in note for note in result.report.notes)
    assert result.kept.filter(split="test").height == 40


def test_a_share_of_nobody_leaves_one_row_of_each_prompt_as_it_is() -> None:
    rows = crowd()
    plain, capped = rebalance(rows, ONE), balanced(rows, 1.0)
    assert "rater_cap" not in plain.report.dropped
    assert plain.report.figures["rater_cap"] == {"desirable": 0, "undesirable": 0}
    assert capped.kept["row_id"].equals(plain.kept["row_id"])


def test_the_explanation_counts_the_rows_of_a_rater_over_the_cap(tmp_path: Path) -> None:
    result = balanced(crowd())
    write_stage(result, tmp_path / "stages" / "rebalance")
    Manifest("0" * 32, "unpaired_preference", "0", (), (result.report,), ()).write(tmp_path)
    explanation = explain_rebalance(tmp_path)
    capped = result.report.figures["rater_cap"]
    assert sum(capped.values()) == result.report.dropped["rater_cap"]
    assert (
        f"The cap on the share of one rater, of these: {capped['desirable']} desirable and {capped['undesirable']} "
        "undesirable rows left out."
    ) in explanation.steps
    assert sum(line.share for line in explanation.strata) == pytest.approx(
        sum(result.report.figures["after"][label] for label in ("desirable", "undesirable"))
    )


def test_rows_held_out_count_against_a_rater() -> None:
    """Two raters gave 10 of 100 rows each, a tenth; of one, 5 rows of 20 more are held out.

    6 + 5 rows are at most a tenth of what is then left and held out, 95 + 20, and the other's 9 at most one of the 95.
    """
    counts, others = np.array([10, 10]), 80
    cap, kept = cap_share_beside(counts, others, 0.1, np.array([0, 0]), 0)
    assert (kept.tolist(), cap.over) == ([10, 10], 0)
    cap, kept = cap_share_beside(counts, others, 0.1, np.array([5, 0]), 20)
    assert kept.tolist() == [6, 9]
    assert (cap.rows, cap.rows_left, cap.most, cap.largest, cap.over) == (100, 95, 9, 10, 2)
    _, kept = cap_share_beside(counts, others, 0.1, np.array([30, 0]), 40)
    assert kept.tolist() == [0, 8]


@given(
    rows=st.lists(st.tuples(st.integers(1, 60), st.integers(0, 12)), min_size=1, max_size=12),
    others=st.integers(0, 60),
    more=st.integers(0, 40),
    share=st.sampled_from([0.05, 0.1, 0.3, 1.0]),
)
def test_nobody_is_above_the_cap_on_either_count(
    rows: list[tuple[int, int]], others: int, more: int, share: float
) -> None:
    """Nor is anybody held further than needed; with nothing held out it is the cap of the stage `caps`."""
    counts, held_out = (np.array(column) for column in zip(*rows, strict=True))
    total = int(held_out.sum()) + more
    cap, kept = cap_share_beside(counts, others, share, held_out, total)
    left = int(kept.sum()) + others
    assert cap.rows_left == left
    assert bool((kept <= cap.share * left).all())
    within = kept + held_out <= cap.share * (left + total)
    assert bool((within | (kept == 0)).all())
    for place in np.flatnonzero(kept < counts).tolist():
        one = int(kept[place]) + 1
        too_many = one > cap.share * (left + 1) or one + int(held_out[place]) > cap.share * (left + 1 + total)
        assert too_many or Fraction(1) == cap.share
    plain = cap_share(counts, others, share)
    alone, kept = cap_share_beside(counts, others, share, np.zeros_like(counts), 0)
    assert np.array_equal(kept, np.minimum(counts, plain.most))
    assert (alone.share, alone.rows_left, alone.over) == (plain.share, plain.rows_left, plain.over)
