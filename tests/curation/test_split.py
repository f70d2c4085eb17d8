"""The stage `split`: what is held out."""

from __future__ import annotations

import pickle

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.config import SplitConfig
from feedback.split import apply_split, split, split_notes, split_plan
from feedback.stage import StageResult, merge_reports
from tests.feedback_tables import candidate, table


def parted(rows: pl.DataFrame, fraction: float = 0.1, seed: int = 0) -> StageResult:
    return split(rows, SplitConfig(test_fraction=fraction), seed=seed)


def test_a_prompt_is_never_on_both_sides() -> None:
    rows = table(*(candidate(f"p{n % 40}", f"c{n}", n % 3 > 0) for n in range(200)))
    sides = parted(rows, 0.25).kept.group_by("group_id").agg(pl.col("split").n_unique())
    assert sides["split"].to_list() == [1] * 40


@pytest.mark.parametrize(("fraction", "held_out"), [(0.1, 10), (0.25, 25), (0.333, 33), (0.5, 50)])
def test_single_rows_are_held_out_in_exact_numbers(fraction: float, held_out: int) -> None:
    rows = table(*(candidate(f"p{n}", label=n % 5 > 0) for n in range(100)))
    assert parted(rows, fraction).kept.filter(split="test").height == held_out


def test_the_held_out_rows_keep_the_ratio_of_labels() -> None:
    """80 up and 20 down with a quarter held out: 20 up and 5 down."""
    rows = table(*(candidate(f"p{n}", label=n % 5 > 0) for n in range(100)))
    result = parted(rows, 0.25)
    assert result.report.figures["test"] == {"desirable": 20, "undesirable": 5}
    assert result.report.notes == (
        "25 of 100 rows held out as the test split, in 25 of 100 groups of prompts: 20 desirable and 5 undesirable.",
    )


def test_a_larger_fraction_only_adds_single_rows() -> None:
    rows = table(*(candidate(f"p{n}", label=n % 5 > 0) for n in range(100)))
    held_out = [set(parted(rows, share).kept.filter(split="test")["row_id"]) for share in (0.1, 0.2, 0.3)]
    assert held_out[0] < held_out[1] < held_out[2]


def test_a_group_larger_than_the_test_split_is_trained_on() -> None:
    big = [candidate("big", f"c{n}") for n in range(50)]
    rows = table(*big, *(candidate(f"p{n}") for n in range(50)))
    kept = parted(rows, 0.1).kept
    assert set(kept.filter(split="test")["group_id"]).isdisjoint({big[0]["group_id"]})
    assert kept.filter(split="test").height == 10


def test_no_fraction_no_test_split() -> None:
    result = parted(table(candidate("a"), candidate("b")), 0.0)
    assert result.kept["split"].to_list() == ["train", "train"]
    assert result.report.notes == ("Nothing is held out: test_fraction is 0.",)


def test_the_seed_decides_who_is_held_out() -> None:
    rows = table(*(candidate(f"p{n}") for n in range(100)))
    first, again, other = (parted(rows, seed=seed).kept for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_no_rows_give_no_rows() -> None:
    assert parted(table()).kept.height == 0


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=80),
    st.sampled_from([0.0, 0.1, 0.4]),
    st.integers(1, 4),
    st.randoms(use_true_random=False),
)
def test_partitions_are_split_as_one_table_is(drawn: list, fraction: float, parts: int, source) -> None:
    """Whole groups in each part, the narrow columns in any order: the same rows held out, and the same report."""
    rows = table(*(candidate(f"p{group}", f"c{n}", label) for n, (group, label) in enumerate(drawn)))
    config = SplitConfig(test_fraction=fraction)
    whole = split(rows, config, seed=3)
    narrow = rows.select("group_id", "label").sample(fraction=1, shuffle=True, seed=source.randrange(99))
    plan = pickle.loads(pickle.dumps(split_plan(narrow, config, seed=3)))
    results = [apply_split(rows.filter(pl.col("group_id") % parts == part), plan) for part in range(parts)]
    kept = pl.concat([result.kept for result in results])
    assert kept.sort("row_key").equals(whole.kept.sort("row_key"))
    figures = merge_reports([result.report for result in results]).figures
    assert figures == whole.report.figures
    assert tuple(split_notes(figures, config)) == whole.report.notes


def test_the_order_of_rows_does_not_matter() -> None:
    rows = table(*(candidate(f"p{n % 70}", f"c{n}", n % 3 > 0) for n in range(100)))
    assert parted(rows.reverse()).kept.equals(parted(rows).kept)
