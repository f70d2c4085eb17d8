"""Differences of two models on the same cases: by hand, against slow ones, and intervals that hold their promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from align.champion.paired import paired_auc, paired_mean, paired_share
from schemas.errors import InputError, ShapeError


def slow_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Wins of every desirable case over every undesirable one, a tie being half."""
    wins = [(up > down) + 0.5 * (up == down) for up in scores[labels] for down in scores[~labels]]
    return float(np.mean(wins))


def test_mean_of_single_cases_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=40), rng.normal(0.3, 1, size=40)
    found = paired_mean(before, after, range(40))
    wanted = ttest_1samp(after - before, 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    assert found.value == pytest.approx(float((after - before).mean()))


def test_copies_of_a_group_add_nothing() -> None:
    """Each case ten times in its group leaves the interval as it is; taken as cases of their own it shrinks."""
    rng = np.random.default_rng(1)
    before, after = rng.normal(size=30), rng.normal(size=30)
    once = paired_mean(before, after, range(30))
    copied = paired_mean(np.repeat(before, 10), np.repeat(after, 10), np.repeat(np.arange(30), 10).tolist())
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    naive = paired_mean(np.repeat(before, 10), np.repeat(after, 10), range(300))
    assert naive.high - naive.low < 0.5 * (once.high - once.low)


def test_share_by_hand() -> None:
    """10 cases, 4 won, 1 lost: (4.5 - 1.5) / 12 = 0.25, +- 1.96 sqrt(6 - 9 / 12) / 12 = 0.3742."""
    before = [True] + [False] * 9
    after = [False] + [True] * 4 + [False] * 5
    found = paired_share(before, after)
    assert (found.before, found.after, found.value) == pytest.approx((0.1, 0.4, 0.3))
    assert (found.low, found.high) == pytest.approx((0.25 - 0.3742, 0.25 + 0.3742), abs=1e-3)


def test_no_change_among_few_cases_is_no_certainty() -> None:
    few, many = paired_share([True] * 5, [True] * 5), paired_share([True] * 500, [True] * 500)
    assert few.value == many.value == 0
    assert few.high == pytest.approx(1.959964 / 7)
    assert many.high < 0.01


def test_area_is_that_of_all_pairs_and_ties_are_half() -> None:
    rng = np.random.default_rng(2)
    labels = rng.random(60) < 0.4
    before, after = rng.integers(0, 5, 60).astype(float), rng.integers(0, 5, 60) + 1.0 * labels
    found = paired_auc(before, after, labels, range(60))
    assert found.before == pytest.approx(slow_auc(before, labels))
    assert found.after == pytest.approx(slow_auc(after, labels))
    assert found.value == pytest.approx(found.after - found.before)


def test_area_of_single_cases_has_the_variance_of_delong() -> None:
    """Written out as DeLong et al. have it: covariances of the placements of both models."""
    rng = np.random.default_rng(3)
    labels = rng.random(80) < 0.5
    before, after = rng.normal(size=80), rng.normal(size=80) + 0.5 * labels
    psi = [
        (scores[labels][:, None] > scores[~labels][None, :])
        + 0.5 * (scores[labels][:, None] == scores[~labels][None, :])
        for scores in (before, after)
    ]
    s10 = np.cov([each.mean(axis=1) for each in psi])
    s01 = np.cov([each.mean(axis=0) for each in psi])
    covariance = s10 / labels.sum() + s01 / (~labels).sum()
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    found = paired_auc(before, after, labels, range(80))
    assert (found.high - found.low) / 2 == pytest.approx(1.990450 * math.sqrt(variance), rel=1e-5)


@pytest.mark.parametrize("size", [1, 4])
def test_interval_holds_the_true_difference_in_95_of_100_draws(size: int) -> None:
    """Cases of a group share their noise; models of equal skill. 400 draws: 95% +- 2.2% twice over."""
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(400):
        groups = np.repeat(np.arange(120 // size), size)
        labels = rng.random(120) < 0.5
        shared = rng.normal(size=(2, 120 // size))[:, groups]
        before, after = shared + rng.normal(size=(2, 120)) * 0.5 + labels
        found = paired_auc(before, after, labels, groups.tolist())
        held += found.low <= 0 <= found.high
    assert 0.92 < held / 400 < 0.98


def test_models_that_agree_differ_by_exactly_nothing() -> None:
    scores, labels = [0.1, 0.5, 0.3, 0.9], [False, True, False, True]
    found = paired_auc(scores, scores, labels, range(4))
    assert (found.value, found.low, found.high) == (0, 0, 0)


@pytest.mark.parametrize("after", [[0.1, 0.2, 0.8, 0.7], [0.9, 0.8, 0.1, 0.2]])
def test_few_cases_of_which_all_moved_alike_are_no_certainty(after: list[float]) -> None:
    """Both models rank four cases right, or the second all wrong; by hand at G = 2: (1 + 2 v^2) / 12 of each kind."""
    labels = [False, False, True, True]
    found = paired_auc([0.2, 0.1, 0.7, 0.9], after, labels, range(4))
    half = 3.182446 * math.sqrt((1 + 2 * found.value**2) / 6)
    assert (found.low, found.high) == pytest.approx((max(-1, found.value - half), min(1, found.value + half)), abs=1e-5)
    many = paired_auc([0.2, 0.1, 0.7, 0.9] * 200, [0.1, 0.2, 0.8, 0.7] * 200, labels * 200, range(800))
    assert 0 < many.high < 0.01


def test_rare_falls_are_in_the_interval_also_where_none_was_drawn() -> None:
    """One desirable case in ten falls below all others: of ten there are none in a third of all draws."""
    rng = np.random.default_rng(5)
    labels = np.arange(20) < 10
    held = 0
    for _ in range(200):
        before = rng.normal(size=20) + 6 * labels
        after = np.where((rng.random(20) < 0.1) & labels, -20.0, before + 1e-3 * rng.normal(size=20))
        found = paired_auc(before, after, labels, range(20))
        held += found.low <= -0.1 <= found.high
    assert held / 200 > 0.95


def test_a_case_without_a_number_is_refused() -> None:
    """NaN sorts last, so a broken model would be thought to rank."""
    nan = math.nan
    with pytest.raises(InputError, match="after, case 1: a case has no number: got nan"):
        paired_auc([1.0, 2.0], [1.0, nan], [True, False], range(2))
    with pytest.raises(InputError, match="before, case 0: a case has no number"):
        paired_mean([nan], [1.0], ["a"])


def test_one_group_tells_nothing_and_says_so_in_json() -> None:
    found = paired_mean([0.0, 1.0], [1.0, 1.0], ["a", "a"])
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.to_dict()["low"] is None


def test_one_label_and_unequal_lengths_are_refused() -> None:
    with pytest.raises(ShapeError, match="desirable and undesirable cases are needed"):
        paired_auc([1.0, 2.0], [1.0, 2.0], [True, True], range(2))
    with pytest.raises(ShapeError, match="both models need a number of every case"):
        paired_mean([1.0], [1.0, 2.0], ["a"])
    with pytest.raises(ShapeError, match="at least 1"):
        paired_share([], [])
