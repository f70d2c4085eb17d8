"""Which objective the judgements suit, and how many desirable rows could go: from what the other metrics measured.

Thumbs give no pairs, so only KTO can use them. Pairs can be trained on with DPO as pairs, or with KTO as two rows each.

Source: Ethayarajh et al. 2024, arXiv:2402.01306: with little noise and little intransitivity DPO is the better one,
since KTO may underfit; with enough of either, KTO's guarantees in the worst case win. The study kept its quality with
up to 90% fewer desirable rows, the weights tuned again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import polars as pl

from feedback.audit.config import AuditConfig
from feedback.audit.counted import counted_share
from feedback.audit.lambdas import lambda_range, shown_lambda
from feedback.audit.report import Metric
from feedback.audit.unbalanced import Unbalanced
from feedback.audit.wording import agree, count, number, percent, plural
from feedback.rebalance.ratio import RatioPlan

__all__ = ["KEPT_SHARE", "measure_discardable", "measure_objective"]

KEPT_SHARE: Final = 0.1
"""The share of the desirable rows that was left where the study left out the most."""

_PAPER: Final = "arXiv:2402.01306"
_MOST_THUMBS: Final = 0.1


@dataclass(frozen=True, slots=True)
class _Judgements:
    """How many there are in `total`, how many of them `compared` two answers, and how many of those are `pairs`."""

    total: int
    compared: int
    pairs: int

    def without_pair(self) -> str:
        """What the judgements are that are no pairs."""
        alone, others = self.total - self.compared, self.compared - self.pairs
        singles = "of a single answer" if alone == 1 else "of single answers"
        comparisons = "from comparisons without a winner, or without one of their answers among the rows"
        if not alone or not others:
            return comparisons if others else singles
        return f"{singles} ({count(alone)}) or {comparisons} ({count(others)})"


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
    compared = judged.filter(pl.col("origin") == "pair")["event_id"].n_unique()
    objective, why = _choose(_Judgements(n, compared, pairs.height), opposed, twice, cycles, config)
    balance = _on_balance(known.get("label_ratio"), objective, config)
    return [
        counted_share(
            name="objective",
            title="KTO or DPO",
            cases=pairs.height,
            n=n,
            sentence=f"{objective.upper()}: {why} ({_PAPER}).{balance}",
            details={"objective": objective, "pairs": pairs.height, "opposed": opposed, "compared_twice": twice},
        )
    ]


def measure_discardable(rows: Unbalanced, config: AuditConfig) -> list[Metric]:
    """The metric `discardable_desirables`: rows that are up and could be left out if the weights are tuned again.

    Args:
        rows: the rows that `rebalance` would count.
        config: the range of R, and the lambdas.
    """
    if not rows.undesirable or rows.desirable < 1 / KEPT_SHARE:
        return []
    plan = rows.plan(config, "reweight", KEPT_SHARE)
    if plan is None:
        return []
    left_out = rows.desirable - plan.desirable
    lambdas, ratio = _lambdas(plan, config)
    before = config.desirable_weight * plan.desirable_mass / (config.undesirable_weight * plan.undesirable_mass)
    return [
        Metric(
            name="discardable_desirables",
            title="Desirable rows that could go",
            value=left_out,
            kind="count",
            n=rows.desirable,
            severity="info",
            sentence=f"The KTO study kept its quality with up to 90% fewer desirable rows, the weights tuned again "
            f"({_PAPER}). Here that is {count(left_out)} of {count(rows.desirable)}: with {count(plan.desirable)} "
            f"up and {count(rows.undesirable)} down rows R = {number(float(before))}, and {lambdas} make it "
            f"{ratio}. Whether it holds for this data, only training shows.",
            details={
                "kept": plan.desirable,
                "desirable_weight": float(plan.desirable_weight),
                "undesirable_weight": float(plan.undesirable_weight),
            },
        )
    ]


def _lambdas(plan: RatioPlan, config: AuditConfig) -> tuple[str, str]:
    """Both lambdas, the raised one rounded into the range, and the R that they make."""
    raised = lambda_range(plan, config)
    shown = {"lambda_D": shown_lambda(plan.desirable_weight), "lambda_U": shown_lambda(plan.undesirable_weight)}
    shown |= {} if raised is None else {raised.symbol: shown_lambda(raised.least)}
    ratio = plan.value if raised is None else raised.ratio
    return ", ".join(f"{name} = {value}" for name, value in shown.items()), number(float(ratio or 0))


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


def _choose(of: _Judgements, opposed: int, twice: int, cycles: Metric | None, config: AuditConfig) -> tuple[str, str]:
    pairs, left = of.pairs, of.total - of.pairs
    if not pairs:
        every = "the only judgement" if of.total == 1 else f"all {count(of.total)} judgements"
        return "kto", f"{every} {agree(of.total, 'are')} {of.without_pair()}, which make no pairs for DPO"
    if left > _MOST_THUMBS * of.total:
        return "kto", (
            f"DPO could use {plural(pairs, 'pair')} and would leave out {plural(left, 'judgement')} "
            f"{of.without_pair()}, {percent(left / of.total)} of all {count(of.total)}; KTO uses both"
        )
    circles = cycles.value if cycles is not None and cycles.value is not None else 0.0
    seen = (
        f"{percent(circles, config.max_cycles)} of prompts with three compared answers have a circle"
        if cycles
        else "no circle is seen"
    )
    if circles > config.max_cycles:
        return "kto", f"{seen}, more than {percent(config.max_cycles)}, and DPO has no answer to preferences like that"
    if not twice:
        once = (
            "the only pair was judged once"
            if pairs == 1
            else f"no two answers of {count(pairs)} pairs were judged twice"
        )
        return "kto", (
            f"{once}, so noise cannot be seen here, and public "
            "preferences are mostly noisy; with pairs known to be clean, DPO"
        )
    noise = opposed / twice
    shown = f"{percent(noise, config.max_pair_noise)} {agree(twice, 'were')} preferred both ways"
    told = f"of {plural(twice, 'couple')} of answers judged twice or more {shown}"
    if noise > config.max_pair_noise:
        return (
            "kto",
            f"{told}, more than {percent(config.max_pair_noise)}: with noise like that its worst case is better",
        )
    return "dpo", (
        f"{told} and {seen}: with so little noise DPO learns more from {plural(pairs, 'pair')}, where KTO may underfit"
    )


def _on_balance(ratio: Metric | None, objective: str, config: AuditConfig) -> str:
    if objective != "kto" or ratio is None or ratio.severity != "warn":
        return ""
    return (
        " Its labels are out of balance as they are: "
        f"R = {number(ratio.value or 0.0, config.low, config.high)}, wanted {ratio.threshold[5:]}."
    )
