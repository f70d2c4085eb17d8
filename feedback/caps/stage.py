"""Stage `caps`: how much of the dataset may rest on one rater, one cluster of prompts or one day.

    rows ─► min_raters ─► rater and day ─► cluster of prompts ─► day ─► share of one rater ─► rows

A row rests on a rater when all its votes are that rater's. The caps on raters and days need all rows at once, of which
`caps_narrow` keeps a few bytes each; `caps_plan` makes of them a small plan, and `apply_caps` applies it to partitions.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from feedback.caps.notes import caps_notes
from feedback.caps.plan import DAY, GROUP, RATER, RATER_DAY, CapsPlan, caps_plan
from feedback.caps.rows import caps_columns, caps_narrow, in_cap_order, is_past, lacks_raters, last_within
from feedback.config import CapsConfig
from feedback.stage import StageResult, count_labels, finish_stage
from schemas.reasons import DropReason
from schemas.settings import settings_to_dict

__all__ = [
    "CapsDecision",
    "CapsPlan",
    "apply_caps",
    "cap_influence",
    "caps_columns",
    "caps_narrow",
    "caps_notes",
    "caps_plan",
    "decide_caps",
]


@dataclass(frozen=True, slots=True)
class CapsDecision:
    """What becomes of some rows.

    Args:
        reason: why each is left out, null where it stays. [N] string.
        capped_rater: key of the rater whom it rests on, where that rater is at or near the cap of a share, or where
            every rater was asked for. [N] u64.
        groups_over: groups with more rows than their cap.
    """

    reason: pl.Series
    capped_rater: pl.Series
    groups_over: int


def cap_influence(
    candidates: pl.DataFrame,
    config: CapsConfig,
    *,
    seed: int = 0,
    digest_in: str = "",
    with_all_raters: bool = False,
) -> StageResult:
    """The rows within every cap; `capped_rater` names the rater of rows at or near the cap of a share.

    Args:
        candidates: rows of `schemas.datasets.CANDIDATE`.
        config: the caps.
        seed: decides which rows stay.
        digest_in: digest of the stage before.
        with_all_raters: whether `capped_rater` names every rater whom a share could hold, for a `rebalance` that leaves
            one row of each prompt.
    """
    plan = caps_plan(caps_narrow(candidates, config), config, seed=seed, with_all_raters=with_all_raters)
    return apply_caps(candidates, plan, digest_in=digest_in)


def apply_caps(partition: pl.DataFrame, plan: CapsPlan, *, digest_in: str = "") -> StageResult:
    """The rows of one partition that the plan leaves, with `capped_rater` set.

    Args:
        partition: rows of `schemas.datasets.CANDIDATE`; all rows of a `group_id` where groups are capped.
        plan: made of all rows.
        digest_in: digest of the stage before.

    Returns:
        The report's figures: rows `left_out` by reason, and `groups_over` their cap.
    """
    decision = decide_caps(caps_narrow(partition, plan.config), plan)
    is_kept = decision.reason.is_null()
    dropped = partition.with_columns(decision.reason).filter(~is_kept)
    figures = {
        "left_out": dict(dropped.group_by("drop_reason").len().sort("drop_reason").iter_rows()),
        "groups_over": decision.groups_over,
    }
    return finish_stage(
        "caps",
        partition.with_columns(decision.capped_rater).filter(is_kept),
        dropped,
        rows_in=partition.height,
        labels_in=count_labels(partition),
        config={**settings_to_dict(plan.config), "seed": plan.seed},
        digest_in=digest_in,
        notes=caps_notes(figures, plan),
        figures=figures,
    )


def decide_caps(narrow: pl.DataFrame, plan: CapsPlan) -> CapsDecision:
    """What the plan says about the rows of a partition.

    Args:
        narrow: `caps_narrow` of them.
        plan: made of all rows.
    """
    rows = in_cap_order(narrow, plan.seed)
    raters = rows.select(*RATER, "order").join(plan.raters, on=RATER, how="left", maintain_order="left")
    masks, groups_over = _masks(rows, plan)
    masks[DropReason.RATER_CAP] = (raters["order"] > raters["last"]).fill_null(value=False)
    first = [pl.when(mask).then(pl.lit(reason.value)) for reason, mask in masks.items() if mask.any()]
    nothing = pl.repeat(None, rows.height, dtype=pl.String, eager=True)
    reason = rows.select(drop_reason=pl.coalesce(*first, nothing))["drop_reason"]
    return CapsDecision(reason, raters["capped_rater"], groups_over)


def _masks(rows: pl.DataFrame, plan: CapsPlan) -> tuple[dict[DropReason, pl.Series], int]:
    """Which rows each cap but that of a rater's share leaves out, in their order, and how many groups are over."""
    lacking = lacks_raters(rows, plan.config)
    past_day = is_past(rows, RATER_DAY, plan.rater_days)
    # Only rows that the caps before leave take a place in their group.
    limit = plan.config.max_rows_per_group
    groups = pl.DataFrame() if limit is None else last_within(rows.filter(~(lacking | past_day)), GROUP, limit)
    masks = {
        DropReason.UNCONFIRMED: lacking,
        DropReason.RATER_DAY_CAP: past_day,
        DropReason.GROUP_CAP: is_past(rows, GROUP, groups),
        DropReason.DAY_CAP: is_past(rows, DAY, plan.days),
    }
    return masks, groups.height
