"""What the caps need of a row, and the order in which every cap keeps rows.

Of the rows of a cap the first ones stay in an order that a hash of ids and seed gives, so a smaller cap keeps a part of
what a larger one keeps.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from feedback.config import CapsConfig
from feedback.hashing import order_hash
from feedback.sole_rater import sole_raters

__all__ = ["caps_columns", "caps_narrow", "in_cap_order", "is_past", "lacks_raters", "last_within"]


def caps_columns(config: CapsConfig) -> tuple[str, ...]:
    """Columns of `schemas.datasets.CANDIDATE` that `caps_narrow` reads.

    Args:
        config: the caps.
    """
    columns = ["row_key", "label", "votes", "rater_kind"]
    if config.max_rows_per_rater_day is not None or config.max_rows_per_day is not None:
        columns.append("event_ts")
    if config.max_rows_per_group is not None:
        columns.append("group_id")
    return tuple(columns)


def caps_narrow(candidates: pl.DataFrame, config: CapsConfig) -> pl.DataFrame:
    """What `caps_plan` needs of some rows: row_key, label, rater and, where a cap asks, day, group_id and voters.

    Args:
        candidates: rows with the columns of `caps_columns`.
        config: the caps.

    Returns:
        One row each, in the same order. `rater` is null where the row rests on no known rater or on an exempt one;
        `day` counts from 1970; `voters` are the different raters who gave the row's label.
    """
    day = pl.col("event_ts").dt.date().cast(pl.Int32).alias("day")
    asked = set(caps_columns(config)) - {"votes", "rater_kind"}
    columns = [day if name == "event_ts" else pl.col(name) for name in candidates.columns if name in asked]
    narrow = candidates.select(*columns, _sole_rater(candidates, config.exempt_kinds))
    return narrow.with_columns(_voters(candidates)) if config.min_raters > 1 else narrow


def in_cap_order(narrow: pl.DataFrame, seed: int) -> pl.DataFrame:
    """`narrow` with `order`, the place of each row in the order in which every cap keeps rows.

    Args:
        narrow: rows with their row_key.
        seed: decides the order.
    """
    return narrow.with_columns(order_hash(narrow["row_key"], "caps", seed).alias("order"))


def last_within(rows: pl.DataFrame, keys: Sequence[str], limit: int | None) -> pl.DataFrame:
    """Values of `keys` that have more than `limit` rows, and `last`: the place of the last row that stays.

    Args:
        rows: rows with their `order`.
        keys: columns; a row where the last of them is null is never over.
        limit: rows that stay; null leaves all.
    """
    if limit is None:
        return pl.DataFrame()
    known = rows.filter(pl.col(keys[-1]).is_not_null())
    over = known.group_by(keys).len().filter(pl.col("len") > limit).drop("len")
    mine = known.join(over, on=keys, how="semi") if over.height else known.clear()
    return mine.group_by(keys).agg(last=pl.col("order").bottom_k(limit).max()).sort(keys)


def is_past(rows: pl.DataFrame, keys: Sequence[str], last: pl.DataFrame) -> pl.Series:
    """Whether each row comes after the last one that stays of its keys.

    Args:
        rows: rows with their `order`.
        keys: the columns that `last` is about.
        last: see `last_within`.
    """
    if last.is_empty():
        return pl.repeat(False, rows.height, eager=True)
    joined = rows.select(*keys, "order").join(last, on=keys, how="left", maintain_order="left")
    return (joined["order"] > joined["last"]).fill_null(value=False)


def lacks_raters(rows: pl.DataFrame, config: CapsConfig) -> pl.Series:
    """Whether fewer different raters than wanted gave each row's label.

    Args:
        rows: `caps_narrow` of them.
        config: the caps.
    """
    if config.min_raters <= 1:
        return pl.repeat(False, rows.height, eager=True)
    return rows["voters"] < config.min_raters


def _sole_rater(candidates: pl.DataFrame, exempt: Sequence[str]) -> pl.Series:
    """The rater on whom a row rests, or null."""
    is_exempt = candidates["rater_kind"].is_in(list(exempt))
    return candidates.select(rater=pl.when(~is_exempt).then(sole_raters(candidates["votes"])))["rater"]


def _voters(candidates: pl.DataFrame) -> pl.Series:
    """How many different raters gave each row's label; an unknown one is somebody else each time."""
    rows = candidates.select("votes", own="label").with_row_index("row")
    votes = rows.explode("votes", empty_as_null=False).with_columns(pl.col("votes").struct.field("rater_key", "label"))
    agreeing = votes.filter(pl.col("label") == pl.col("own"))
    voters = agreeing.group_by("row").agg(
        voters=pl.col("rater_key").drop_nulls().n_unique() + pl.col("rater_key").null_count()
    )
    return rows.select("row").join(voters, on="row", how="left", maintain_order="left")["voters"].fill_null(0)
