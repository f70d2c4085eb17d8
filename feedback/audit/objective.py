"""Which objective the judgements suit, and how many desirable rows could go: from what the other metrics measured.

Thumbs give no pairs, so only KTO can use them. Pairs can be trained on with DPO as pairs, or with KTO as two rows each.

Source: Ethayarajh et al. 2024, arXiv:2402.01306: with little noise and little intransitivity DPO is the better one,
since KTO may underfit; with enough of either, KTO's guarantees in the worst case win. The study kept its quality with
up to 90% fewer desirable rows, the weights tuned again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import polars as pl

from feedback.audit.balance import Balance
from feedback.audit.config import AuditConfig
from feedback.audit.counted import counted_share
from feedback.audit.report import Metric
from feedback.audit.wording import count, number, percent, plural
from feedback.config import RebalanceConfig
from feedback.rebalance.ratio import RatioPlan, exact_fraction, plan_ratio
from schemas.errors import RatioUnreachableError

__all__ = ["KEPT_SHARE", "measure_discardable", "measure_objective", "plan_discarding"]

KEPT_SHARE: Final = 0.1
"""The share of the desirable rows that was left where the study left out the most."""

_PAPER: Final = "arXiv:2402.01306"
_MOST_THUMBS: Final = 0.1


def measure_objective(
    metrics: Iterable[Metric], judged: pl.DataFrame, pairs: pl.DataFrame, config: AuditConfig
) -> list[Metric]:
    """The metric `objective`: the share of judgements that are pairs, and which objective follows from everything.

    It says KTO where more than a tenth of the judgements are no pairs, where the pairs are noisy or run in circles, and
    where nobody judged two answers twice, so that noise cannot be seen; else DPO.

    Args:
        metrics: what was measured, of which `preference_cycles` and `label_ratio` are read.
        judged: the judgements, see `feedback.audit.raters.votes`.
        pairs: the pairs behind the rows, see `feedback.audit.pairs.pairs_behind`.
        config: the thresholds.
    """
    n = judged["event_id"].n_unique()
    if not n:
        return []
    known = {metric.name: metric for metric in metrics}
    opposed, twice = _opposed(pairs)
    cycles = known.get("preference_cycles")
    objective, why = _choose(n, pairs.height, opposed, twice, cycles, config)
    return [
        counted_share(
            name="objective",
            title="KTO or DPO",
            cases=pairs.height,
            n=n,
            sentence=f"{objective.upper()}: {why} ({_PAPER}).{_on_balance(known.get('label_ratio'), objective)}",
            details={"objective": objective, "pairs": pairs.height, "opposed": opposed, "compared_twice": twice},
        )
    ]


def measure_discardable(balance: Balance, config: AuditConfig) -> list[Metric]:
    """The metric `discardable_desirables`: rows that are up and could be left out if the weights are tuned again.

    Args:
        balance: rows of both labels.
        config: the range of R, and the lambdas.
    """
    if not balance.undesirable or balance.desirable < 1 / KEPT_SHARE:
        return []
    plan = plan_discarding(balance.desirable, balance.undesirable, config)
    if plan is None:
        return []
    left_out = balance.desirable - plan.desirable
    before = config.desirable_weight * plan.desirable / (config.undesirable_weight * balance.undesirable)
    return [
        Metric(
            name="discardable_desirables",
            title="Desirable rows that could go",
            value=left_out,
            kind="count",
            n=balance.desirable,
            severity="info",
            sentence=f"The KTO study kept its quality with up to 90% fewer desirable rows, the weights tuned again "
            f"({_PAPER}). Here that is {count(left_out)} of {count(balance.desirable)}: with {count(plan.desirable)} "
            f"up and {count(balance.undesirable)} down rows R = {number(before)}, and lambda_D = "
            f"{number(float(plan.desirable_weight))}, lambda_U = {number(float(plan.undesirable_weight))} make it "
            f"{number(float(plan.value or math.nan))}. Whether it holds for this data, only training shows.",
            details={
                "kept": plan.desirable,
                "desirable_weight": float(plan.desirable_weight),
                "undesirable_weight": float(plan.undesirable_weight),
            },
        )
    ]


def plan_discarding(desirable: int, undesirable: int, config: AuditConfig) -> RatioPlan | None:
    """The weights that bring R into range with a tenth of the desirable rows; null where none does.

    Args:
        desirable: rows that are up.
        undesirable: rows that are down, at least 1.
        config: the range of R, and the lambdas.
    """
    wanted = RebalanceConfig(
        mode="reweight",
        low=config.low,
        high=config.high,
        allow_below_one=config.low < 1,
        desirable_weight=config.desirable_weight,
        undesirable_weight=config.undesirable_weight,
    )
    kept = math.ceil(exact_fraction(KEPT_SHARE) * desirable)
    try:
        return plan_ratio(kept, undesirable, wanted)
    except RatioUnreachableError:
        return None


def _opposed(pairs: pl.DataFrame) -> tuple[int, int]:
    """Couples of answers that were preferred both ways, and those that were judged twice or more."""
    winner, loser = pl.col("chosen_cluster_id"), pl.col("rejected_cluster_id")
    couples = (
        pairs.filter(winner != loser)
        .group_by(low=pl.min_horizontal(winner, loser), high=pl.max_horizontal(winner, loser))
        .agg(n=pl.len(), wins=(winner < loser).sum())
        .filter(pl.col("n") >= 2)
    )
    return couples.filter(pl.col("wins").is_between(1, pl.col("n") - 1)).height, couples.height


def _choose(
    n: int, pairs: int, opposed: int, twice: int, cycles: Metric | None, config: AuditConfig
) -> tuple[str, str]:
    thumbs = n - pairs
    if not pairs:
        return "kto", f"all {plural(n, 'judgement')} are of single answers, which make no pairs for DPO"
    if thumbs > _MOST_THUMBS * n:
        return "kto", (
            f"DPO could use {plural(pairs, 'pair')} and would leave out {plural(thumbs, 'judgement')} of "
            f"single answers, {percent(thumbs / n)} of all {count(n)}; KTO uses both"
        )
    circles = cycles.value if cycles is not None and cycles.value is not None else 0.0
    seen = f"{percent(circles)} of prompts with three compared answers have a circle" if cycles else "no circle is seen"
    if circles > config.max_cycles:
        return "kto", f"{seen}, more than {percent(config.max_cycles)}, and DPO has no answer to preferences like that"
    if not twice:
        return "kto", (
            f"no two answers of {plural(pairs, 'pair')} were judged twice, so noise cannot be seen here, and public "
            "preferences are mostly noisy; with pairs known to be clean, DPO"
        )
    noise = opposed / twice
    told = f"of {plural(twice, 'couple')} of answers judged twice or more {percent(noise)} were preferred both ways"
    if noise > config.max_pair_noise:
        return (
            "kto",
            f"{told}, more than {percent(config.max_pair_noise)}: with noise like that its worst case is better",
        )
    return "dpo", (
        f"{told} and {seen}: with so little noise DPO learns more from {plural(pairs, 'pair')}, where KTO may underfit"
    )


def _on_balance(ratio: Metric | None, objective: str) -> str:
    if objective != "kto" or ratio is None or ratio.severity != "warn":
        return ""
    return (
        f" Its labels are out of balance as they are: R = {number(ratio.value or 0.0)}, wanted {ratio.threshold[5:]}."
    )
