"""Stage `rebalance`: the ratio of labels of the train split, brought into its range.

    narrow columns of all rows ──rebalance_plan──► lines, one for each stratum ──apply_rebalance──► rows of a partition

R = lambda_D n_D / (lambda_U n_U) is counted on the rows that are there, each with its weight; which rows are left out
depends on their ids, their strata and the seed only. A smaller number of rows is always a part of a larger one. The
test split is not touched. Rows of one prompt must be in one partition. Where a cap on the share of one rater is given,
it holds for the rows that the ratio is made from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

import polars as pl

from feedback.config import RebalanceConfig
from feedback.hashing import order_hash
from feedback.rebalance.chosen import HeldRaters, chosen_rows, hold_raters
from feedback.rebalance.notes import balance_figures, balance_notes, strata_figures
from feedback.rebalance.ratio import Masses, RatioPlan, count_ratio, exact_fraction, plan_ratio
from feedback.rebalance.strata import (
    CAPPED,
    UNITS_OF_ONE,
    LabelStrata,
    exact_weights,
    label_strata,
    line_through,
    stratum_columns,
    weight_units,
)
from feedback.stage import StageResult, count_labels, finish_stage, merge_reports
from schemas.errors import ShapeError
from schemas.manifest import Ratio
from schemas.reasons import DropReason
from schemas.report import StageReport
from schemas.settings import settings_to_dict

__all__ = [
    "RebalancePlan",
    "apply_rebalance",
    "base_weights",
    "merge_rebalance",
    "narrow_columns",
    "ratio_of_report",
    "rebalance",
    "rebalance_plan",
]

_STAGE: Final = "rebalance"
_READ_FOR: Final = {"source": "source", "model": "model_id", "week": "event_ts", "cluster": "group_id"}
_DOWNSAMPLED: Final = pl.lit(DropReason.DOWNSAMPLED.value)
_BEFORE_R: Final = (DropReason.ONE_PER_PROMPT.value, DropReason.RATER_CAP.value)
_SHARE: Final = pl.lit(DropReason.DESIRABLE_SHARE.value)
_IS_TRAIN: Final = pl.col("split").fill_null("train") == "train"


@dataclass(frozen=True, slots=True)
class RebalancePlan:
    """Which rows of the train split stay, and their lambdas; small, and the same for every partition.

    Args:
        config: the settings.
        seed: decides which rows are left out.
        after: what stays of each label, and lambda_D and lambda_U.
        held: which rows stay of each rater; null where no cap on a share is given.
        lines: for each label and stratum its `rows`, how many are `shared` (kept by share) and `kept`, and the last of
            both (`shared_order`, `shared_row_id`, `kept_order`, `kept_row_id`).
        figures: numbers for the report.
        notes: sentences for the report.
    """

    config: RebalanceConfig
    seed: int
    after: RatioPlan
    held: HeldRaters | None
    lines: pl.DataFrame
    figures: dict[str, Any]
    notes: tuple[str, ...]


def rebalance(
    candidates: pl.DataFrame,
    config: RebalanceConfig,
    *,
    seed: int = 0,
    digest_in: str = "",
    max_rater_share: float | None = None,
) -> StageResult:
    """Rows whose train split has its R in the range; `weight` is multiplied by lambda_D or lambda_U.

    Args:
        candidates: rows of `schemas.datasets.CANDIDATE` with their split; without one, a row is in the train split.
        config: the range, the weights, the mode and the strata.
        seed: decides which rows are left out.
        digest_in: digest of the stage before.
        max_rater_share: the cap on the share of one rater, see `rebalance_plan`.

    Raises:
        OneLabelError: the train split has rows of one label only.
        RatioUnreachableError: no whole number of rows gives an R in the range.
    """
    plan = rebalance_plan(candidates, config, seed=seed, max_rater_share=max_rater_share)
    result = apply_rebalance(candidates, plan, digest_in=digest_in)
    return replace(result, report=merge_rebalance([result.report], plan))


def narrow_columns(config: RebalanceConfig) -> tuple[str, ...]:
    """The columns of candidates that a plan is made from.

    `row_id` may be added: it tells rows of one `row_key` apart, of which there are hardly ever any.
    """
    strata = tuple(_READ_FOR[name] for name in config.strata)
    return ("row_key", "label", "weight", "split", CAPPED, *strata, *(("prompt_key",) if config.one_per_prompt else ()))


def rebalance_plan(
    narrow: pl.DataFrame, config: RebalanceConfig, *, seed: int = 0, max_rater_share: float | None = None
) -> RebalancePlan:
    """What `apply_rebalance` does with each row.

    Args:
        narrow: the columns `narrow_columns` of all rows, in any order. Rows of the test split are only counted.
        config: the range, the weights, the mode and the strata.
        seed: decides which rows are left out.
        max_rater_share: largest share of a label's rows that may rest on one rater, in (0, 1], for rows that `caps`
            has not counted as they are: where a prompt gives one of several, for example. `capped_rater` must then name
            everybody whom the cap could hold. Null where no cap holds, or `caps` has seen to it.

    Raises:
        OneLabelError: the train split has rows of one label only.
        RatioUnreachableError: no whole number of rows gives an R in the range.
    """
    is_weighted = bool((narrow["weight"] != 1).any())
    rows = narrow.with_columns(
        *([weight_units(narrow["weight"]).alias("units")] if is_weighted else []),
        is_train=narrow.select(_IS_TRAIN).to_series(),
        order=order_hash(narrow["row_key"], _STAGE, seed),
    )
    before = _as_it_came(rows, config)
    alone = config.one_per_prompt
    held = None if max_rater_share is None else hold_raters(narrow, max_rater_share, seed, one_per_prompt=alone)
    rows = rows.with_columns(chosen_rows(narrow, held, seed, one_per_prompt=alone))
    is_candidate = rows["is_train"] & rows["drop_reason"].is_null()
    up, down = (
        label_strata(rows.filter(is_candidate & is_label), rows.filter(~rows["is_train"] & is_label), config.strata)
        for is_label in (rows["label"], ~rows["label"])
    )
    masses: tuple[Masses, Masses] = (up.mass, down.mass) if is_weighted else (Fraction, Fraction)
    shared = math.ceil(exact_fraction(config.keep_desirable_share) * up.count)
    start = count_ratio(shared, down.count, config, masses)
    after = plan_ratio(shared, down.count, config, masses)
    lines = pl.concat([_lines(up, True, shared, after.desirable), _lines(down, False, down.count, after.undesirable)])
    left_out = _left_out(rows)
    return RebalancePlan(
        config,
        seed,
        after,
        held,
        lines,
        {**balance_figures(before, start, after), **left_out, "strata": strata_figures(lines, config)},
        tuple(balance_notes(before, start, after, config, left_out, lines, () if held is None else held.notes)),
    )


def apply_rebalance(partition: pl.DataFrame, plan: RebalancePlan, *, digest_in: str = "") -> StageResult:
    """The rows of a partition that stay, with their weights, and those that are left out.

    The report of a partition counts its own rows and has the notes of the plan; `merge_rebalance` adds the figures.

    Args:
        partition: rows of `schemas.datasets.CANDIDATE`, some of those that the plan was made from.
        plan: what to do.
        digest_in: digest of the stage before.

    Raises:
        ShapeError: a row's stratum is not in the plan.
    """
    reason = _drop_reasons(partition, plan)
    is_kept = reason.is_null()
    kept = partition if is_kept.all() else partition.filter(is_kept)
    return finish_stage(
        _STAGE,
        kept.with_columns(weight=_weight(kept["weight"], plan.after)),
        partition.with_columns(drop_reason=reason).filter(~is_kept),
        rows_in=partition.height,
        labels_in=count_labels(partition),
        config=_described(plan),
        digest_in=digest_in,
        notes=plan.notes,
    )


def merge_rebalance(reports: Sequence[StageReport], plan: RebalancePlan) -> StageReport:
    """The report of the whole stage: the counts of its partitions, the figures and notes of the plan.

    Args:
        reports: one for each partition, in order; at least one.
        plan: the plan of all of them.
    """
    return replace(merge_reports(reports, notes=plan.notes), figures=plan.figures)


def ratio_of_report(figures: dict[str, Any]) -> Ratio:
    """The ratio of the train split that the figures of a `rebalance` report tell of.

    Its weights are those that a row of the label has on average: lambda times the rows' own weights.
    """
    after = figures["after"]
    mean = {
        label: after[f"{label}_weight"] * (after[f"{label}_sum"] / after[label] if after[label] else 1)
        for label in ("desirable", "undesirable")
    }
    return Ratio(
        desirable=after["desirable"],
        undesirable=after["undesirable"],
        desirable_weight=mean["desirable"],
        undesirable_weight=mean["undesirable"],
        low=figures["low"],
        high=figures["high"],
    )


def base_weights(candidates: pl.DataFrame, stages: Iterable[StageReport]) -> pl.DataFrame:
    """Rows of a finished dataset with the weights they had before its last `rebalance`.

    A dataset's rows hold lambda times their own weight; the report of the stage tells lambda. So a dataset that is
    rebalanced again has one lambda in its weights, not two.

    Args:
        candidates: rows of `schemas.datasets.CANDIDATE`.
        stages: the reports in the dataset's manifest.
    """
    reports = [stage for stage in stages if stage.stage == _STAGE]
    if not reports:
        return candidates
    after = reports[-1].figures["after"]
    lambdas = pl.when("label").then(after["desirable_weight"]).otherwise(after["undesirable_weight"])
    own = exact_weights(candidates.select(pl.col("weight") / lambdas).to_series())
    return candidates.with_columns(weight=pl.when(_IS_TRAIN).then(own).otherwise("weight"))


def _described(plan: RebalancePlan) -> dict[str, Any]:
    """The settings of a plan for the report, with the cap on the share of a rater where it holds."""
    capped = {} if plan.held is None else {"max_rater_share": plan.held.share}
    return {**settings_to_dict(plan.config), **capped, "seed": plan.seed}


def _as_it_came(rows: pl.DataFrame, config: RebalanceConfig) -> RatioPlan:
    train = rows.lazy().filter("is_train").select(pl.col("label", "^units$")).collect()
    counts = count_labels(train)
    if "units" not in train.columns:
        return count_ratio(counts.desirable, counts.undesirable, config)
    up, down = (Fraction(int(train.filter(label=one)["units"].sum()), UNITS_OF_ONE) for one in (True, False))
    return count_ratio(counts.desirable, counts.undesirable, config, (lambda _: up, lambda _: down))


def _left_out(rows: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Rows of each label left out before R is looked at, by reason."""
    counts = [count_labels(rows.select("label", "drop_reason").filter(drop_reason=reason)) for reason in _BEFORE_R]
    numbers = [{"desirable": one.desirable, "undesirable": one.undesirable} for one in counts]
    return dict(zip(_BEFORE_R, numbers, strict=True))


