"""The rows that `rebalance` would count: each record once, with the weight that it had before the last `rebalance`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from feedback.audit.config import AuditConfig
from feedback.config import RebalanceConfig
from feedback.rebalance import base_weights, narrow_columns, rebalance_plan
from feedback.rebalance.ratio import RatioPlan
from schemas.errors import OneLabelError, RatioUnreachableError
from schemas.report import StageReport

__all__ = ["Unbalanced", "unbalanced_rows"]


@dataclass(frozen=True, slots=True)
class Unbalanced:
    """Rows of the train split as `rebalance` finds them, and how many records were read again.

    Args:
        rows: `row_id` and the columns `feedback.rebalance.narrow_columns` of each record, once.
        repeated: rows that are left out, as they are the same record as another one.
    """

    rows: pl.DataFrame
    repeated: int

    @property
    def desirable(self) -> int:
        """Rows that are up."""
        return int(self.rows["label"].sum())

    @property
    def undesirable(self) -> int:
        """Rows that are down."""
        return self.rows.height - self.desirable

    def plan(
        self, config: AuditConfig, mode: Literal["downsample", "reweight"], share: float = 1.0
    ) -> RatioPlan | None:
        """What `rebalance` makes of the rows with its default seed; null where it cannot reach the range.

        Args:
            config: the range of R, and the lambdas.
            mode: by leaving out rows, or by weight.
            share: of the desirable rows, what stays at first; in (0, 1].
        """
        wanted = RebalanceConfig(
            mode=mode,
            low=config.low,
            high=config.high,
            allow_below_one=config.low < 1,
            desirable_weight=config.desirable_weight,
            undesirable_weight=config.undesirable_weight,
            keep_desirable_share=share,
        )
        try:
            return rebalance_plan(self.rows, wanted).after
        except (OneLabelError, RatioUnreachableError):
            return None


def unbalanced_rows(rows: pl.DataFrame, reports: Sequence[StageReport]) -> Unbalanced:
    """The rows that `rebalance` would count.

    Args:
        rows: rows of `schemas.datasets.CANDIDATE` to be trained on.
        reports: reports of the stages that they went through.
    """
    narrow = rows.select("row_id", *narrow_columns(RebalanceConfig()))
    once = narrow.unique("row_key", keep="first", maintain_order=True)
    return Unbalanced(base_weights(once, reports), rows.height - once.height)
