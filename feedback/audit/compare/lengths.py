"""Whether prompts or answers have another length than in the other input."""

from __future__ import annotations

import polars as pl

from feedback.audit.compare.change import Change
from feedback.audit.compare.sides import Side
from feedback.audit.report import Metric
from feedback.audit.statistics import auc_interval
from feedback.audit.wording import count, number, percent

__all__ = ["compare_lengths"]


def compare_lengths(now: Side, before: Side) -> list[Change]:
    """The metrics `answer_length_change` and `prompt_length_change`.

    Each is the chance that a length of the input exceeds one of the other, ties counted half: the effect size of Mann
    and Whitney's test. Their test sees longer and shorter, that of Kolmogorov and Smirnov a spread too: p is twice the
    smaller of both.

    Args:
        now: the input.
        before: what it is compared with.
    """
    if now.rows.is_empty() or before.rows.is_empty():
        return []
    named = (("answer", "completion_chars"), ("prompt", "prompt_chars"))
    return [_compare(what, now.rows[column], before.rows[column], before.name) for what, column in named]


def _compare(what: str, now: pl.Series, before: pl.Series, name: str) -> Change:
    from scipy.stats import ks_2samp, mannwhitneyu

    ranks = mannwhitneyu(now.to_numpy(), before.to_numpy(), method="asymptotic")
    spread = ks_2samp(now.to_numpy(), before.to_numpy(), method="asymp")
    chance = float(ranks.statistic) / (now.len() * before.len())
    medians = [int(side.median() or 0) for side in (now, before)]  # type: ignore[arg-type]
    low, high = auc_interval(chance, now.len(), before.len())
    metric = Metric(
        name=f"{what}_length_change",
        title=f"Change of the {what}s' length",
        value=chance,
        kind="share",
        n=now.len() + before.len(),
        severity="info",
        sentence=f"Half of the {what}s have up to {count(medians[0])} characters, in {name} up to {count(medians[1])}; "
        f"one is longer than one of {name} in {percent(chance)} of comparisons (AUC {number(chance)})",
        low=low,
        high=high,
        details={"median": medians[0], "median_before": medians[1], "n_before": before.len()}
        | {"ks": float(spread.statistic), "p_ks": float(spread.pvalue), "p_ranks": float(ranks.pvalue)},
    )
    longer = "longer" if chance > 0.5 else "shorter"
    meaning = f"lengths of {what}s are spread otherwise" if low <= 0.5 <= high else f"{what}s are {longer}"
    return Change(metric, min(now.len(), before.len()), min(1.0, 2 * min(ranks.pvalue, spread.pvalue)), meaning)
