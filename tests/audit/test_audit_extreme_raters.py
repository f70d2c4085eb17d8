"""Raters unlike the others: the fit, who is found and who is not."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import betabinom, false_discovery_control

from feedback.audit.config import AuditConfig
from feedback.audit.extreme_raters import find_extreme_raters, fit_beta_binomial, measure_extreme_raters
from tests.audit_rows import audited, found, pair, row

FIRST_KEY = 2**40


def judged(up: np.ndarray, n: np.ndarray) -> pl.DataFrame:
    """The votes of raters of whom each gave so many, so many of them up."""
    keys = np.repeat(np.arange(len(n)) + FIRST_KEY, n).astype(np.uint64)
    label = np.concatenate([np.arange(votes) < ups for ups, votes in zip(up, n, strict=True)])
    return pl.DataFrame({"rater_key": keys, "label": label, "event_id": [str(vote) for vote in range(len(keys))]})


def usual(raters: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Up votes and votes of raters whose taste is Beta(8, 2)."""
    generator = np.random.default_rng(seed)
    n = generator.integers(1, 40, raters)
    return generator.binomial(n, generator.beta(8, 2, raters)), n


def test_fit_finds_the_distribution_that_votes_were_drawn_from() -> None:
    """4,000 raters of Beta(8, 2)."""
    up, n = usual(4000, seed=1)
    alpha, beta = fit_beta_binomial(up, n, np.ones_like(n))
    assert alpha / (alpha + beta) == pytest.approx(0.8, abs=0.01)
    assert alpha + beta == pytest.approx(10, rel=0.15)


def test_p_is_twice_the_smaller_tail_adjusted_for_all_raters() -> None:
    up, n = usual(60, seed=2)
    up[:2], n[:2] = 0, 20
    result = find_extreme_raters(judged(up, n), AuditConfig())
    assert result is not None
    seen = n >= 5
    below = betabinom.cdf(up[seen], n[seen], result.alpha, result.beta)
    above = betabinom.sf(up[seen] - 1, n[seen], result.alpha, result.beta)
    adjusted = false_discovery_control(np.clip(2 * np.minimum(below, above), 0, 1))
    assert result.judged == seen.sum()
    assert result.raters["rater_key"].to_list() == [FIRST_KEY, FIRST_KEY + 1]
    assert result.raters["p"].to_list() == pytest.approx(adjusted[:2].tolist())


def test_brigade_does_not_hide_itself() -> None:
    """Twelve of sixty raters are always down, a fifth of all."""
    up, n = usual(60, seed=3)
    up[:12], n[:12] = 0, 25
    result = find_extreme_raters(judged(up, n), AuditConfig())
    assert result is not None
    assert set(result.raters["rater_key"]) >= set(range(FIRST_KEY, FIRST_KEY + 12))


@pytest.mark.parametrize("votes", [12, 300])
def test_lone_opponent_of_raters_who_are_unanimous_is_found(votes: int) -> None:
    """60 raters have voted up 700 times, and one has voted down each time: that is no second kind of taste."""
    up, n = np.append(np.full(60, 12), 0), np.append(np.full(60, 12), votes)
    up[:20] = n[:20] = 11
    result = find_extreme_raters(judged(up, n), AuditConfig())
    assert result is not None
    assert result.raters["rater_key"].to_list() == [FIRST_KEY + 60]
    assert result.alpha + result.beta >= 2


def test_always_down_with_few_votes_is_not_extreme() -> None:
    """With every second vote up, five downs in a row happen to one rater in 32."""
    generator = np.random.default_rng(4)
    n = np.full(100, 5)
    result = find_extreme_raters(judged(generator.binomial(n, 0.5), n), AuditConfig())
    assert result is not None
    assert result.raters.is_empty()


def test_clean_raters_hardly_ever_warn() -> None:
    results = [find_extreme_raters(judged(*usual(60, seed)), AuditConfig()) for seed in range(20)]
    assert sum(result is not None and result.raters.height > 0 for result in results) <= 1


@pytest.mark.parametrize(("mean", "concentration"), [(0.98, 5), (0.98, 10), (0.9, 3), (0.5, 5)])
def test_clean_raters_of_a_lopsided_taste_hardly_ever_warn(mean: float, concentration: float) -> None:
    """The long tail of a wide taste near 0 or 1 is no brigade. Of 50 draws one may warn."""
    warned = 0
    for seed in range(50):
        generator = np.random.default_rng(seed)
        n = generator.integers(1, 40, 60)
        taste = generator.beta(mean * concentration, (1 - mean) * concentration, 60)
        result = find_extreme_raters(judged(generator.binomial(n, taste), n), AuditConfig())
        warned += result is not None and result.raters.height > 0
    assert warned <= 1


def test_sentence_speaks_of_one_rater_as_of_one() -> None:
    lone, none = (
        measure_extreme_raters(judged(np.array(up), np.array([20] * len(up))), AuditConfig(min_rater_votes=1))[0][0]
        for up in ([*[20] * 30, 0], [20])
    )
    assert lone.sentence.startswith("1 of 31 raters with 1 vote or more votes unlike the others, 1 towards down and 0")
    assert none.sentence.startswith("No rater (of 1) with 1 vote or more votes further from the others")


def test_rater_who_is_always_up_is_found_where_others_are_strict() -> None:
    up, n = usual(60, seed=5)
    up = n - up
    up[0], n[0] = 30, 30
    metrics, (table,) = measure_extreme_raters(judged(up, n), AuditConfig())
    assert (metrics[0].severity, metrics[0].details["up"], metrics[0].details["down"]) == ("warn", 1, 0)
    assert table.rows[0][:3] == (f"{FIRST_KEY:016x}"[:8] + "…", 30, 1.0)


def test_few_raters_warn_of_nothing() -> None:
    up, n = np.array([20] * 10 + [0]), np.array([20] * 11)
    metrics, _ = measure_extreme_raters(judged(up, n), AuditConfig())
    assert metrics[0].severity == "info"


def test_nobody_with_enough_votes_is_no_metric() -> None:
    assert measure_extreme_raters(judged(np.array([1]), np.array([4])), AuditConfig()) == ([], [])


def test_pairs_say_nothing_about_leaning() -> None:
    """A rater of pairs gives as many ups as downs, by construction."""
    rows = [each for number in range(10) for each in pair(number, f"{number} a", f"{number} b", rater="x")]
    rows += [row(100 + number, True, rater="y") for number in range(5)]
    assert found(audited(rows), "extreme_raters").n == 1
