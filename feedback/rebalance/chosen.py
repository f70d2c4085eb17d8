"""The rows of the train split that R is made from: one for each prompt, if asked, and of no rater more than a cap.

    rows of a prompt ─► the first by a hash ─► of a rater over the cap, the first by another ─► rows

A rater whose prompts nobody else asks loses no row where all others lose many, and so does one whose rows are all new
where older ones are left out: so the cap on the share of one rater holds for what is chosen, too. N rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from feedback.hashing import order_hash
from feedback.rater_share import ShareCap, cap_share_beside, share_notes
from feedback.rebalance.strata import CAPPED
from schemas.reasons import DropReason

__all__ = ["HeldRaters", "chosen_rows", "hold_raters"]

_RATER: Final = ("label", CAPPED)
_IS_TRAIN: Final = pl.col("split").fill_null("train") == "train"
_NO_RATERS: Final = {
    "label": pl.Boolean,
    CAPPED: pl.UInt64,
    "first_out": pl.UInt64,
    "is_near": pl.Boolean,
}


@dataclass(frozen=True, slots=True, eq=False)
class HeldRaters:
    """Which of the rows that are chosen stay of each rater.

    Args:
        raters: label, capped_rater, first_out (the place of the first row that does not stay; null: all stay) and
            is_near (whether the rater is at or near the cap).
        share: the cap.
        notes: what the cap left out and where it is not the wanted one, a sentence each.
    """

    raters: pl.DataFrame
    share: float
    notes: tuple[str, ...]


def chosen_rows(rows: pl.DataFrame, held: HeldRaters | None, seed: int, *, one_per_prompt: bool) -> pl.DataFrame:
    """`drop_reason`, null where a row stays, and `capped_rater`, null where its rater is not near the cap. [N].

    Args:
        rows: row_key, label, split and capped_rater; where each prompt gives one row also prompt_key, and all rows of a
            prompt.
        held: which rows stay of each rater; null where no cap on a share holds, and `capped_rater` is as it was.
        seed: decides which row of a prompt is chosen.
        one_per_prompt: whether a prompt gives one row only.
    """
    no_row = pl.repeat(False, rows.height, eager=True)
    is_further = _is_further_answer(rows, seed) if one_per_prompt else no_row
    nothing = pl.lit(None, pl.String)
    alone = pl.when(is_further).then(pl.lit(DropReason.ONE_PER_PROMPT.value))
    if held is None:
        return rows.select(alone.otherwise(nothing).alias("drop_reason"), CAPPED)
    named = rows.select(*_RATER, is_train=_IS_TRAIN, order=_order(rows, seed))
    joined = named.join(held.raters, on=_RATER, how="left", maintain_order="left")
    is_over = pl.col("is_train") & (pl.col("order") >= pl.col("first_out"))
    return joined.select(
        alone.when(is_over).then(pl.lit(DropReason.RATER_CAP.value)).otherwise(nothing).alias("drop_reason"),
        pl.when("is_near").then(CAPPED).alias(CAPPED),
    )


def hold_raters(rows: pl.DataFrame, share: float, seed: int, *, one_per_prompt: bool) -> HeldRaters:
    """The rows of each rater that keep them within their share of what is chosen, and of this and the test split.

    Args:
        rows: as `chosen_rows` takes them, of all prompts; `capped_rater` names everybody whom the cap could hold.
        share: largest share of a label's rows that may rest on one rater, in (0, 1].
        seed: decides which rows are chosen, and which stay.
        one_per_prompt: whether a prompt gives one row only.
    """
    is_chosen = chosen_rows(rows, None, seed, one_per_prompt=one_per_prompt)["drop_reason"].is_null()
    named = rows.select(*_RATER, is_train=_IS_TRAIN, order=_order(rows, seed)).filter(is_chosen)
    raters, notes = [pl.DataFrame(schema=_NO_RATERS)], list[str]()
    for label, word in ((True, "desirable"), (False, "undesirable")):
        mine = named.filter(label=label)
        held, cap, is_past = _hold_label(mine.filter("is_train"), mine.filter(~pl.col("is_train")), share)
        raters.append(held)
        notes += share_notes(word, cap, share)
        if is_past:
            notes.append(
                f"One rater is behind more than {float(cap.share):.1%} of the {word} rows of both splits by those of "
                "the test split alone, which stay; none of theirs is left to train on."
            )
    return HeldRaters(pl.concat(raters), share, tuple(notes))


def _hold_label(train: pl.DataFrame, test: pl.DataFrame, share: float) -> tuple[pl.DataFrame, ShareCap, bool]:
    """The raters of one label, the cap on them, and whether somebody is above it by the test split alone."""
    elsewhere = test.group_by(_RATER).agg(held_out=pl.len())
    given = train.filter(pl.col(CAPPED).is_not_null()).group_by(_RATER).agg(count=pl.len(), orders="order").sort(_RATER)
    given = given.join(elsewhere, on=_RATER, how="left", maintain_order="left")
    counts, held_out = (given[name].fill_null(0).to_numpy().astype(np.int64) for name in ("count", "held_out"))
    cap, kept = cap_share_beside(counts, train.height - int(counts.sum()), share, held_out, test.height)
    raters = given.with_columns(kept=pl.Series(kept), orders=pl.col("orders").list.sort())
    first_out = pl.when(pl.col("kept") < pl.col("count")).then(pl.col("orders").list.get("kept", null_on_oob=True))
    is_past = int(held_out.max(initial=0)) > cap.share * (cap.rows_left + test.height)
    return raters.select(*_RATER, first_out=first_out, is_near=pl.col("kept") >= cap.near), cap, is_past


def _is_further_answer(rows: pl.DataFrame, seed: int) -> pl.Series:
    """Whether a row of the train split is not the one that its prompt gives. [N] bool."""
    turns = rows.select(
        "prompt_key", _IS_TRAIN.alias("is_train"), turn=order_hash(rows["row_key"], "one_per_prompt", seed)
    )
    train = turns.with_row_index("place").filter("is_train").sort("turn", maintain_order=True)
    first = train.unique("prompt_key", keep="first")["place"]
    return turns["is_train"].scatter(first, False)


def _order(rows: pl.DataFrame, seed: int) -> pl.Series:
    """The order in which rows of a rater stay: that of the stage `caps`."""
    return order_hash(rows["row_key"], "caps", seed)