def _lines(strata: LabelStrata, label: bool, shared: int, kept: int) -> pl.DataFrame:
    """The strata of a label and where each is cut, by the share and in the end."""
    parts = [strata.table.insert_column(0, pl.Series("label", [label]).new_from_index(0, strata.table.height))]
    for name, count in (("shared", shared), ("kept", kept)):
        line = line_through(strata, count)
        parts.append(line.rename({"kept": name, "order": f"{name}_order", "row_id": f"{name}_row_id"}))
    return pl.concat(parts, how="horizontal")


def _drop_reasons(partition: pl.DataFrame, plan: RebalancePlan) -> pl.Series:
    """Why each row is left out, null where it stays. [N] string."""
    names = ["label", CAPPED, *plan.config.strata]
    chosen = chosen_rows(partition, plan.held, plan.seed, one_per_prompt=plan.config.one_per_prompt)
    partition, reason = partition.with_columns(chosen[CAPPED]), chosen["drop_reason"]
    is_train = partition.select(_IS_TRAIN).to_series() & reason.is_null()
    cut = plan.lines.filter(pl.col("kept") < pl.col("rows"))["label"].unique()
    lines = plan.lines.filter(pl.col("label").is_in(cut.implode()))
    found = (
        partition.select(
            *("label", "row_id"),
            *stratum_columns(plan.config.strata),
            place=pl.int_range(pl.len()),
            order=order_hash(partition["row_key"], _STAGE, plan.seed),
        )
        .filter(is_train & partition["label"].is_in(cut.implode()))
        .join(lines, on=names, how="left", nulls_equal=True)
        .filter(~_is_up_to("kept"))
        .select("place", "rows", reason=pl.when(_is_up_to("shared")).then(_DOWNSAMPLED).otherwise(_SHARE))
    )
    if found["rows"].null_count():
        raise ShapeError(
            f"the stratum of {found['rows'].null_count():,} rows is not in the plan",
            where=f"stage {_STAGE!r}",
            expected="a partition of the rows that the plan was made from",
        )
    return reason.scatter(found["place"], found["reason"])


def _is_up_to(line: str) -> pl.Expr:
    """Whether a row stands before a line or on it; false where there is no line."""
    order, row_id = pl.col(f"{line}_order"), pl.col(f"{line}_row_id")
    on_line = (pl.col("order") == order) & (row_id.is_null() | (pl.col("row_id") <= row_id))
    return ((pl.col("order") < order) | on_line).fill_null(False)


def _weight(weights: pl.Series, plan: RatioPlan) -> pl.Expr:
    """A row's weight times its lambda. Weights have nine decimals here, as they are counted in R."""
    own = weights if (weights == 1).all() else exact_weights(weights)
    lambdas = pl.when("label").then(float(plan.desirable_weight)).otherwise(float(plan.undesirable_weight))
    return pl.when(_IS_TRAIN).then(own * lambdas).otherwise("weight")
