"""The stage `rebalance` and its arithmetic: R = lambda_D n_D / (lambda_U n_U)."""

from __future__ import annotations

import itertools
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.config import RebalanceConfig
from feedback.rebalance import ratio_of_report, rebalance
from feedback.rebalance.ratio import parse_ratio_range, plan_ratio
from feedback.stage import StageResult
from schemas.errors import ConfigError, OneLabelError, RatioUnreachableError
from tests.feedback_tables import candidate, table


def rows_of(up: int, down: int, *, split: str = "train", source: str = "log") -> list[dict]:
    made = [candidate(f"{source}{split}u{n}", split=split, source=source) for n in range(up)]
    return made + [candidate(f"{source}{split}d{n}", label=False, split=split, source=source) for n in range(down)]


def balanced(rows: list[dict], *, seed: int = 0, **config: object) -> StageResult:
    return rebalance(table(*rows), RebalanceConfig(**config), seed=seed)


def counts(up: int, down: int, **config: object) -> tuple[int, int]:
    plan = plan_ratio(up, down, RebalanceConfig(**config))
    return plan.desirable, plan.undesirable


def test_too_many_desirable_rows_go_to_the_upper_edge() -> None:
    """204 down allow floor(4/3 * 204) = 272 up, and R is exactly 4/3."""
    assert counts(1530, 204) == (272, 204)
    assert plan_ratio(1530, 204, RebalanceConfig()).value == Fraction(4, 3)


def test_too_many_undesirable_rows_go_to_the_lower_edge() -> None:
    """100 up allow 100 down at R = 1; at R >= 0.75, 133 of them."""
    assert counts(100, 700) == (100, 100)
    assert counts(100, 700, low=0.75, allow_below_one=True) == (100, 133)


def test_an_edge_is_met_exactly_and_not_by_float_rounding() -> None:
    """4/3 of 3 is 4, though the float 4/3 times 3 is below 4 in exact arithmetic; 1.33 of 3 is 3."""
    assert counts(10, 3) == (4, 3)
    assert counts(10, 3, high=1.33) == (3, 3)
    assert counts(1000, 300, high=1.1) == (330, 300)


def test_rows_in_range_are_left_alone() -> None:
    for up, down in ((100, 100), (4, 3), (120, 100)):
        assert counts(up, down) == (up, down)
    assert balanced(rows_of(4, 3)).report.notes[1] == (
        "Nothing left out and no weight raised: R is where it is wanted."
    )


def test_given_weights_count_in_every_mode() -> None:
    """With lambda_U = 2: 100 down weigh 200, so up to 266 up; reweighting 900 up needs 2 * 900 / (4/3 * 200) = 6.75."""
    assert counts(900, 100, undesirable_weight=2.0) == (266, 100)
    plan = plan_ratio(900, 100, RebalanceConfig(mode="reweight", undesirable_weight=2.0))
    assert (plan.undesirable_weight, plan.desirable_weight, plan.value) == (Fraction(27, 4), 1, Fraction(4, 3))
    off = plan_ratio(900, 100, RebalanceConfig(mode="off", undesirable_weight=2.0))
    assert (off.value, off.undesirable_weight) == (Fraction(9, 2), 2)


def test_given_weights_can_make_the_minority_too_many() -> None:
    """With lambda_U = 3, 100 up against 50 down is R = 2/3, so down goes to floor(100 / 3) = 33."""
    assert counts(100, 50, undesirable_weight=3.0) == (100, 33)


def test_reweighting_keeps_every_row_and_raises_the_minority() -> None:
    plan = plan_ratio(30, 90, RebalanceConfig(mode="reweight"))
    assert (plan.desirable, plan.undesirable, plan.desirable_weight, plan.undesirable_weight) == (30, 90, 3, 1)
    result = balanced(rows_of(8, 3), mode="reweight")
    weights = result.kept.group_by("label").agg(pl.col("weight").unique().implode()).sort("label")
    assert result.kept.height == 11
    assert weights["weight"].explode().explode().to_list() == [2.0, 1.0]
    assert "The weight of undesirable rows raised from 1 to 2." in result.report.notes
    assert "the weights of the objective itself stay 1" in result.report.notes[-1]


