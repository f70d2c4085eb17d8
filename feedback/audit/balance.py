"""How many rows are desirable, how many undesirable, and the ratio R that training will feel.

All counts are of the rows that would be trained on: the split `train`, or every row that has no split yet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

from feedback.audit.config import AuditConfig
from feedback.audit.report import Metric, Severity
from feedback.audit.statistics import wilson_interval
from feedback.audit.wording import agree, count, number, percent, plural

__all__ = ["Balance", "measure_balance", "training_rows", "weigh"]


@dataclass(frozen=True, slots=True)
class Balance:
    """Rows of both labels, and the sums of their weights."""

    desirable: int
    undesirable: int
    desirable_weights: float
    undesirable_weights: float

    @property
    def total(self) -> int:
        """Rows of both labels."""
        return self.desirable + self.undesirable

    @property
    def is_weighted(self) -> bool:
        """Whether the rows' weights say something else than the rows' number."""
        return (self.desirable_weights, self.undesirable_weights) != (self.desirable, self.undesirable)

    def ratio(self, config: AuditConfig) -> float:
        """R = lambda_D n_D / (lambda_U n_U), each row counted with its weight; infinite without undesirable rows."""
        lower = config.undesirable_weight * self.undesirable_weights
        return config.desirable_weight * self.desirable_weights / lower if lower else math.inf

    def ratio_interval(self, config: AuditConfig) -> tuple[float | None, float | None]:
        """The 95% interval of R that follows from the interval of the share of desirable rows; null where unbounded."""
        if not self.desirable or not self.undesirable:
            return None, None
        low, high = wilson_interval(self.desirable, self.total)
        scale = self.ratio(config) * self.undesirable / self.desirable
        return scale * low / (1 - low), scale * high / (1 - high) if high < 1 else None


def training_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of `frame` that would be trained on: all but those of the split `test`."""
    return frame.filter(pl.col("split").fill_null("train") == "train")


def weigh(frame: pl.DataFrame) -> Balance:
    """Rows and weights of `frame` by label."""
    up, down = frame.filter(pl.col("label")), frame.filter(~pl.col("label"))
    return Balance(up.height, down.height, float(up["weight"].sum()), float(down["weight"].sum()))


def measure_balance(frame: pl.DataFrame, config: AuditConfig) -> list[Metric]:
    """The metrics `labels` (are both there), `label_ratio` (R) and `effective_rows` of the rows to be trained on."""
    balance = weigh(frame)
    metrics = [_both_labels(balance)]
    if balance.total:
        metrics += [_share_up(balance), _ratio(balance, config), _effective_rows(frame, balance)]
    return metrics


def _both_labels(balance: Balance) -> Metric:
    if not balance.total:
        sentence = "There is no labelled row, so there is nothing to train on."
    elif not balance.desirable or not balance.undesirable:
        only, missing = ("up", "down") if balance.desirable else ("down", "up")
        rows = "The only row is" if balance.total == 1 else f"All {count(balance.total)} rows are"
        sentence = f"{rows} {only} and none is {missing}: KTO compares the two labels and cannot learn from one."
    else:
        sentence = f"Both labels are there: {count(balance.desirable)} up and {count(balance.undesirable)} down."
    return Metric(
        name="labels",
        title="Both labels",
        value=min(balance.desirable, balance.undesirable),
        kind="count",
        n=balance.total,
        severity="ok" if balance.desirable and balance.undesirable else "fail",
        sentence=sentence,
        threshold="at least one row of each label",
        details={"desirable": balance.desirable, "undesirable": balance.undesirable},
    )


def _share_up(balance: Balance) -> Metric:
    share = balance.desirable / balance.total
    low, high = wilson_interval(balance.desirable, balance.total)
    return Metric(
        name="share_up",
        title="Share of up",
        value=share,
        kind="share",
        n=balance.total,
        severity="info",
        sentence=f"{percent(share)} of {plural(balance.total, 'row')} {agree(balance.total, 'are')} up "
        f"(95% interval {percent(low)} to {percent(high)}).",
        low=low,
        high=high,
    )


def _ratio(balance: Balance, config: AuditConfig) -> Metric:
    ratio = balance.ratio(config)
    low, high = balance.ratio_interval(config)
    severity, meaning = _judge_ratio(ratio, config)
    shown = number(ratio, config.low, config.high)
    scope = " by weight" if balance.is_weighted else ""
    return Metric(
        name="label_ratio",
        title="Label ratio R",
        value=ratio,
        kind="number",
        n=balance.total,
        severity=severity,
        sentence=f"{percent(balance.desirable / balance.total)} of {plural(balance.total, 'row')} "
        f"{agree(balance.total, 'are')} up; R{scope} = {shown} {meaning}",
        low=low,
        high=high,
        threshold=f"R in [{number(config.low)}, {number(config.high)}]",
        details={
            "desirable": balance.desirable,
            "undesirable": balance.undesirable,
            "desirable_weights": balance.desirable_weights,
            "undesirable_weights": balance.undesirable_weights,
            "desirable_weight": config.desirable_weight,
            "undesirable_weight": config.undesirable_weight,
        },
    )


def _judge_ratio(ratio: float, config: AuditConfig) -> tuple[Severity, str]:
    wanted = f"[{number(config.low)}, {number(config.high)}]"
    # The same tolerance as `schemas.manifest.Ratio.is_in_range`: weights that were solved for land on the edge.
    if ratio > config.high * (1 + 1e-9):
        weighs = (
            "only praise weighs"
            if math.isinf(ratio)
            else f"praise weighs {number(ratio, config.high)} times as much as criticism"
        )
        return "warn", f"lies above {wanted}: in training {weighs}, so the model learns little about what to avoid."
    if ratio < config.low * (1 - 1e-9):
        return "warn", (
            f"lies below {wanted}: in training criticism outweighs praise, "
            "so the model learns what to avoid and little about what to say."
        )
    return "ok", f"lies in {wanted}: praise and criticism weigh about the same in training."


def _effective_rows(frame: pl.DataFrame, balance: Balance) -> Metric:
    effective = [_effective(frame.filter(pl.col("label") == label)["weight"]) for label in (True, False)]
    return Metric(
        name="effective_rows",
        title="Effective rows",
        value=sum(effective),
        kind="number",
        n=balance.total,
        severity="info",
        sentence=f"Weighted as they are, the rows count like {number(round(effective[0]))} up and "
        f"{number(round(effective[1]))} down of equal weight.",
        details={"desirable": effective[0], "undesirable": effective[1]},
    )


def _effective(weights: pl.Series) -> float:
    """(sum w)^2 / sum w^2: how many rows of equal weight the weighted rows are worth."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0
