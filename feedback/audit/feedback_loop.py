"""How much of the feedback is about the model that was trained on it before: then a model judges its own habits."""

from __future__ import annotations

import polars as pl

from feedback.audit.config import AuditConfig
from feedback.audit.counted import counted_share
from feedback.audit.report import Metric
from feedback.audit.slices import period_of
from feedback.audit.wording import agree, count, percent, plural, safe_name

__all__ = ["measure_feedback_loop"]


def measure_feedback_loop(frame: pl.DataFrame, config: AuditConfig) -> list[Metric]:
    """The metric `previous_model_share`: the share of answers of `previous_model`, of those whose model is known.

    Args:
        frame: the rows to be trained on.
        config: `previous_model`; without it, or where no model is known, nothing is measured.
    """
    known = frame.filter(pl.col("model_id").is_not_null())
    if config.previous_model is None or known.is_empty():
        return []
    is_own = known["model_id"] == config.previous_model
    own, n = int(is_own.sum()), known.height
    newest, share = _newest(known, config.previous_model)
    name = safe_name(config.previous_model)
    told = (
        f"{percent(own / n)} of {plural(n, 'answer')} whose model is known ({count(own)}) {agree(n, 'are')} of {name}"
    )
    if newest:
        told += f", in {newest} {percent(share)}"
    meaning = (
        "the more of them, the more training repeats what that model does already"
        if own
        else "nothing of what it does is judged here"
    )
    return [
        counted_share(
            name="previous_model_share",
            title="Answers of the previous model",
            cases=own,
            n=n,
            sentence=f"{told}: {meaning}.",
            details={"model": name, "answers": own, "newest": newest, "newest_share": share if newest else None},
        )
    ]


def _newest(known: pl.DataFrame, model: str) -> tuple[str, float]:
    """The last period that has answers, and the model's share of it; no name where no time is known."""
    dated = known.filter(pl.col("event_ts").is_not_null())
    if dated.is_empty():
        return "", 0.0
    _, period = period_of(dated)
    last = dated.with_columns(period=period).filter(pl.col("period") == pl.col("period").max())
    return str(last["period"][0]), int((last["model_id"] == model).sum()) / last.height