def test_both_downsamples_to_the_least_share_and_reweights_the_rest() -> None:
    """900 up may shrink to 450; 450 against 100 is 4.5, and 4.5 / (4/3) = 3.375."""
    plan = plan_ratio(900, 100, RebalanceConfig(mode="both", min_keep_share=0.5))
    assert (plan.desirable, plan.undesirable_weight, plan.value) == (450, Fraction(27, 8), Fraction(4, 3))
    gentle = plan_ratio(150, 100, RebalanceConfig(mode="both", min_keep_share=0.5))
    assert (gentle.desirable, gentle.undesirable_weight) == (133, 1)


def test_a_single_number_is_a_target_met_to_within_a_row() -> None:
    """1.2 * 1003 = 1203.6: with 1,204 up R is just above the target."""
    plan = plan_ratio(5000, 1003, RebalanceConfig(low=1.2, high=1.2))
    assert (plan.desirable, plan.undesirable) == (1204, 1003)
    assert Fraction(6, 5) <= plan.value == plan.high < Fraction(1205, 1003)
    down = plan_ratio(1000, 5000, RebalanceConfig(low=1.2, high=1.2))
    assert (down.undesirable, down.value) == (833, Fraction(1000, 833))
    both = plan_ratio(5000, 1003, RebalanceConfig(low=1.2, high=1.2, mode="both", min_keep_share=0.01))
    assert (both.desirable, both.undesirable_weight) == (1204, 1)


def test_a_ratio_that_whole_rows_cannot_make_is_refused_with_what_would_help() -> None:
    """2 down with R in [1.2, 1.4] would need between 2.4 and 2.8 up."""
    with pytest.raises(RatioUnreachableError) as refusal:
        counts(9, 2, low=1.2, high=1.4)
    assert str(refusal.value) == (
        "train split with 9 desirable and 2 undesirable rows, weights 1 and 1: no number of rows to leave out brings R "
        "into [1.2, 1.4]; expected an R that whole rows can make; the nearest are 1 (2 desirable, 2 undesirable) and "
        "1.5 (3 desirable, 2 undesirable). Widen the range (--ratio LOW:HIGH) to take in one of them, use --mode "
        "reweight, or add rows."
    )
    assert counts(9, 2, low=1.2, high=1.4, mode="both", min_keep_share=0.1) == (3, 2)
    with pytest.raises(RatioUnreachableError, match=r"nearest are 0.25 \(1 desirable, 2 undesirable\)|0.5"):
        counts(1, 9, undesirable_weight=2.0)


@pytest.mark.parametrize(("up", "down"), [(5, 0), (0, 5), (0, 0)])
def test_one_label_only_is_refused_with_its_counts(up: int, down: int) -> None:
    with pytest.raises(OneLabelError, match=f"{up} desirable and {down} undesirable rows in the train split"):
        balanced(rows_of(up, down))
    assert balanced(rows_of(up, down), mode="off").kept.height == up + down


@given(
    up=st.integers(1, 3000),
    down=st.integers(1, 3000),
    low=st.sampled_from([0.5, 1.0, 1.1]),
    width=st.sampled_from([1.0, 1.01, 4 / 3, 1.5]),
    weights=st.tuples(*[st.sampled_from([0.5, 1.0, 1.37, 2.0])] * 2),
    mode=st.sampled_from(["downsample", "reweight", "both"]),
)
def test_the_plan_is_in_range_and_loses_no_row_too_many(up, down, low, width, weights, mode) -> None:
    """Beside a search over all counts: only one label is cut, R is in range, and one row more would not be."""
    config = RebalanceConfig(
        low=low,
        high=low * width,
        allow_below_one=True,
        desirable_weight=weights[0],
        undesirable_weight=weights[1],
        mode=mode,
    )
    try:
        plan = plan_ratio(up, down, config)
    except RatioUnreachableError:
        lam_up, lam_down = (Fraction(str(weight)) for weight in weights)
        ratios = [lam_up * d / (lam_down * down) for d in range(1, up + 1)]
        ratios += [lam_up * up / (lam_down * d) for d in range(1, down + 1)]
        assert mode == "downsample"
        assert not any(Fraction(config.low) <= ratio <= Fraction(config.high) for ratio in ratios)
        return
    assert plan.low <= plan.value <= plan.high
    assert plan.desirable == up or plan.undesirable == down
    if mode == "reweight":
        assert (plan.desirable, plan.undesirable) == (up, down)
    lam_ratio = plan.desirable_weight / plan.undesirable_weight
    if plan.desirable < up and mode == "downsample":
        assert lam_ratio * (plan.desirable + 1) / down > plan.high or width == 1.0
    if plan.undesirable < down and mode == "downsample":
        assert lam_ratio * up / (plan.undesirable + 1) < plan.low


