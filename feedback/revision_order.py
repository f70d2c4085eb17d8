"""Which of several revisions of a record is the latest: one rule for stages, for stores and for files.

The later time decides, and at one time, or where no revision has one, what was done: a judgement is made before it is
edited, and edited before it is taken back. What is alike in both is told apart by whoever asks, and said.
"""

from __future__ import annotations

from typing import Final

import polars as pl

__all__ = ["op_rank"]

_OPS: Final = ("create", "update", "retract")


def op_rank() -> pl.Expr:
    """The place of the column `op` among what is done to a record at one time, from 0; `op_rank`."""
    return pl.col("op").replace_strict(_OPS, range(len(_OPS)), return_dtype=pl.Int8).alias("op_rank")
