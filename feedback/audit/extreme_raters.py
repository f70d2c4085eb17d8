"""Raters whose share of up is further out than the taste of the others and the number of their votes explain.

Tastes differ: the share of up of a rater is taken as drawn from a beta distribution, and the votes as drawn with that
share, which makes them beta-binomial. Nobody is extreme for voting always up or always down by itself: of three votes
that happens to many.

    votes of raters ──maximum likelihood──► alpha, beta ──► p of each tail ──FDR──► extreme raters

The fit allows for strays, a share of raters of no such taste, whose share of up is drawn from Beta(1/2, 1/2): anything,
and most often nearly all or nearly none. Without it a brigade hides itself: it widens what counts as usual until it is
usual. Strays are taken only where they explain the votes clearly better: else they take the tail of a wide taste away,
and the fit calls what is left of it extreme. Nor may a taste be of two camps: where all but one are always up, the one
who is always down is no second kind of usual.

Pairs are not counted: each gives an up and a down vote, whatever its rater thinks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feedback.audit.config import AuditConfig
from feedback.audit.raters import shown_rater
from feedback.audit.report import Column, Metric, Table
from feedback.audit.severity import warn_if
from feedback.audit.statistics import wilson_interval
from feedback.audit.wording import agree, count, none_of, number, percent, plural

__all__ = ["ExtremeRaters", "find_extreme_raters", "fit_beta_binomial", "measure_extreme_raters"]

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

_MOST_STRAYS: Final = 0.3
_STRAY: Final = (0.5, 0.5)
_STARTS: Final = (10.0, 100.0)
_LEAST_LIKELIHOOD: Final = 1e-300
_SHOWN: Final = 20
_LOGIT_BOUND: Final = 12.0
_CONCENTRATION: Final = (2.0, 1e6)
"""Of alpha + beta. Below 2 both may be below 1, where the density is a U and has no usual share of up; at the upper end
all raters have one taste and the votes are binomial."""
_LEAST_GAIN: Final = 2.05
"""Of the log-likelihood by strays, in nats. With it one of 60 sound raters is called extreme in 0.8% of draws (means of
0.5 to 0.98, alpha + beta from 2; 3.3% at the worst of these), and a planted brigade or strict rater is seen in 95%."""


@dataclass(frozen=True, slots=True)
class ExtremeRaters:
    """What was found.

    Args:
        judged: raters with enough votes to be looked at.
        raters: those who are extreme, most extreme first: rater_key, up, n, p (adjusted).
        alpha: of the beta distribution of the others, greater than 0.
        beta: likewise.
    """

    judged: int
    raters: pl.DataFrame
    alpha: float
    beta: float

    @property
    def mean(self) -> float:
        """The mean share of up of the others, in [0, 1]."""
        return self.alpha / (self.alpha + self.beta)


def find_extreme_raters(judged: pl.DataFrame, config: AuditConfig) -> ExtremeRaters | None:
    """The extreme raters, or null where nobody has enough votes.

    A rater's p is twice the smaller tail, of at most as many up votes and of at least as many, since a rater may be out
    at either end. Extreme is whose p, adjusted for the number of raters (Benjamini and Hochberg 1995), is below the
    wanted false discovery rate.

    Args:
        judged: the judgements, see `feedback.audit.raters.votes`.
        config: the least votes of a rater, and the false discovery rate.
    """
    votes = judged.filter(pl.col("rater_key").is_not_null(), ~pl.col("event_id").is_duplicated())
    raters = votes.group_by("rater_key").agg(up=pl.col("label").sum().cast(pl.Int64), n=pl.len().cast(pl.Int64))
    is_seen = pl.col("n") >= config.min_rater_votes
    if not raters.select(is_seen.any()).item():
        return None
    kinds = raters.group_by("up", "n").len("raters").sort("up", "n").with_columns(is_seen=is_seen)
    alpha, beta = fit_beta_binomial(*(kinds[name].to_numpy().astype(np.int64) for name in ("up", "n", "raters")))
    extreme = kinds.with_columns(_adjusted(kinds, alpha, beta)).filter(pl.col("p") < config.extreme_rater_fdr)
    found = raters.join(extreme.select("up", "n", "p"), on=["up", "n"])
    ordered = found.sort(["p", "n", "rater_key"], descending=[False, True, False])
    return ExtremeRaters(int(raters.select(is_seen.sum()).item()), ordered, alpha, beta)


def fit_beta_binomial(up: Counts, n: Counts, raters: Counts) -> tuple[float, float]:
    """Alpha and beta of the beta-binomial distribution that most raters follow.

    Args:
        up: up votes of a rater. [K] int64.
        n: votes of that rater, at least 1. [K] int64.
        raters: how many raters have these two counts, at least 1. [K] int64.

    Source: maximum likelihood of (1 - e) BetaBinomial(n, alpha, beta) + e BetaBinomial(n, 1/2, 1/2), e from 0 to 0.3,
    searched for in the logits of the mean and of e / 0.3 and the logarithm of alpha + beta, from alpha + beta = 10 and
    from 100 (L-BFGS-B). A beta distribution has one mode at most unless alpha and beta are both below 1 (Johnson, Kotz
    and Balakrishnan 1995, Continuous Univariate Distributions 2, chapter 25), so alpha + beta is at least 2. e is 0
    unless strays gain enough: half a chi-square with one degree of freedom is what chance gains at the end of a range
    (Self and Liang 1987, JASA 82:605).
    """
    from scipy.optimize import minimize
    from scipy.special import expit, logit
    from scipy.stats import betabinom

    stray = betabinom.pmf(up, n, *_STRAY)

    def _shapes(place: Floats) -> tuple[float, float]:
        mean, concentration = float(expit(place[0])), math.exp(place[1])
        return mean * concentration, (1 - mean) * concentration

    def _cost(place: Floats) -> float:
        strays = _MOST_STRAYS * float(expit(place[2])) if len(place) > 2 else 0.0
        likelihood = (1 - strays) * betabinom.pmf(up, n, *_shapes(place)) + strays * stray
        return -float((raters * np.log(np.maximum(likelihood, _LEAST_LIKELIHOOD))).sum()) / total

    def _best(*starts: Sequence[float]) -> tuple[float, Floats]:
        found = [minimize(_cost, start, method="L-BFGS-B", bounds=bounds[: len(start)]) for start in starts]
        best = min(found, key=lambda result: float(result.fun))
        return float(best.fun) * total, best.x

    total = float(raters.sum())
    share = (float((up * raters).sum()) + 0.5) / (float((n * raters).sum()) + 1)
    log_bounds = tuple(math.log(bound) for bound in _CONCENTRATION)
    bounds = [(-_LOGIT_BOUND, _LOGIT_BOUND), log_bounds, (-_LOGIT_BOUND, _LOGIT_BOUND)]
    starts = [(float(logit(share)), math.log(concentration)) for concentration in _STARTS]
    cost, place = _best(*starts)
    cost_with_strays, place_with_strays = _best(*((*start, float(logit(0.3))) for start in starts))
    return _shapes(place_with_strays if cost - cost_with_strays > _LEAST_GAIN else place)


def measure_extreme_raters(
    judged: pl.DataFrame, config: AuditConfig, rows: pl.DataFrame | None = None
) -> tuple[list[Metric], list[Table]]:
    """The metric and the table `extreme_raters`; neither where nobody has enough votes.

    Args:
        judged: the judgements, see `feedback.audit.raters.votes`.
        config: the thresholds.
        rows: the rows behind them, of which `rows` and `confirmed` of the details are counted; null counts none.
    """
    found = find_extreme_raters(judged, config)
    if found is None:
        return [], []
    raters = found.raters
    downs = raters.filter(pl.col("up") / pl.col("n") < found.mean).height
    metric = Metric(
        name="extreme_raters",
        title="Extreme raters",
        value=raters.height,
        kind="count",
        n=found.judged,
        severity=warn_if(raters.height > 0, found.judged, config),
        sentence=_sentence(found, downs, judged, config),
        threshold=f"none at a false discovery rate of {percent(config.extreme_rater_fdr)}",
        details={
            "down": downs,
            "up": raters.height - downs,
            "judgements": int(raters["n"].sum()),
            "alpha": found.alpha,
            "beta": found.beta,
            **({} if rows is None or raters.is_empty() else _count_confirmed(rows)),
        },
    )
    return [metric], [_table(found)] if raters.height else []


def _adjusted(kinds: pl.DataFrame, alpha: float, beta: float) -> pl.Series:
    """The adjusted p of each kind; those with too few votes have none."""
    from scipy.stats import betabinom, false_discovery_control

    seen = kinds.filter("is_seen")
    up, n = seen["up"].to_numpy(), seen["n"].to_numpy()
    below, above = betabinom.cdf(up, n, alpha, beta), betabinom.sf(up - 1, n, alpha, beta)
    tails = np.clip(2 * np.minimum(below, above), 0, 1)
    each = seen["raters"].to_numpy()
    adjusted = false_discovery_control(np.repeat(tails, each))
    values = np.full(kinds.height, np.nan)
    values[kinds["is_seen"].to_numpy()] = adjusted[np.cumsum(each) - each]
    return pl.Series("p", values).fill_nan(None)


def _count_confirmed(rows: pl.DataFrame) -> dict[str, int]:
    """Rows that are left when near-duplicates of one label are one, and those whose label two raters gave or more."""
    votes = rows.select("cluster_id", own="label", vote="votes").explode("vote", empty_as_null=False)
    agreeing = votes.unnest("vote").filter(pl.col("label") == pl.col("own"))
    # An unknown rater is somebody else each time.
    raters = pl.col("rater_key").drop_nulls().n_unique() + pl.col("rater_key").null_count()
    confirmed = agreeing.unique(["cluster_id", "own", "event_id"]).group_by("cluster_id", "own").agg(raters=raters)
    return {
        "rows": rows.select("cluster_id", "label").n_unique(),
        "confirmed": confirmed.filter(pl.col("raters") >= 2).height,
    }


def _sentence(found: ExtremeRaters, downs: int, judged: pl.DataFrame, config: AuditConfig) -> str:
    scope = f"with {plural(config.min_rater_votes, 'vote')} or more"
    others = f"share of up has a mean of {percent(found.mean)} (beta-binomial, alpha + beta = "
    others += f"{number(found.alpha + found.beta)})"
    extreme = found.raters.height
    if not extreme:
        return (
            f"{none_of(found.judged, 'rater')} {scope} votes further from the others than taste and chance explain: "
            f"their {others}."
        )
    theirs = int(found.raters["n"].sum())
    known = judged["rater_key"].count()
    return (
        f"{count(extreme)} of {plural(found.judged, 'rater')} {scope} {agree(extreme, 'vote')} unlike the others, "
        f"{count(downs)} towards down and {count(extreme - downs)} towards up: {plural(theirs, 'vote')} "
        f"({percent(theirs / known)}) {agree(theirs, 'are')} theirs. The others' {others}."
    )


def _table(found: ExtremeRaters) -> Table:
    rows = []
    for key, up, n, p in found.raters.head(_SHOWN).select("rater_key", "up", "n", "p").iter_rows():
        rows.append((shown_rater(key), n, up / n, *wilson_interval(up, n), p))
    columns = (
        Column("rater", "Rater", "text"),
        Column("judgements", "Judgements", "count"),
        Column("share_up", "Share up", "share"),
        Column("low", "95% from", "share"),
        Column("high", "to", "share"),
        Column("p", "Adjusted p", "number"),
    )
    note = f"The others' mean share of up is {percent(found.mean)}. p is beta-binomial, both tails, adjusted for FDR."
    return Table("extreme_raters", "Raters who vote unlike the others", columns, tuple(rows), note)
