"""Stage `rebalance`: the ratio of labels of the train split, brought into its range.

R = lambda_D n_D / (lambda_U n_U) is counted on the rows that are there; which rows are left out depends on their ids,
their sources and the seed only. The test split is not touched.
"""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from feedback.config import RebalanceConfig
from feedback.ratio import RatioPlan, plan_ratio
from feedback.stage import StageResult, count_labels, counted, finish_stage, hash_column
from schemas.manifest import Ratio
from schemas.reasons import DropReason
from schemas.settings import settings_to_dict

__all__ = ["ratio_of_report", "rebalance"]

_STRATA: Final = ["source"]


def rebalance(candidates: pl.DataFrame, config: RebalanceConfig, *, seed: int = 0, digest_in: str = "") -> StageResult:
    """Rows whose train split has its R in the range; `weight` holds lambda_D or lambda_U.

    A smaller number of rows is always a part of a larger one, and each source loses the same share.

    Args:
        candidates: rows of `schemas.datasets.CANDIDATE` with their split.
        config: the range, the weights and the mode.
        seed: decides which rows are left out.
        digest_in: digest of the stage before.

    Raises:
        OneLabelError: the train split has rows of one label only.
        RatioUnreachableError: no whole number of rows gives an R in the range.
    """
    is_train = pl.col("split") == "train"
    train = candidates.filter(is_train)
    counts = count_labels(train)
    plan = plan_ratio(counts.desirable, counts.undesirable, config)
    up, more_up = _keep(train.filter("label"), plan.desirable, seed)
    down, more_down = _keep(train.filter(~pl.col("label")), plan.undesirable, seed)
    kept = pl.concat(
        [
            up.with_columns(weight=pl.lit(float(plan.desirable_weight))),
            down.with_columns(weight=pl.lit(float(plan.undesirable_weight))),
            candidates.filter(~is_train),
        ]
    )
    before = plan_ratio(counts.desirable, counts.undesirable, _counting_only(config))
    return finish_stage(
        "rebalance",
        kept,
        pl.concat([more_up, more_down]).with_columns(drop_reason=pl.lit(DropReason.DOWNSAMPLED.value)),
        rows_in=candidates.height,
        labels_in=count_labels(candidates),
        config={**settings_to_dict(config), "seed": seed},
        digest_in=digest_in,
        notes=_notes(before, plan, config),
        figures=_figures(before, plan),
    )


def ratio_of_report(figures: dict[str, Any]) -> Ratio:
    """The ratio of the train split that the figures of a `rebalance` report tell of."""
    after = figures["after"]
    return Ratio(
        desirable=after["desirable"],
        undesirable=after["undesirable"],
        desirable_weight=after["desirable_weight"],
        undesirable_weight=after["undesirable_weight"],
        low=figures["low"],
        high=figures["high"],
    )


def _counting_only(config: RebalanceConfig) -> RebalanceConfig:
    return RebalanceConfig(
        mode="off",
        low=config.low,
        high=config.high,
        desirable_weight=config.desirable_weight,
        undesirable_weight=config.undesirable_weight,
    )


def _keep(rows: pl.DataFrame, count: int, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The first `count` rows of an order that mixes the strata evenly, and the rest."""
    if count >= rows.height:
        return rows, rows.clear()
    ordered = (
        rows.with_columns(order=hash_column(rows["row_id"], "rebalance", str(seed)))
        .sort("order", "row_id")
        # Fractional rank: the n-th row of a source stands at (n - 1/2) / size, so every run takes of each source alike.
        .with_columns(place=(pl.int_range(pl.len()).over(_STRATA) + 0.5) / pl.len().over(_STRATA))
        .sort("place", "order", "row_id")
        .drop("order", "place")
    )
    return ordered.head(count), ordered.tail(rows.height - count)


def _figures(before: RatioPlan, after: RatioPlan) -> dict[str, Any]:
    return {
        "before": _counts(before),
        "after": _counts(after),
        "low": float(after.low),
        "high": float(after.high),
    }


def _counts(plan: RatioPlan) -> dict[str, Any]:
    return {
        "desirable": plan.desirable,
        "undesirable": plan.undesirable,
        "desirable_weight": float(plan.desirable_weight),
        "undesirable_weight": float(plan.undesirable_weight),
        "ratio": None if plan.value is None else float(plan.value),
    }


def _notes(before: RatioPlan, after: RatioPlan, config: RebalanceConfig) -> list[str]:
    notes = [f"Before: {_arithmetic(before)}, wanted {_range(config)}."]
    if config.mode == "off":
        notes.append("Only counted: the mode is off.")
    elif before == after:
        notes.append("Nothing left out and no weight raised: R is where it is wanted.")
    else:
        notes += [*_notes_on_rows(before, after), *_notes_on_weights(before, after)]
        notes.append(f"After: {_arithmetic(after)}.")
    if config.low < 1 and config.mode != "off":
        notes.append("The range allows R below 1, which weighs avoiding bad answers over giving good ones.")
    if after.desirable_weight != 1 or after.undesirable_weight != 1:
        notes.append(
            f"The column weight of the train split is {float(after.desirable_weight):.6g} for desirable and "
            f"{float(after.undesirable_weight):.6g} for undesirable rows. It multiplies the loss of a row, so the "
            "weights of the objective itself stay 1."
        )
    return notes


def _notes_on_rows(before: RatioPlan, after: RatioPlan) -> list[str]:
    pairs = (
        ("desirable", before.desirable, after.desirable, "undesirable", after.undesirable),
        ("undesirable", before.undesirable, after.undesirable, "desirable", after.desirable),
    )
    return [
        f"{had - has:,} of {counted(had, label + ' row')} of the train split left out ({(had - has) / had:.1%}), the "
        f"same share of every source; {others:,} {other} kept."
        for label, had, has, other, others in pairs
        if has < had
    ]


def _notes_on_weights(before: RatioPlan, after: RatioPlan) -> list[str]:
    pairs = (
        ("desirable", before.desirable_weight, after.desirable_weight),
        ("undesirable", before.undesirable_weight, after.undesirable_weight),
    )
    return [
        f"The weight of {label} rows raised from {float(had):.6g} to {float(has):.6g}."
        for label, had, has in pairs
        if has > had
    ]


def _arithmetic(plan: RatioPlan) -> str:
    up = f"{float(plan.desirable_weight):.6g} x {plan.desirable:,} desirable"
    down = f"{float(plan.undesirable_weight):.6g} x {plan.undesirable:,} undesirable"
    value = "undefined" if plan.value is None else f"{float(plan.value):.4f}"
    return f"R = {up} / ({down}) = {value}"


def _range(config: RebalanceConfig) -> str:
    if config.low == config.high:
        return f"at least {config.low:.6g} and less than a row above"
    return f"in [{config.low:.6g}, {config.high:.6g}]"
