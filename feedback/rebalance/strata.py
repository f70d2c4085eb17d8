"""Rows of one label by stratum: in which order they are kept, how many of each stratum, and where the line is drawn.

A stratum is the rows of one label that agree in all the columns that are asked for; the rows of a capped rater are one
by themselves. Within a stratum the order is a hash of the row's key. N rows, S strata.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feedback.rebalance.apportion import Counts, apportion_capped

__all__ = [
    "CAPPED",
    "UNITS_OF_ONE",
    "LabelStrata",
    "exact_weights",
    "label_strata",
    "line_through",
    "stratum_columns",
    "weight_units",
]

CAPPED: Final = "capped_rater"
UNITS_OF_ONE: Final = 1_000_000_000
_WIDTH: Final = 8  # standard deviations, and rows
_LAST: Final = 2**64 - 1
_WEEK_US: Final = 7 * 24 * 3600 * 1_000_000
_MONDAY_US: Final = 4 * 24 * 3600 * 1_000_000  # 1970-01-05, the first Monday of the epoch
_COLUMNS: Final = {
    "source": pl.col("source"),
    "model": pl.col("model_id"),
    "week": (pl.col("event_ts").to_physical() - _MONDAY_US).floordiv(_WEEK_US).cast(pl.Int32),
    "cluster": pl.col("group_id"),
}


def stratum_columns(strata: Sequence[str]) -> list[pl.Expr]:
    """The columns that name a row's stratum within its label, nulls included: equal in all is one stratum.

    Args:
        strata: names out of `source`, `model`, `week` (weeks since the first Monday of 1970) and `cluster`.
    """
    is_free = pl.col(CAPPED).is_null()
    return [pl.col(CAPPED), *(pl.when(is_free).then(_COLUMNS[name]).alias(name) for name in strata)]


def weight_units(weights: pl.Series) -> pl.Series:
    """Weights in billionths, at least one, so that their sums are exact, [N] int64."""
    return (weights * UNITS_OF_ONE).round().cast(pl.Int64).clip(1)


def exact_weights(weights: pl.Series) -> pl.Series:
    """Weights as they are counted, with nine decimals, [N] float64."""
    # numpy divides; polars multiplies by the inverse, which is not the nearest float.
    return pl.Series(weights.name, weight_units(weights).to_numpy() / UNITS_OF_ONE)


@dataclass(frozen=True)
class LabelStrata:
    """The rows of one label and their strata.

    Args:
        table: the strata: the columns that name each, and `rows`. [S]
        placed: `stratum` (a place in `table`), `order` and, if known, `row_id` and `units`. [N]
        ties: decides between strata of one size. [S] uint64.
        held_out: rows of each stratum in the test split. [S]
        held_out_total: rows of this label in the test split.
    """

    table: pl.DataFrame
    placed: pl.DataFrame
    ties: NDArray[np.uint64]
    held_out: Counts
    held_out_total: int

    @property
    def count(self) -> int:
        """Rows of this label."""
        return self.placed.height

    @cached_property
    def sizes(self) -> Counts:
        """Rows of each stratum, [S]."""
        return self.table["rows"].cast(pl.Int64).to_numpy()

    @cached_property
    def starts(self) -> Counts:
        """The place of each stratum's first row, sorted by stratum, [S]."""
        return np.cumsum(self.sizes) - self.sizes

    def keep(self, count: int) -> Counts:
        """How many rows each stratum keeps when `count` are kept in all, [S]."""
        is_capped = self.table[CAPPED].is_not_null().to_numpy()
        return apportion_capped(self.sizes, count, self.ties, is_capped, self.held_out, self.held_out_total)

    def mass(self, count: int) -> Fraction:
        """The sum of the weights of the `count` rows that are kept first; needs `units`."""
        return Fraction(
            int(self._sums[self.starts + self.keep(count)].sum() - self._sums[self.starts].sum()), UNITS_OF_ONE
        )

    @cached_property
    def _sums(self) -> Counts:
        """Units of the rows before each place, sorted by stratum and within it by order, [N + 1]."""
        units = self.placed.sort("stratum", "order", maintain_order=True)["units"]
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(units.to_numpy())])


