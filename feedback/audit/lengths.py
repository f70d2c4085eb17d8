"""Whether the label can be guessed from the answer's length: then the model learns length."""

from __future__ import annotations

import math
from typing import Final

import polars as pl

from feedback.audit.config import AuditConfig
from feedback.audit.report import Column, Metric, Table
from feedback.audit.severity import warn_outside
from feedback.audit.statistics import auc_interval
from feedback.audit.wording import count, number, percent, plural

__all__ = ["length_histogram", "measure_lengths", "tabulate_lengths"]

_QUANTILES: Final = ((0.05, "5%"), (0.25, "25%"), (0.5, "half"), (0.75, "75%"), (0.95, "95%"))
_BINS_PER_DECADE: Final = 8


def measure_lengths(frame: pl.DataFrame, config: AuditConfig) -> list[Metric]:
    """The metric `length_auc`: P(an up answer is longer than a down one), in characters, ties counted half."""
    from sklearn.metrics import roc_auc_score

    up, down = _lengths(frame)
    if not up.len() or not down.len():
        return []
    # Rows of one length and label are one case with a weight.
    cases = frame.group_by("label", "completion_chars").len().sort("completion_chars", "label")
    label, chars, rows = (cases[name].to_numpy() for name in ("label", "completion_chars", "len"))
    value = float(roc_auc_score(label, chars, sample_weight=rows))
    wanted, interval = (config.length_low, config.length_high), auc_interval(value, up.len(), down.len())
    medians = int(up.median() or 0), int(down.median() or 0)  # type: ignore[arg-type]
    return [
        Metric(
            name="length_auc",
            title="Length bias",
            value=value,
            kind="share",
            n=frame.height,
            severity=warn_outside(value, wanted, interval, min(up.len(), down.len()), config),
            sentence=_sentence(value, medians, wanted, is_right=wanted[0] <= value <= wanted[1]),
            low=interval[0],
            high=interval[1],
            threshold=f"between {percent(config.length_low)} and {percent(config.length_high)}",
            details={"median_up": medians[0], "median_down": medians[1]},
        )
    ]


def tabulate_lengths(frame: pl.DataFrame) -> list[Table]:
    """The table `lengths`: quantiles of the answers' length by label, in characters."""
    columns = (
        Column("label", "Label", "text"),
        Column("rows", "Rows", "count"),
        *(Column(f"q{round(100 * share):02d}", f"{name} up to", "count") for share, name in _QUANTILES),
    )
    rows = []
    for name, lengths in zip(("up", "down"), _lengths(frame), strict=True):
        if lengths.len():
            quantiles = [int(lengths.quantile(share, "nearest") or 0) for share, _ in _QUANTILES]
            rows.append((name, lengths.len(), *quantiles))
    return [Table("lengths", "Answer length by label, characters", columns, tuple(rows))] if rows else []


def length_histogram(frame: pl.DataFrame) -> list[Table]:
    """The series `length_histogram`: the share of each label's answers in bins of equal ratio."""
    up, down = _lengths(frame)
    if not up.len() and not down.len():
        return []
    bins = [_bin(lengths) for lengths in (up, down)]
    places = sorted(set(bins[0]) | set(bins[1]))
    rows = tuple(
        (
            10 ** (place / _BINS_PER_DECADE),
            10 ** ((place + 1) / _BINS_PER_DECADE),
            bins[0].get(place, 0) / max(1, up.len()),
            bins[1].get(place, 0) / max(1, down.len()),
        )
        for place in range(places[0], places[-1] + 1)
    )
    columns = (
        Column("from", "Characters from", "number"),
        Column("to", "to", "number"),
        Column("up", "Share of up", "share"),
        Column("down", "Share of down", "share"),
    )
    return [Table("length_histogram", "Answer length by label", columns, rows)]


def _lengths(frame: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    chars = frame["completion_chars"]
    return chars.filter(frame["label"]), chars.filter(~frame["label"])


def _bin(lengths: pl.Series) -> dict[int, int]:
    counts: dict[int, int] = {}
    for value, n in lengths.value_counts().iter_rows():
        place = math.floor(math.log10(max(1, value)) * _BINS_PER_DECADE)
        counts[place] = counts.get(place, 0) + n
    return counts


def _sentence(value: float, medians: tuple[int, int], wanted: tuple[float, float], *, is_right: bool) -> str:
    middle = (
        f"Half of the up answers have up to {plural(medians[0], 'character')}, "
        f"half of the down ones up to {count(medians[1])}"
    )
    area = f"(AUC {number(value, *wanted)})"
    chance = f"an up answer is longer than a down one in {percent(value, *wanted)} of comparisons {area}"
    if is_right:
        return f"{middle}; {chance}: length says little about the label."
    learnt = "longer" if value > 0.5 else "shorter"
    return f"{middle}; {chance}: a model can lower its loss by writing {learnt} answers instead of better ones."
