"""Metrics of texts that are broken as such, and of times that cannot be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from feedback.audit.config import AuditConfig
from feedback.audit.report import Metric
from feedback.audit.texts.shares import share_metric

__all__ = ["is_cut", "measure_integrity"]

_CUT_CHARS: Final = 200
_CUT_ANSWERS: Final = 5
_CUT_TIMES: Final = 10
_AROUND: Final = 20
"""Different answers of 200 characters or more that end in a word are cut off where 5 or more have one length, and 10
times as many as have each length within 20 characters of it."""


@dataclass(frozen=True, slots=True)
class _Check:
    """A claim about texts: its column, the setting that bounds its share, and its words, see `share_metric`."""

    name: str
    title: str
    column: str
    setting: str
    claim: str
    why: str
    noun: str = "row"


_CHECKS: Final = (
    _Check(
        "empty_answers",
        "Empty answers",
        "is_empty",
        "max_empty",
        "hold nothing but white space and invisible signs",
        "The model would learn to say nothing.",
        "answer",
    ),
    _Check(
        "truncated_answers",
        "Truncated answers",
        "is_truncated",
        "max_truncated",
        "end inside a block of code, at an open bracket or a comma, or in a word at a length that many share",
        "The model would learn to stop there.",
        "answer",
    ),
    _Check(
        "error_texts",
        "Error messages",
        "is_error",
        "max_error_texts",
        "are the message of a broken service and no answer",
        "Their thumbs judge the service.",
        "answer",
    ),
    _Check(
        "role_order",
        "Turns out of order",
        "has_bad_roles",
        "max_role_order",
        "have turns that chat templates refuse: a late system turn, a role twice in a row, or a start without the user",
        "Some models cannot be trained on them.",
    ),
    _Check(
        "special_tokens",
        "Control tokens in text",
        "has_special_token",
        "max_special_tokens",
        "hold control tokens of a chat template as text",
        "A template was applied before logging, or somebody tried to forge turns.",
    ),
)


def measure_integrity(rows: pl.DataFrame, config: AuditConfig) -> list[Metric]:
    """The metrics of broken texts, and `naive_times` and `missing_times`.

    They are `empty_answers`, `truncated_answers`, `error_texts`, `role_order` and `special_tokens`.

    Args:
        rows: candidates with `feedback.audit.texts.features.FEATURES`.
        config: the thresholds.
    """
    if rows.is_empty():
        return []
    cut = is_cut(rows)
    claims = rows.with_columns((rows["is_open"] | cut).alias("is_truncated"))
    parts = {"is_truncated": {"open": int(rows["is_open"].sum()), "cut_at_one_length": int(cut.sum())}}
    metrics = [
        share_metric(
            check.name,
            check.title,
            int(claims[check.column].sum()),
            rows.height,
            most=getattr(config, check.setting),
            least_rows=config.min_rows,
            claim=check.claim,
            why=check.why,
            noun=check.noun,
            details=parts.get(check.column),
        )
        for check in _CHECKS
    ]
    return [*metrics, *_times(rows, config)]


def is_cut(rows: pl.DataFrame) -> pl.Series:
    """Whether each answer ends in a word at a length that suspiciously many different answers share."""
    is_long = rows["is_mid_word"] & (rows["answer_chars"] >= _CUT_CHARS)
    lengths = (
        rows.filter(is_long)
        .group_by("answer_chars")
        .agg(answers=pl.struct("prompt_key", "completion_key").n_unique())
        .sort("answer_chars")
    )
    chars, answers = (lengths[name].to_numpy().astype(np.int64) for name in ("answer_chars", "answers"))
    before = np.concatenate((np.zeros(1, np.int64), np.cumsum(answers)))
    first, last = np.searchsorted(chars, chars - _AROUND, "left"), np.searchsorted(chars, chars + _AROUND, "right")
    around = (before[last] - before[first] - answers) / (2 * _AROUND)
    is_suspicious = (answers >= _CUT_ANSWERS) & (answers > _CUT_TIMES * around)
    return is_long & rows["answer_chars"].is_in(lengths["answer_chars"].filter(pl.Series(is_suspicious)).implode())


def _times(rows: pl.DataFrame, config: AuditConfig) -> list[Metric]:
    known = rows["ts_quality"].drop_nulls()
    missing = int((known == "missing").sum())
    # Where nothing has a time the format has none, and nobody can act on it.
    if missing == len(known):
        return []
    naive = int((known == "naive").sum())
    return [
        share_metric(
            "naive_times",
            "Ambiguous times",
            naive,
            len(known),
            most=config.max_naive_times,
            least_rows=config.min_rows,
            claim="have a time without a zone, which is read as UTC",
            why="Days, weeks and the order of votes may be wrong by hours.",
            noun="row",
        ),
        share_metric(
            "missing_times",
            "Missing times",
            missing,
            len(known),
            most=config.max_missing_times,
            least_rows=config.min_rows,
            claim="have no time",
            why="Which of their revisions is the latest is not known, and they are in no table by week.",
            noun="row",
        ),
    ]
