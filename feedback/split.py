"""Stage `split`: which rows are trained on, and which are held out to evaluate.

    all rows: group_id, label ──split_plan──► groups that are held out ──apply_split──► each partition, with its split

Groups of prompts stay whole: a prompt is never on both sides. Which group is held out depends on its id and the seed
only, beside those that a frozen evaluation set holds out for good. Nothing is dropped, and the rows held out by the
seed keep the ratio of labels that the feedback has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feedback.config import SplitConfig
from feedback.hashing import mix64
from feedback.stage import StageResult, count_labels, counted, finish_stage
from schemas.settings import settings_to_dict

__all__ = ["SplitPlan", "apply_split", "is_held_out", "split", "split_notes", "split_plan"]

_KINDS = ("has_up", "has_all")


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """What is held out.

    Args:
        test_groups: ids of the groups of the test split, sorted. [N] u64.
        config: how much was wanted.
        seed: what decided.
        frozen: digest of the frozen evaluation set; empty where there is none.
    """

    test_groups: pl.Series
    config: SplitConfig
    seed: int
    frozen: str = ""

    def described(self) -> dict[str, Any]:
        """What a report says of the config: the frozen set by its digest, not by its place."""
        values: dict[str, Any] = settings_to_dict(self.config)
        del values["held_out"]
        return {**values, "seed": self.seed, **({"held_out": self.frozen} if self.frozen else {})}


def split(candidates: pl.DataFrame, config: SplitConfig, *, seed: int = 0, digest_in: str = "") -> StageResult:
    """All rows, with `split` set to `train` or `test`.

    The test split takes whole groups, evenly from those with desirable rows only, undesirable rows only and both, until
    its rows are as near to the wanted share as whole groups allow. A group larger than the whole test split is trained
    on.

    Args:
        candidates: rows of `schemas.datasets.CANDIDATE`.
        config: how much is held out.
        seed: decides which groups are held out.
        digest_in: digest of the stage before.
    """
    plan = split_plan(candidates.select("group_id", "label"), config, seed=seed)
    return apply_split(candidates, plan, digest_in=digest_in)


def split_plan(
    narrow: pl.DataFrame,
    config: SplitConfig,
    *,
    seed: int = 0,
    frozen_groups: pl.Series | None = None,
    frozen: str = "",
) -> SplitPlan:
    """Which groups are held out, from the keys of all rows.

    Args:
        narrow: `group_id` and `label` of every row of every partition, in any order.
        config: how much is held out.
        seed: decides which groups are held out.
        frozen_groups: groups that are held out in any case; they count towards the share. [N] u64.
        frozen: digest of the frozen evaluation set that they are of.
    """
    groups = narrow.group_by("group_id").agg(rows=pl.len(), has_up=pl.col("label").any(), has_all=pl.col("label").all())
    kept_out = groups["group_id"].clear()
    if frozen_groups is not None:
        is_frozen = groups["group_id"].is_in(frozen_groups.implode())
        kept_out, frozen_rows = groups["group_id"].filter(is_frozen), groups["rows"].filter(is_frozen).sum()
        groups = groups.filter(~is_frozen)
    else:
        frozen_rows = 0
    target = max(0, round(config.test_fraction * narrow.height) - int(frozen_rows))
    fitting = groups.filter(pl.col("rows") <= target)
    return SplitPlan(pl.concat([kept_out, _nearest(fitting, target, seed)]).sort(), config, seed, frozen)


def apply_split(partition: pl.DataFrame, plan: SplitPlan, *, digest_in: str = "") -> StageResult:
    """The rows of one partition, with `split` set as planned.

    Args:
        partition: rows of `schemas.datasets.CANDIDATE`; the rows of a group are in one partition.
        plan: what is held out.
        digest_in: digest of the stage before.
    """
    is_test = is_held_out(partition["group_id"], plan)
    kept = partition.with_columns(split=pl.when(is_test).then(pl.lit("test")).otherwise(pl.lit("train")))
    labels, test = count_labels(partition), count_labels(partition.select("label").filter(is_test))
    figures = {
        "train": {
            "desirable": labels.desirable - test.desirable,
            "undesirable": labels.undesirable - test.undesirable,
        },
        "test": {"desirable": test.desirable, "undesirable": test.undesirable},
        "groups": partition["group_id"].n_unique(),
        "test_groups": partition["group_id"].filter(is_test).n_unique(),
    }
    return finish_stage(
        "split",
        kept,
        kept.clear().with_columns(drop_reason=pl.lit(None, dtype=pl.String)),
        rows_in=partition.height,
        labels_in=labels,
        config=plan.described(),
        digest_in=digest_in,
        notes=split_notes(figures, plan.config),
        figures=figures,
    )


def is_held_out(group_ids: pl.Series, plan: SplitPlan) -> pl.Series:
    """Whether the rows of some groups are in the test split. [N] bool.

    Args:
        group_ids: the group of each row. [N] u64.
        plan: what is held out.
    """
    return group_ids.is_in(plan.test_groups.implode())


def split_notes(figures: Mapping[str, Any], config: SplitConfig) -> list[str]:
    """What the stage did, in a sentence.

    Args:
        figures: the figures of its report, or those of all partitions summed.
        config: how much was wanted.
    """
    test, train = figures["test"], figures["train"]
    held_out = sum(test.values())
    if not config.test_fraction and config.held_out is None:
        return ["Nothing is held out: test_fraction is 0."]
    note = (
        f"{held_out:,} of {counted(held_out + sum(train.values()), 'row')} held out as the test split, in "
        f"{figures['test_groups']:,} of {counted(figures['groups'], 'group')} of prompts: {test['desirable']:,} "
        f"desirable and {test['undesirable']:,} undesirable."
    )
    return [note]


def _nearest(fitting: pl.DataFrame, target: int, seed: int) -> pl.Series:
    """Ids of the groups that are held out: the shortest run of the order that comes nearest to `target` rows."""
    if not fitting.height:
        return fitting["group_id"]
    order = mix64(fitting["group_id"].to_numpy(), "split", seed)
    ordered = fitting[np.argsort(order)]
    ordered = ordered[np.argsort(_places(ordered), kind="stable")]
    distance = (ordered["rows"].cast(pl.Int64).cum_sum() - target).abs()
    return ordered["group_id"].head(int(distance.arg_min() or 0) + 1)


def _places(groups: pl.DataFrame) -> NDArray[np.float64]:
    """The place of each group among those of its kind, as a share: the n-th of N stands at (n - 1/2) / N.

    So every run of groups in the order of their places takes of each kind alike.
    """
    has_up, has_all = (groups[name].to_numpy() for name in _KINDS)
    kinds = 2 * has_up + has_all
    places = np.empty(len(kinds))
    for kind in range(4):
        (mine,) = np.nonzero(kinds == kind)
        places[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    return places
