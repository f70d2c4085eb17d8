"""The study's numbers: means over seeds with intervals, the tries, and what the paper says beside what was found.

An interval is Student's, of 95%, over seeds: each seed has a model, feedback and held-out questions of its own. Two
results are compared by their differences in each seed, which share all of that.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from scipy import stats

from bench.study_data import CONDITIONS
from bench.study_runs import StudyRun

__all__ = ["CLAIMS", "Claim", "best_try", "interval", "summarize", "verdict"]

Shares = tuple[float, float]
"""Exact match, sampled and greedy."""
Result = tuple[str, str]
"""An objective and a condition."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What the paper says of two results.

    Args:
        says: the claim, after "the paper:".
        first: the result that should be the better one, or as good.
        second: the other.
        is_better: whether it should be better, not only as good.
    """

    says: str
    first: Result
    second: Result
    is_better: bool


CLAIMS: Final = (
    Claim("KTO is as good as DPO on the same pairs", ("kto", "clean"), ("dpo", "clean"), is_better=False),
    Claim(
        "KTO is better than DPO where labels are noisy", ("kto", "flipped_30"), ("dpo", "flipped_30"), is_better=True
    ),
    Claim(
        "KTO is better than DPO where preferences run in circles",
        ("kto", "circles"),
        ("dpo", "circles"),
        is_better=True,
    ),
    Claim(
        "nine in ten desirable answers can go, and KTO is still as good as DPO with all pairs",
        ("kto", "discarded"),
        ("dpo", "clean"),
        is_better=False,
    ),
    Claim(
        "with one answer to each question KTO is still better than DPO with both",
        ("kto", "one_y_per_x"),
        ("dpo", "clean"),
        is_better=True,
    ),
    Claim("offline PPO is about as good as DPO", ("offline_ppo", "clean"), ("dpo", "clean"), is_better=False),
    Claim("KTO is better than SLiC", ("kto", "clean"), ("slic", "clean"), is_better=True),
    Claim("KTO is better than ORPO", ("kto", "clean"), ("orpo", "clean"), is_better=True),
    Claim(
        "the logistic value function is better than a concave one",
        ("kto", "clean"),
        ("kto, `value = concave`", "clean"),
        is_better=True,
    ),
    Claim(
        "it is better than a risk-neutral one",
        ("kto", "clean"),
        ("kto, `value = risk_neutral`", "clean"),
        is_better=True,
    ),
    Claim(
        "KTO is better with a reference model than with a uniform one",
        ("kto", "clean"),
        ("kto, `reference = uniform`", "clean"),
        is_better=True,
    ),
)
"""Claims of Ethayarajh et al. 2024, arXiv:2402.01306, of models of 1 to 30 billion weights and open-ended answers."""


def interval(values: Sequence[float]) -> dict[str, float]:
    """Mean of a number of each seed, and its 95% interval by Student's t.

    >>> {key: round(value, 3) for key, value in interval([1.0, 2.0, 3.0]).items()}
    {'mean': 2.0, 'low': -0.484, 'high': 4.484}

    Args:
        values: at least two.
    """
    mean = statistics.fmean(values)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def best_try(tried: Sequence[tuple[StudyRun, Shares]]) -> StudyRun:
    """The try whose sampled answers were right most often; of equals the first."""
    return max(tried, key=lambda one: one[1][0])[0]


def verdict(claim: Claim, difference: Mapping[str, float]) -> Literal["agrees", "disagrees", "open"]:
    """Whether a difference of the first less the second result agrees with a claim.

    A claim of being better agrees where the whole interval is above 0, disagrees where it is below and is open in
    between. A claim of being as good disagrees where the whole interval is below 0 and agrees otherwise.
    """
    if difference["high"] < 0:
        return "disagrees"
    return "agrees" if difference["low"] > 0 or not claim.is_better else "open"


def summarize(
    bases: Sequence[Shares],
    tried: Sequence[tuple[StudyRun, Shares]],
    chosen: Mapping[str, StudyRun],
    measured: Sequence[tuple[StudyRun, Shares]],
) -> dict[str, Any]:
    """The study as JSON values: base, tries, table and claims.

    Args:
        bases: of the model of each seed before alignment.
        tried: tries and what they came to.
        chosen: the try that was chosen, by objective.
        measured: runs and what they came to, those of a seed in the order of `bases`.
    """
    by_result: dict[Result, list[Shares]] = {}
    for run, shares in measured:
        by_result.setdefault((run.variant, run.condition), []).append(shares)
    sampled = {key: [one[0] for one in values] for key, values in by_result.items()}
    return {
        "base": _row(bases),
        "tries": [
            {
                "objective": run.variant,
                "rate": run.rate,
                "beta": run.beta,
                "sampled": round(shares[0], 4),
                "is_chosen": chosen[run.variant] == run,
            }
            for run, shares in tried
        ],
        "table": [
            {"objective": variant, "condition": condition, **_row(values)}
            for (variant, condition), values in by_result.items()
        ],
        "claims": _claims(sampled),
        "conditions": [
            {"name": name, "title": one.title, "does": one.does}
            for name, one in CONDITIONS.items()
            if any(run.condition == name for run, _ in measured)
        ],
    }


def _row(values: Sequence[Shares]) -> dict[str, Any]:
    sampled, greedy = ([one[place] for one in values] for place in (0, 1))
    return {
        "sampled": _rounded(interval(sampled)),
        "greedy": _rounded(interval(greedy)),
        "seeds": [[round(share, 4) for share in one] for one in values],
    }


def _claims(sampled: Mapping[Result, Sequence[float]]) -> list[dict[str, Any]]:
    found = []
    for claim in CLAIMS:
        if claim.first not in sampled or claim.second not in sampled:
            continue
        pairs = zip(sampled[claim.first], sampled[claim.second], strict=True)
        difference = interval([first - second for first, second in pairs])
        found.append(
            {
                "says": claim.says,
                "first": list(claim.first),
                "second": list(claim.second),
                "difference": _rounded(difference),
                "verdict": verdict(claim, difference),
            }
        )
    return found


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in values.items()}