def test_every_source_loses_the_same_share() -> None:
    """1,000 + 200 + 40 up against 93 down: 124 of 1,240 stay, a tenth of each source."""
    rows = rows_of(1000, 31, source="a") + rows_of(200, 31, source="b") + rows_of(40, 31, source="c")
    kept = balanced(rows).kept.filter("label").group_by("source").len().sort("source")
    assert kept["len"].to_list() == [100, 20, 4]


def test_a_larger_number_of_rows_only_adds_rows() -> None:
    rows = rows_of(300, 30, source="a") + rows_of(70, 20, source="b")
    kept = [set(balanced(rows, low=1.0, high=high).kept["row_id"]) for high in (1.0, 1.1, 4 / 3, 2.0, 6.0)]
    assert all(small < large for small, large in itertools.pairwise(kept))


def test_the_test_split_is_not_touched() -> None:
    rows = rows_of(90, 10, split="test") + rows_of(90, 30)
    result = balanced(rows, undesirable_weight=1.5)
    held_out = result.kept.filter(split="test")
    assert (held_out.height, held_out["weight"].unique().to_list()) == (100, [1.0])
    assert set(result.dropped["split"]) == {"train"}
    assert result.report.figures["before"]["desirable"] == 90


def test_the_report_has_the_arithmetic() -> None:
    report = balanced(rows_of(1530, 204)).report
    assert report.dropped == {"downsampled": 1258}
    assert report.notes == (
        "Before: R = 1 x 1,530 desirable / (1 x 204 undesirable) = 7.5000, wanted in [1, 1.33333].",
        (
            "1,258 of 1,530 desirable rows of the train split left out (82.2%), the same share of every source; 204 "
            "undesirable kept."
        ),
        "After: R = 1 x 272 desirable / (1 x 204 undesirable) = 1.3333.",
    )
    ratio = ratio_of_report(report.figures)
    assert ratio.is_in_range
    assert (ratio.desirable, ratio.undesirable, report.figures["before"]["ratio"]) == (272, 204, 7.5)


@pytest.mark.parametrize("mode", ["downsample", "reweight", "both"])
def test_a_range_below_one_must_be_asked_for(mode: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        RebalanceConfig(low=0.5, high=0.8, mode=mode)
    assert str(refusal.value) == (
        "config table [rebalance]: the range lets R fall below 1, so that avoiding bad answers weighs more than giving "
        "good ones: got (0.5, 0.8); expected low >= 1. Where this is what you want, for example against toxic answers, "
        "ask for it with allow_below_one = true (--allow-below-one)."
    )
    assert RebalanceConfig(low=0.5, high=0.8, mode=mode, allow_below_one=True).low == 0.5
    assert RebalanceConfig(low=0.5, high=0.8, mode="off").low == 0.5


def test_a_toxic_plan_has_more_to_avoid_than_to_give() -> None:
    """400 up against 100 down at R <= 0.8: 80 up stay."""
    result = balanced(rows_of(400, 100), low=0.5, high=0.8, allow_below_one=True)
    assert (result.report.labels_kept.desirable, result.report.labels_kept.undesirable) == (80, 100)
    assert ratio_of_report(dict(result.report.figures)).value == pytest.approx(0.8)


def test_a_range_below_one_is_said_to_be_one() -> None:
    assert "The range allows R below 1" in balanced(rows_of(10, 10), low=0.5, allow_below_one=True).report.notes[-1]


def test_running_again_changes_nothing() -> None:
    for config in ({}, {"mode": "reweight"}, {"low": 1.2, "high": 1.2}):
        once = balanced(rows_of(97, 13), **config)
        again = rebalance(once.kept, RebalanceConfig(**config))
        assert again.kept.equals(once.kept)


def test_the_seed_decides_who_is_left_out() -> None:
    one, two = (balanced(rows_of(90, 10), seed=seed).kept for seed in (1, 2))
    assert one.height == two.height
    assert not one.equals(two)


@pytest.mark.parametrize("text", ["", "a", "2:1", "1:2:3", "0", "-1:2", "1:", "1/0", "nan"])
def test_a_ratio_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="a ratio is not LOW:HIGH"):
        parse_ratio_range(text)


def test_a_range_upside_down_is_refused() -> None:
    with pytest.raises(ConfigError, match="low is greater than high"):
        RebalanceConfig(low=2.0)
