"""Whether what is held out is really unseen."""

from __future__ import annotations

import polars as pl

from feedback.audit.counted import counted_share
from feedback.audit.report import Metric
from feedback.audit.wording import agree, count, none_of, percent, plural

__all__ = ["measure_leakage"]


def measure_leakage(frame: pl.DataFrame) -> list[Metric]:
    """The metric `leakage`: rows of the split `test` whose prompt, or cluster of prompts, is in `train` too."""
    test, train = frame.filter(pl.col("split") == "test"), frame.filter(pl.col("split") == "train")
    if test.is_empty():
        return []
    seen = pl.col("group_id").is_in(train["group_id"].unique().implode()) | pl.col("prompt_key").is_in(
        train["prompt_key"].unique().implode()
    )
    n, leaked = test.height, test.filter(seen).height
    return [
        counted_share(
            name="leakage",
            title="Leakage",
            cases=leaked,
            n=n,
            severity="fail" if leaked else "ok",
            sentence=f"{percent(leaked / n)} of {plural(n, 'held-out row')} ({count(leaked)}) "
            f"{agree(n, 'share')} a prompt with the training split, so the evaluation measures memory."
            if leaked
            else f"{none_of(n, 'held-out row')} shares its prompt with the training split.",
            threshold="none",
            details={"rows": leaked},
        )
    ]
