"""What caps, split and rebalance will do with each row, planned from narrow columns of all rows.

    narrow columns of all partitions ─► caps ─► what they leave ─► split ─► gates ─► rebalance
             │                            │                          │                   │
             └────────────────────────────┴──────── the three plans, applied to each partition in one pass

Each plan needs what the one before leaves of all rows. The rows themselves are not needed for that, so they are read
and written once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import polars as pl

from feedback.caps import CapsPlan, apply_caps, caps_columns, caps_narrow, caps_plan, decide_caps
from feedback.config import CurateConfig
from feedback.engine import read_rows
from feedback.pipeline.partitions import Step
from feedback.pipeline.unusable import refuse_unusable
from feedback.rebalance import CAPPED, RebalancePlan, apply_rebalance, narrow_columns, rebalance_plan
from feedback.split import SplitPlan, apply_split, is_held_out, split_plan
from feedback.stage import count_labels
from schemas.report import StageReport

__all__ = ["BalancePlan", "balance_plan"]

_MADE: Final = ("split", CAPPED)


@dataclass(frozen=True, slots=True)
class BalancePlan:
    """The plans of the last three stages."""

    caps: CapsPlan
    split: SplitPlan
    rebalance: RebalancePlan

    def steps(self) -> tuple[Step, ...]:
        """The stages, to be applied to a partition one after the other."""
        return (
            partial(apply_caps, plan=self.caps),
            partial(apply_split, plan=self.split),
            partial(apply_rebalance, plan=self.rebalance),
        )


def balance_plan(
    parts: Sequence[Path],
    config: CurateConfig,
    before: Sequence[StageReport],
    *,
    frozen_groups: pl.Series | None = None,
    frozen: str = "",
) -> BalancePlan:
    """The plans for the rows of all partitions.

    Args:
        parts: the file of each partition's rows.
        config: settings of the three stages.
        before: reports of the stages that made the rows, for what an error says.
        frozen_groups: groups of a frozen evaluation set, which are held out in any case; null where there is none.
        frozen: digest of that set.

    Raises:
        DataGateError: rows of one label only, an empty split, or a ratio that cannot be reached.
    """
    seed = config.seed
    caps, rows, left_out = _within_caps(parts, config)
    for report in before:
        left_out.update(report.dropped)
    held_out = split_plan(
        rows.select("group_id", "label"), config.split, seed=seed, frozen_groups=frozen_groups, frozen=frozen
    )
    is_test = is_held_out(rows["group_id"], held_out)
    refuse_unusable(
        {"train": count_labels(rows.filter(~is_test)), "test": count_labels(rows.filter(is_test))},
        config.split.test_fraction,
        stages=(*(report.stage for report in before), "caps", "split"),
        dropped=left_out,
    )
    rows = rows.with_columns(split=pl.when(is_test).then(pl.lit("test")).otherwise(pl.lit("train")))
    share = config.caps.max_rater_share if caps.shares and config.rebalance.one_per_prompt else None
    ratio = rebalance_plan(
        rows.select(narrow_columns(config.rebalance)), config.rebalance, seed=seed, max_rater_share=share
    )
    return BalancePlan(caps, held_out, ratio)


def _within_caps(parts: Sequence[Path], config: CurateConfig) -> tuple[CapsPlan, pl.DataFrame, Counter[str]]:
    """The plan of the caps, narrow columns of the rows that it leaves, and how many it leaves out by reason."""
    wanted = ("group_id", *narrow_columns(config.rebalance))
    columns = list(dict.fromkeys(name for name in wanted if name not in _MADE))
    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        rested = list(pool.map(lambda path: _caps_narrow(path, config), parts))
        caps = caps_plan(
            pl.concat(rested), config.caps, seed=config.seed, with_all_raters=config.rebalance.one_per_prompt
        )
        decided = list(pool.map(lambda narrow: decide_caps(narrow, caps), rested))
    del rested  # it keeps the files mapped that the next rows are read from
    left_out = Counter[str]()
    narrow = []
    for path, one in zip(parts, decided, strict=True):
        left_out.update(one.reason.drop_nulls().to_list())
        rows = read_rows(path, columns).with_columns(one.capped_rater.alias(CAPPED))
        narrow.append(rows.filter(one.reason.is_null()))
    return caps, pl.concat(narrow), left_out


def _caps_narrow(path: Path, config: CurateConfig) -> pl.DataFrame:
    return caps_narrow(read_rows(path, caps_columns(config.caps)), config.caps)
