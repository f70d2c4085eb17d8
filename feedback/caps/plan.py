"""What the stage `caps` decides from all rows at once, small enough to be sent to every partition.

The share of a rater holds within each label: `rebalance` leaves out rows of one label only, and would lift a share of
both together. It knows the rows of raters at or near the cap by `capped_rater`, and leaves out of them at least the
share that it leaves out of all. Where it leaves one row of each prompt, which may lift anybody's share, it is told of
every rater.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl

from feedback.caps.rows import in_cap_order, is_past, lacks_raters, last_within
from feedback.config import CapsConfig
from feedback.rater_share import ShareCap, cap_share
from feedback.stage import count_labels

__all__ = ["DAY", "GROUP", "RATER", "RATER_DAY", "CapsPlan", "caps_plan"]

RATER_DAY: Final = ("rater", "day")
"""The keys of each cap."""
GROUP: Final = ("group_id",)
DAY: Final = ("day",)
RATER: Final = ("label", "rater")
_NO_RATERS: Final = pl.DataFrame(
    schema={"label": pl.Boolean, "rater": pl.UInt64, "last": pl.UInt64, "capped_rater": pl.UInt64}
)


@dataclass(frozen=True, slots=True, eq=False)
class CapsPlan:
    """What `caps` decides from all rows: the last row that stays of each rater and day that is over.

    Args:
        config: the caps.
        seed: decides which rows stay.
        rater_days: rater, day, last: the place of the last row that stays.
        days: day, last.
        raters: label, rater, last (null: all rows stay) and capped_rater, of raters at or near their share of a label,
            or of every rater where that was asked for.
        known_raters: raters behind the rows that the other caps leave.
        shares: the cap on the rows of each label, desirable first; empty where none holds.
        largest_share: largest share of a label's rows that rests on one rater, before the cap on it.
    """

    config: CapsConfig
    seed: int
    rater_days: pl.DataFrame
    days: pl.DataFrame
    raters: pl.DataFrame
    known_raters: int = 0
    shares: tuple[ShareCap, ...] = ()
    largest_share: float = 0.0


def caps_plan(narrow: pl.DataFrame, config: CapsConfig, *, seed: int = 0, with_all_raters: bool = False) -> CapsPlan:
    """The plan that holds all rows within the caps.

    Args:
        narrow: `caps_narrow` of all rows, in any order.
        config: the caps.
        seed: decides which rows stay.
        with_all_raters: whether every rater whom a share could hold is in the plan.
    """
    rows = in_cap_order(narrow, seed)
    rows = rows.filter(~lacks_raters(rows, config)) if config.min_raters > 1 else rows
    rater_days = last_within(rows, RATER_DAY, config.max_rows_per_rater_day)
    rows = _within(rows, RATER_DAY, rater_days)
    rows = _within(rows, GROUP, last_within(rows, GROUP, config.max_rows_per_group))
    days = last_within(rows, DAY, config.max_rows_per_day)
    plan = CapsPlan(config, seed, rater_days, days, _NO_RATERS)
    return _with_shares(plan, _within(rows, DAY, days), with_all_raters=with_all_raters)


def _with_shares(plan: CapsPlan, rows: pl.DataFrame, *, with_all_raters: bool) -> CapsPlan:
    """The plan with the caps on the share of a rater, over the rows that all other caps leave."""
    counts = rows.filter(pl.col("rater").is_not_null()).group_by(RATER).len("count").sort(RATER)
    known, share = counts["rater"].n_unique(), plan.config.max_rater_share
    totals = count_labels(rows)
    caps, largest, near = [], 0.0, [_NO_RATERS]
    for label, total in ((True, totals.desirable), (False, totals.undesirable)):
        given = counts.filter(label=label)
        known_rows = int(given["count"].sum())
        largest = max(largest, int(given["count"].max() or 0) / max(total, 1))  # type: ignore[arg-type]
        if share is None or known < plan.config.share_from_raters:
            continue
        cap = cap_share(given["count"].to_numpy().astype(np.int64), total - known_rows, share)
        caps.append(cap)
        near.append(_near_cap(rows, given, cap, 1 if with_all_raters else cap.near))
    return replace(plan, raters=pl.concat(near), known_raters=known, shares=tuple(caps), largest_share=largest)


def _near_cap(rows: pl.DataFrame, given: pl.DataFrame, cap: ShareCap, least: int) -> pl.DataFrame:
    """The raters of a label with `least` rows or more, with the last row that stays of those over the cap."""
    near = given.filter(pl.col("count") >= least)
    last = last_within(rows.join(near, on=RATER, how="semi"), RATER, cap.most)
    joined = near.join(last, on=RATER, how="left").with_columns(capped_rater="rater")
    return joined.select(_NO_RATERS.columns)


def _within(rows: pl.DataFrame, keys: Sequence[str], last: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(~is_past(rows, keys, last)) if last.height else rows
