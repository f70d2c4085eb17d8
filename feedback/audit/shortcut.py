"""How well the label is predicted from metadata alone: then training can learn the metadata's marks.

    length, model, week, language ──into bins──► counts by label ──logistic regression, five folds of prompts──► AUC

All features are categories, so rows that agree in all of them are one case with a weight, and a million rows fit as
fast as a thousand. The language is what the source says it is, where it says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feedback.audit.config import AuditConfig
from feedback.audit.report import Metric
from feedback.audit.severity import warn_outside
from feedback.audit.slices import period_of
from feedback.audit.statistics import auc_interval
from feedback.audit.wording import number, percent, plural
from feedback.hashing import order_hash

__all__ = ["measure_shortcut", "shortcut_auc"]

_FOLDS: Final = 5
_LENGTH_BINS: Final = 10
_STRENGTH: Final = 0.1
"""Of what the rows say against small weights. With few hundred rows twenty categories would learn chance by heart."""
_MOST_VALUES: Final = 30
_FEATURES: Final = {"length": "the length", "model": "the model", "week": "the week", "lang": "the language"}


def measure_shortcut(frame: pl.DataFrame, config: AuditConfig) -> list[Metric]:
    """The metric `shortcut_auc`: the cross-validated AUC of the label given length, model, week and language.

    It is at least 0.5, which is chance.

    Args:
        frame: the rows to be trained on.
        config: the thresholds.
    """
    up = int(frame["label"].sum())
    down = frame.height - up
    if min(up, down) < _FOLDS:
        return []
    cells = _cells(frame)
    names = [name for name in _FEATURES if cells[name].n_unique() > 1]
    value = shortcut_auc(cells, names)
    if value is None:
        return []
    alone = {name: shortcut_auc(cells, [name]) for name in names}
    # Few rows in folds can come out far below: that the label is not predicted is all it says.
    value = max(value, 0.5)
    interval = auc_interval(value, up, down)
    return [
        Metric(
            name="shortcut_auc",
            title="Label from metadata",
            value=value,
            kind="share",
            n=frame.height,
            severity=warn_outside(value, (0, config.max_shortcut_auc), interval, min(up, down), config),
            sentence=_sentence(value, alone, frame.height, config),
            low=interval[0],
            high=interval[1],
            threshold=f"AUC at most {percent(config.max_shortcut_auc)}",
            details={"alone": alone, "folds": _FOLDS},
        )
    ]


def shortcut_auc(cells: pl.DataFrame, names: Sequence[str]) -> float | None:
    """The mean AUC over folds of the label given the features; null where no fold has both labels.

    Folds are by prompt cluster, so that no answer is predicted from another one to its own prompt. Each fold weighs as
    many pairs of up and down rows as it has.

    Args:
        cells: `label`, `fold`, a column of categories for each name, and how many `rows` have these values.
        names: the features; without any, nothing can be told and the AUC is 0.5.
    """
    from sklearn.metrics import roc_auc_score
    from threadpoolctl import threadpool_limits

    if not names:
        return 0.5
    keys = ["fold", *names, "label"]
    cells = cells.group_by(keys).agg(pl.col("rows").sum().cast(pl.Float64)).sort(keys)
    columns = _columns(cells, names)
    label, fold, rows = (cells[name].to_numpy() for name in ("label", "fold", "rows"))
    areas, weights = [], []
    for number_of_fold in range(_FOLDS):
        test = fold == number_of_fold
        if len(np.unique(label[test])) < 2 or len(np.unique(label[~test])) < 2:
            continue
        with threadpool_limits(1):  # sums in one order, and no threads that wait for each other
            scores = _fit(columns[~test], label[~test], rows[~test]).decision_function(columns[test])
        # Sums in another order must not part what is equal.
        areas.append(roc_auc_score(label[test], scores.round(9), sample_weight=rows[test]))
        weights.append(rows[test & label].sum() * rows[test & ~label].sum())
    return float(np.average(areas, weights=weights)) if areas else None


def _columns(cells: pl.DataFrame, names: Sequence[str]) -> NDArray[np.float64]:
    """A column for each category, and for the length one that rises with it: most often one trend says it all."""
    columns = cells.select(names).to_dummies().to_numpy().astype(np.float64)
    if "length" not in names:
        return columns
    place = cells["length"].to_numpy().astype(np.float64) / (_LENGTH_BINS - 1) - 0.5
    return np.column_stack((columns, place * math.sqrt(12)))  # as wide as the others: variance 1


def _fit(columns: NDArray[np.float64], label: NDArray[np.bool_], rows: NDArray[np.float64]) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=_STRENGTH, max_iter=1000).fit(columns, label, sample_weight=rows)


def _cells(frame: pl.DataFrame) -> pl.DataFrame:
    """How many rows have each label, fold and category; the rare values of a feature are one."""
    edges = np.unique(np.quantile(frame["completion_chars"].to_numpy(), np.linspace(0, 1, _LENGTH_BINS + 1)[1:-1]))
    dated = frame.filter(pl.col("event_ts").is_not_null())
    week = period_of(dated)[1] if dated.height else pl.lit(None, dtype=pl.String)
    cells = frame.select(
        "label",
        (order_hash(frame["group_id"], "shortcut") % _FOLDS).cast(pl.Int64).alias("fold"),
        pl.Series("length", np.searchsorted(edges, frame["completion_chars"].to_numpy(), side="left"), pl.Int64),
        pl.col("model_id").fill_null("").alias("model"),
        week.fill_null("").alias("week"),
        (pl.col("lang") if "lang" in frame.columns else pl.lit(None, pl.String)).fill_null("").alias("lang"),
    )
    cells = cells.group_by(pl.all()).len("rows")
    return cells.with_columns(_with_rare(cells, name) for name in ("model", "week", "lang"))


def _with_rare(cells: pl.DataFrame, name: str) -> pl.Expr:
    sizes = cells.group_by(name).agg(pl.col("rows").sum()).sort(["rows", name], descending=[True, False])
    common = sizes.head(_MOST_VALUES)[name]
    return pl.when(pl.col(name).is_in(common.implode())).then(pl.col(name)).otherwise(pl.lit("(rare)"))


def _sentence(value: float, alone: dict[str, float | None], n: int, config: AuditConfig) -> str:
    known = {name: area for name, area in alone.items() if area is not None}
    listed = ", ".join(f"{_FEATURES[name]} {number(area)}" for name, area in known.items())
    *most, last = [_FEATURES[name] for name in known] or ["metadata"]
    named = f"{', '.join(most)} and {last}" if most else last
    told = f"From {named} alone, without the answer, the label "
    told += f"of {plural(n, 'row')} is predicted with an AUC of {number(value, config.max_shortcut_auc)} (0.5 is chance"
    told += f"; each by itself: {listed})" if len(known) > 1 else ")"
    if value <= config.max_shortcut_auc:
        return f"{told}: they say little about it."
    return f"{told}: training can learn these marks instead of what makes an answer good."
