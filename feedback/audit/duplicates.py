"""Rows that say the same as another row with the same label: the same record, the same text, or nearly so."""

from __future__ import annotations

import polars as pl

from feedback.audit.counted import counted_share
from feedback.audit.report import Metric
from feedback.audit.wording import agree, count, percent, plural
from feedback.hashing import answer_id

__all__ = ["measure_duplicates"]


def measure_duplicates(frame: pl.DataFrame) -> list[Metric]:
    """The metrics `repeated_records`, `exact_duplicates`, `normalized_duplicates` and `near_duplicates`.

    Each counts the rows beyond the first of their kind, and only those that the metric before it does not count.
    """
    if frame.is_empty():
        return []
    n = frame.height
    records = frame["row_key"].n_unique()
    exact = _distinct(frame, _answers(frame, "prompt_hash", "completion_hash"))
    normalized = _distinct(frame, _answers(frame, "prompt_key", "completion_key"))
    clusters = _distinct(frame, frame["cluster_id"])
    repeated = n - records
    copied = max(0, records - exact)
    alike = max(0, min(records, exact) - normalized)
    near = max(0, min(records, exact, normalized) - clusters)
    return [
        _metric("repeated_records", "Repeated records", repeated, n, "are the same record read more than once."),
        _metric(
            "exact_duplicates",
            "Exact duplicates",
            copied,
            n,
            "repeat the prompt, answer and label of another row; several raters of one answer count here too.",
        ),
        _metric(
            "normalized_duplicates",
            "Duplicates but for form",
            alike,
            n,
            "differ from another row of the same label only in case, white space or Unicode form.",
        ),
        _metric(
            "near_duplicates",
            "Near duplicates",
            near,
            n,
            "share most of their words in the same order with another row of the same label.",
        ),
    ]


def _answers(frame: pl.DataFrame, prompt: str, completion: str) -> pl.Series:
    return pl.Series(answer_id(frame[prompt].to_numpy(), frame[completion].to_numpy()))


def _distinct(frame: pl.DataFrame, keys: pl.Series) -> int:
    """How many different keys there are, each label by itself."""
    return keys.filter(frame["label"]).n_unique() + keys.filter(~frame["label"]).n_unique()


def _metric(name: str, title: str, repeated: int, n: int, meaning: str) -> Metric:
    counted = f"{percent(repeated / n)} of {plural(n, 'row')} ({count(repeated)})" if repeated else "No row"
    return counted_share(
        name=name,
        title=title,
        cases=repeated,
        n=n,
        sentence=f"{counted} {agree(n if repeated else 1, meaning)}",
        details={"rows": repeated},
    )
