"""Whether the label can be told without reading the answer: from the model's name, or from metadata together."""

from __future__ import annotations

import numpy as np
import polars as pl

from feedback.audit.config import AuditConfig
from feedback.audit.counted import counted_share
from feedback.audit.report import Metric
from feedback.audit.severity import MAX_P, warn_if
from feedback.audit.wording import agree, count, number, percent, plural

__all__ = ["measure_model_confound", "measure_one_model_prompts"]


def measure_model_confound(frame: pl.DataFrame, config: AuditConfig) -> list[Metric]:
    """The metric `model_confound`: the mutual information of label and model over the label's entropy.

    It warns where the share is above `max_model_confound` and a G-test says that it is not chance (p below 0.01): with
    many models and few rows, chance alone gives a large share.

    Args:
        frame: the rows to be trained on.
        config: the thresholds.

    Source: Theil's uncertainty coefficient, by scikit-learn; the G-test by scipy.
    """
    from scipy.stats import chi2_contingency, entropy
    from sklearn.metrics import mutual_info_score

    known = frame.filter(pl.col("model_id").is_not_null()).group_by("model_id")
    counts = known.agg(up=pl.col("label").sum().cast(pl.Int64), n=pl.len().cast(pl.Int64)).sort("model_id")
    table = counts.select("up", pl.col("n") - pl.col("up")).to_numpy()
    labels = table.sum(axis=0) if len(table) else np.zeros(2, np.int64)
    if len(table) < 2 or not labels.all():
        return []
    value = float(mutual_info_score(None, None, contingency=table) / entropy(labels))
    p = float(chi2_contingency(table, lambda_="log-likelihood", correction=False).pvalue)
    is_broken = value > config.max_model_confound and p < MAX_P
    n = int(labels.sum())
    return [
        Metric(
            name="model_confound",
            title="Model confound",
            value=value,
            kind="share",
            n=n,
            severity=warn_if(is_broken, int(labels.min()), config),
            sentence=_model_sentence(value, n, counts, config, is_broken=is_broken, p=p),
            threshold=f"at most {percent(config.max_model_confound)}, beyond chance",
            details={"models": len(table), "p": p},
        )
    ]


def measure_one_model_prompts(frame: pl.DataFrame) -> list[Metric]:
    """The metric `one_model_prompts`: the share of prompts whose answers are all of one model, where it is known."""
    known = frame.filter(pl.col("model_id").is_not_null()).group_by("group_id")
    prompts = known.agg(models=pl.col("model_id").n_unique(), answers=pl.col("completion_key").n_unique())
    n = prompts.height
    if not n:
        return []
    of_one = prompts.filter(pl.col("models") == 1)
    one, alone = of_one.height, of_one.filter(pl.col("answers") == 1).height
    return [
        counted_share(
            name="one_model_prompts",
            title="Prompts with one model",
            cases=one,
            n=n,
            sentence=f"{percent(one / n)} of {plural(n, 'prompt')} ({count(one)}) {agree(n, 'have')} answers of one "
            "model "
            f"only, {count(alone)} of them a single answer: there, a better model and an easier prompt look the same.",
            details={"single_answer": alone},
        )
    ]


def _model_sentence(
    value: float, n: int, counts: pl.DataFrame, config: AuditConfig, *, is_broken: bool, p: float
) -> str:
    told = (
        f"The model's name tells {percent(value, config.max_model_confound)} of the label's uncertainty "
        f"({plural(n, 'row')} of {plural(counts.height, 'model')}, p = {number(p)})"
    )
    if not is_broken:
        return f"{told}: the label is not just the model."
    large = counts.sort("n", descending=True).head(10).with_columns(share=pl.col("up") / pl.col("n")).sort("share")
    worst, best = large["share"][0], large["share"][-1]
    return (
        f"{told}: of the largest models one has {percent(worst)} up and one {percent(best)}, so training may learn a "
        "model's manner in place of what was good about its answers."
    )
