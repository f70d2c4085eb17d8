"""Stage `split`: which rows are trained on, and which are held out to evaluate.

Groups of prompts stay whole: a prompt is never on both sides. Which group is held out depends on its id and the seed
only. Nothing is dropped, and the held-out rows keep the ratio of labels that the feedback has.
"""

from __future__ import annotations

import polars as pl

from feedback.config import SplitConfig
from feedback.stage import StageResult, count_labels, counted, finish_stage, hash_column
from schemas.settings import settings_to_dict

__all__ = ["split"]


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
    target = round(config.test_fraction * candidates.height)
    test_groups = _test_groups(candidates, target, seed)
    is_test = pl.col("group_id").is_in(test_groups.to_list())
    kept = candidates.with_columns(split=pl.when(is_test).then(pl.lit("test")).otherwise(pl.lit("train")))
    test, train = (count_labels(kept.filter(split=name)) for name in ("test", "train"))
    groups = candidates["group_id"].n_unique()
    note = (
        f"{test.total:,} of {counted(candidates.height, 'row')} held out as the test split, in {len(test_groups):,} of "
        f"{counted(groups, 'group')} of prompts: {test.desirable:,} desirable and {test.undesirable:,} undesirable."
    )
    return finish_stage(
        "split",
        kept,
        kept.clear().with_columns(drop_reason=pl.lit(None, dtype=pl.String)),
        rows_in=candidates.height,
        labels_in=count_labels(candidates),
        config={**settings_to_dict(config), "seed": seed},
        digest_in=digest_in,
        notes=[note] if config.test_fraction else ["Nothing is held out: test_fraction is 0."],
        figures={
            "train": {"desirable": train.desirable, "undesirable": train.undesirable},
            "test": {"desirable": test.desirable, "undesirable": test.undesirable},
            "groups": groups,
            "test_groups": len(test_groups),
        },
    )


def _test_groups(candidates: pl.DataFrame, target: int, seed: int) -> pl.Series:
    """Ids of the groups that are held out: the shortest run of the order that comes nearest to `target` rows."""
    groups = candidates.group_by("group_id").agg(
        rows=pl.len(), has_up=pl.col("label").any(), has_all=pl.col("label").all()
    )
    fitting = groups.filter(pl.col("rows") <= target).sort("group_id")
    if not fitting.height:
        return fitting["group_id"]
    kinds = ["has_up", "has_all"]
    ordered = (
        fitting.with_columns(order=hash_column(fitting["group_id"], "split", str(seed)))
        .sort("order", "group_id")
        # Fractional rank: the n-th group of a kind stands at (n - 1/2) / size, so every run takes of each kind alike.
        .with_columns(place=(pl.int_range(pl.len()).over(kinds) + 0.5) / pl.len().over(kinds))
        .sort("place", "order", "group_id")
    )
    distance = (ordered["rows"].cast(pl.Int64).cum_sum() - target).abs()
    return ordered["group_id"].head(int(distance.arg_min() or 0) + 1)
