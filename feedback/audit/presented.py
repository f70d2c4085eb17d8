"""What only the pairs know and their rows do not: which answer was shown first, and how good each was in points.

Raw files only: the keys of pairs come from `ingest`, a curated dataset does not hold them.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from feedback.audit.config import AuditConfig
from feedback.audit.counted import counted_share
from feedback.audit.report import Metric
from feedback.audit.severity import warn_if, warn_outside
from feedback.audit.statistics import wilson_interval
from feedback.audit.wording import agree, count, number, percent, plural

__all__ = ["PAIR_COLUMNS", "measure_positions", "measure_scores"]

PAIR_COLUMNS: Final = (
    *("text_id", "source", "prompt_key", "response_a_key", "response_b_key"),
    *("outcome", "presented_first", "score_a", "score_b"),
)
"""What is read of the keys of pairs, see `feedback.ingest.keys.pair_keys`."""

_COUPLE: Final = ("prompt_key", "low", "high")


def measure_positions(asked: pl.DataFrame, config: AuditConfig) -> list[Metric]:
    """The metrics `first_shown_wins` and `swap_flips`, where the source says which answer was shown first.

    Args:
        asked: the columns `PAIR_COLUMNS` of every pair, won or not.
        config: the thresholds.
    """
    shown = asked.unique("text_id", keep="any").filter(
        pl.col("outcome").is_in(["a", "b"]), pl.col("presented_first").is_not_null()
    )
    if shown.is_empty():
        return []
    return [_first_shown(shown, config), *_flips(shown, config)]


def measure_scores(asked: pl.DataFrame, config: AuditConfig) -> list[Metric]:
    """The metrics `low_chosen` and `high_rejected`: pairs that mislead once each answer is judged by itself.

    A chosen answer may be the better of two bad ones, a rejected one the worse of two good ones. The threshold is
    `good_score`, or the median score of all answers of the pairs that were won.

    Args:
        asked: the columns `PAIR_COLUMNS` of every pair.
        config: the thresholds.
    """
    won = asked.unique("text_id", keep="any").filter(
        pl.col("outcome").is_in(["a", "b"]), pl.col("score_a").is_not_null(), pl.col("score_b").is_not_null()
    )
    if won.is_empty():
        return []
    is_a = pl.col("outcome") == "a"
    scores = won.select(
        chosen=pl.when(is_a).then("score_a").otherwise("score_b"),
        rejected=pl.when(is_a).then("score_b").otherwise("score_a"),
    )
    middle = pl.concat([scores["chosen"], scores["rejected"].rename("chosen")]).median()
    good = config.good_score if config.good_score is not None else float(str(middle))
    origin = "the score set by good_score" if config.good_score is not None else "the median of all answers"
    low = int((scores["chosen"] < good).sum())
    high = int((scores["rejected"] >= good).sum())
    bound = f"{number(good)}, {origin}"
    return [
        _score_metric("low_chosen", "Chosen and not good", low, scores.height, good, f"chosen answers below {bound}"),
        _score_metric(
            "high_rejected", "Rejected and good", high, scores.height, good, f"rejected answers at or above {bound}"
        ),
    ]


def _first_shown(shown: pl.DataFrame, config: AuditConfig) -> Metric:
    won, n = int((shown["outcome"] == shown["presented_first"]).sum()), shown.height
    value, interval = won / n, wilson_interval(won, n)
    low, high = 0.5 - config.max_position_bias, 0.5 + config.max_position_bias
    is_right = low <= value <= high
    meaning = (
        "the order says little."
        if is_right
        else f"being shown {'first' if value > 0.5 else 'last'} is worth something, whatever the answer says."
    )
    return Metric(
        name="first_shown_wins",
        title="Position bias",
        value=value,
        kind="share",
        n=n,
        severity=warn_outside(value, (low, high), interval, n, config),
        sentence=f"The answer that was shown first won {percent(value, low, high)} of {plural(n, 'pair')} "
        f"({count(won)}): "
        f"{meaning}",
        low=interval[0],
        high=interval[1],
        threshold=f"between {percent(low)} and {percent(high)}",
        details={"first": won},
    )


def _flips(shown: pl.DataFrame, config: AuditConfig) -> list[Metric]:
    """Of two answers that were shown in both orders, whether the majority's winner changes with the order."""
    first, second = pl.col("response_a_key"), pl.col("response_b_key")
    leads = (pl.col("presented_first") == "a") == (first < second)
    wins = (pl.col("outcome") == "a") == (first < second)
    couples = (
        shown.filter(first != second)
        .with_columns(low=pl.min_horizontal(first, second), high=pl.max_horizontal(first, second))
        .group_by(_COUPLE)
        .agg(when_first=wins.filter(leads).mean(), when_last=wins.filter(~leads).mean())
        .drop_nulls()
        .filter(pl.col("when_first") != 0.5, pl.col("when_last") != 0.5)
    )
    n = couples.height
    if not n:
        return []
    to_first = couples.filter(pl.col("when_first") > 0.5, pl.col("when_last") < 0.5).height
    to_last = couples.filter(pl.col("when_first") < 0.5, pl.col("when_last") > 0.5).height
    flips = to_first + to_last
    return [
        counted_share(
            name="swap_flips",
            title="Flips when swapped",
            cases=flips,
            n=n,
            severity=warn_if(flips / n > config.max_flips, n, config),
            sentence=f"Of {plural(n, 'couple')} of answers shown in both orders, "
            f"{percent(flips / n, config.max_flips)} ({count(flips)}) {agree(n, 'have')} another winner when swapped: "
            f"{plural(to_first, 'time')} whichever was first won, {plural(to_last, 'time')} whichever was last.",
            threshold=f"at most {percent(config.max_flips)}",
            details={"to_first": to_first, "to_last": to_last},
        )
    ]


def _score_metric(name: str, title: str, cases: int, n: int, good: float, what: str) -> Metric:
    return counted_share(
        name=name,
        title=title,
        cases=cases,
        n=n,
        sentence=f"{percent(cases / n)} of {plural(n, 'pair')} with scores ({count(cases)}) {agree(n, 'have')} {what}: "
        "as a pair they are right, as a row with one label they mislead.",
        details={"good_score": good},
    )
