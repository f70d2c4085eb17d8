"""Which of several revisions of a record is the latest: one rule for stages, for stores and for files.

The later time decides, and at one time, or where no revision has one, what was done: a judgement is made before it is
edited, and edited before it is taken back. What is alike in both is told apart by whoever asks, and said.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from feedback.engine import column_names, read_rows

__all__ = ["op_rank", "read_revisions"]

_OPS: Final = ("create", "update", "retract")


def op_rank() -> pl.Expr:
    """The place of the column `op` among what is done to a record at one time, from 0; `op_rank`."""
    return pl.col("op").replace_strict(_OPS, range(len(_OPS)), return_dtype=pl.Int8).alias("op_rank")


def read_revisions(path: Path) -> pl.DataFrame:
    """`record_key`, `text_id`, `event_ts` and `op_rank` of each row; that of a pair, which is never edited, is 0.

    Args:
        path: keys of events or of pairs, see `feedback.ingest.keys`.
    """
    columns = ("record_key", "text_id", "event_ts")
    if "op" in column_names(path):
        return read_rows(path, [*columns, "op"]).select(*columns, op_rank())
    return read_rows(path, columns).with_columns(op_rank=pl.lit(0, pl.Int8))
