"""The rater on whom a row rests: the one whose votes all of the row's votes are."""

from __future__ import annotations

import numpy as np
import polars as pl

__all__ = ["sole_raters"]


def sole_raters(votes: pl.Series) -> pl.Series:
    """The rater all of whose votes a row's votes are, null where there is no such one or it is not known. [N] u64.

    Args:
        votes: the votes of each row, see `schemas.datasets.CANDIDATE`. [N] lists.
    """
    keys = votes.explode(empty_as_null=False).struct.field("rater_key")
    sizes = votes.list.len().to_numpy().astype(np.int64)
    if not bool((sizes != 1).any()):
        return keys
    starts = (np.cumsum(sizes) - sizes)[sizes > 0]
    values, unknown = keys.fill_null(0).to_numpy(), keys.is_null().to_numpy()
    least, most = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
    is_sole = np.zeros(len(sizes), bool)
    is_sole[sizes > 0] = (least == most) & ~np.logical_or.reduceat(unknown, starts)
    sole = np.zeros(len(sizes), np.uint64)
    sole[sizes > 0] = least
    return pl.select(rater_key=pl.when(pl.Series(is_sole)).then(pl.Series(sole))).to_series()
