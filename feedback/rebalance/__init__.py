"""Stage `rebalance`: the ratio of labels brought into its range, with exact counts and their arithmetic."""

from feedback.rebalance.stage import (
    RebalancePlan,
    apply_rebalance,
    base_weights,
    merge_rebalance,
    narrow_columns,
    ratio_of_report,
    rebalance,
    rebalance_plan,
)
from feedback.rebalance.strata import CAPPED

__all__ = [
    "CAPPED",
    "RebalancePlan",
    "apply_rebalance",
    "base_weights",
    "merge_rebalance",
    "narrow_columns",
    "ratio_of_report",
    "rebalance",
    "rebalance_plan",
]