def label_strata(rows: pl.DataFrame, test_rows: pl.DataFrame, strata: Sequence[str]) -> LabelStrata:
    """The strata of the rows of one label.

    Args:
        rows: rows of the train split: the columns that the strata are made from, `capped_rater`, `order`, and `row_id`
            and `units` where known.
        test_rows: rows of the test split with `capped_rater`.
        strata: names as `stratum_columns` takes them.
    """
    names = [CAPPED, *strata]
    carried = [name for name in ("row_id", "units") if name in rows.columns]
    named = rows.select("order", *carried, *stratum_columns(strata))
    table = named.group_by(names).agg(rows=pl.len(), tie=pl.col("order").min()).sort(names)
    places = table.select(*names, stratum=pl.int_range(pl.len(), dtype=pl.UInt32))
    placed = named.join(places, on=names, nulls_equal=True, how="left").select("stratum", "order", *carried)
    capped = test_rows.lazy().select(CAPPED).drop_nulls().group_by(CAPPED).agg(held_out=pl.len()).collect()
    held_out = table.join(capped, on=CAPPED, how="left", maintain_order="left")["held_out"]
    return LabelStrata(
        table.drop("tie"),
        placed,
        table["tie"].to_numpy(),
        held_out.fill_null(0).cast(pl.Int64).to_numpy(),
        test_rows.height,
    )


def line_through(strata: LabelStrata, count: int) -> pl.DataFrame:
    """Where each stratum's rows are cut when `count` are kept in all.

    Returns:
        [S] `kept`, and the `order` and `row_id` of the last row kept: the rows up to it stay. `order` is null where no
        row stays, `row_id` is null where the order alone decides. Two rows of one order whose ids are not known are
        left out together.
    """
    if count >= strata.count:
        everything = strata.table.select(pl.col("rows").cast(pl.Int64).alias("kept"))
        return everything.with_columns(order=pl.lit(_LAST, dtype=pl.UInt64), row_id=pl.lit(None, dtype=pl.String))
    kept = strata.keep(count)
    near, first = _near_the_line(strata, kept)
    order = near["order"].to_numpy()
    row_ids: list[str | None] = [None] * len(kept)
    last = first + kept - 1  # places in `near`; meant only where a row is kept
    is_cut = np.flatnonzero((kept > 0) & (kept < strata.sizes))
    for one in is_cut[order[last[is_cut]] == order[last[is_cut] + 1]].tolist():
        tied = near.with_row_index("place").filter(stratum=one, order=order[last[one]])
        if "row_id" in near.columns:
            row_ids[one] = tied["row_id"].sort()[int(last[one]) - tied["place"][0]]
        else:
            kept[one] -= int(last[one]) - tied["place"][0] + 1
    last = np.where(kept > 0, first + kept - 1, 0)
    orders = pl.Series("order", order[last] if len(order) else [0] * len(kept), pl.UInt64)
    lines = pl.DataFrame([pl.Series("kept", kept), orders, pl.Series("row_id", row_ids, pl.String)])
    return lines.with_columns(order=pl.when(pl.col("kept") > 0).then("order"))


def _near_the_line(strata: LabelStrata, kept: Counts) -> tuple[pl.DataFrame, Counts]:
    """The rows about the line of each stratum, sorted, and the place in them that each stratum's first row would have.

    Orders are spread evenly, so the line of a stratum that keeps a share lies near that share of all orders. Rows far
    below it are counted, rows far above it are not needed, and only those near it are sorted.
    """
    stratum, order = strata.placed["stratum"].to_numpy(), strata.placed["order"].to_numpy()
    height = order.astype(np.float64) / 2.0**64
    share = kept / strata.sizes
    width = _WIDTH * np.sqrt(share * (1 - share) / strata.sizes) + _WIDTH / strata.sizes
    for low, high in ((share - width, share + width), (share * 0, share * 0 + 1)):
        is_below = height < low[stratum]
        is_near = ~is_below & (height <= high[stratum])
        below = np.bincount(stratum[is_below], minlength=len(kept))
        found = np.bincount(stratum[is_near], minlength=len(kept))
        # The last row kept must be among them, and the first one left out.
        if ((kept == 0) | ((below < kept) & (np.minimum(kept + 1, strata.sizes) <= below + found))).all():
            break
    near = strata.placed.filter(pl.Series(is_near)).sort("stratum", "order", maintain_order=True)
    return near, np.cumsum(found) - found - below
