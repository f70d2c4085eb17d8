"""What a row of a dataset is made of: the columns of both curated tables, and where their texts come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from feedback.export.rows import PAIR_COLUMNS, ROW_COLUMNS, export_pairs, export_rows
from schemas.datasets import PREFERENCE, UNPAIRED_PREFERENCE
from schemas.rules import PreferenceRules, Rules, UnpairedPreferenceRules

__all__ = ["PAIRS", "ROWS", "Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """One of the curated tables.

    Args:
        schema: its columns.
        rules: its rules.
        decided: columns of the candidates that make up a row's outcome, for the digest.
        chars: columns that hold the lengths of a row's texts.
        answers: its columns of answers, each with the candidates' columns of the id and the side of its text. The
            prompt and the tools are those of the first answer.
        read: columns of the candidates that `rows` reads.
        rows: makes the columns that hold no text, see `feedback.export.rows`.
    """

    schema: pa.Schema
    rules: Rules
    decided: tuple[str, ...]
    chars: tuple[str, ...]
    answers: Mapping[str, tuple[str, str]]
    read: tuple[str, ...]
    rows: Callable[..., pa.RecordBatch]


ROWS: Final = Layout(
    schema=UNPAIRED_PREFERENCE,
    rules=UnpairedPreferenceRules,
    decided=("row_key", "label", "weight", "group_id", "split"),
    chars=("prompt_chars", "completion_chars"),
    answers={"completion": ("text_id", "text_side")},
    read=ROW_COLUMNS,
    rows=export_rows,
)
"""`unpaired_preference`, of `schemas.datasets.CANDIDATE`."""

PAIRS: Final = Layout(
    schema=PREFERENCE,
    rules=PreferenceRules,
    decided=("row_key", "weight", "group_id", "split"),
    chars=("prompt_chars", "chosen_chars", "rejected_chars"),
    answers={
        "chosen": ("chosen_text_id", "chosen_text_side"),
        "rejected": ("rejected_text_id", "rejected_text_side"),
    },
    read=PAIR_COLUMNS,
    rows=export_pairs,
)
"""`preference`, of `schemas.datasets.PAIR_CANDIDATE`."""
