"""One of the two inputs that are compared: its rows to train on and the judgements behind them."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from feedback.audit.balance import training_rows
from feedback.audit.raters import votes

__all__ = ["Side", "side_of"]


@dataclass(frozen=True, slots=True)
class Side:
    """What is compared of an input.

    Args:
        name: what the report calls it.
        kind: `feedback`, `candidates` or `dataset`.
        rows: the rows that would be trained on.
        judged: the judgements behind them, see `feedback.audit.raters.votes`.
    """

    name: str
    kind: str
    rows: pl.DataFrame
    judged: pl.DataFrame


def side_of(frame: pl.DataFrame, *, name: str, kind: str) -> Side:
    """The side that a table of candidates makes.

    Args:
        frame: rows of `schemas.datasets.CANDIDATE`, in any order.
        name: what the report calls it.
        kind: `feedback`, `candidates` or `dataset`.
    """
    rows = training_rows(frame)
    return Side(name, kind, rows, votes(rows))
