"""Whether one week's labels or prompts are other than the rest's.

Weeks begin on Monday, UTC. Rows without a time are left out and counted; a time without a zone was read as UTC, so a
row may be up to 14 hours off and near midnight on Sunday in the week beside its own. Where the weeks would be too many,
periods are months.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feedback.audit.config import AuditConfig
from feedback.audit.report import Column, Metric, Table
from feedback.audit.severity import MAX_P, warn_if
from feedback.audit.slices import MOST_PERIODS, period_of
from feedback.audit.wording import agree, number, plural

__all__ = ["measure_drift", "stability_index"]

Counts = NDArray[np.int64]

_TOP_CLUSTERS: Final = 10
_COUNTED: Final = 0.5
"""Added to every count, so that nothing is divided by 0."""


@dataclass(frozen=True, slots=True)
class _Drift:
    """One quantity over periods: rows of each, PSI against the others, and p adjusted for the number of periods."""

    periods: list[str]
    rows: list[int]
    psi: list[float]
    p: list[float]

    def worst(self, most: float) -> int:
        """The place of the largest PSI among periods that shifted, or among all where none did."""
        has_shifted = self._has_shifted(most)
        return int(np.argmax(np.where(has_shifted, self.psi, -1.0) if has_shifted.any() else self.psi))

    def shifted(self, most: float) -> list[str]:
        """Periods that shifted by more than `most` and by more than chance."""
        return [period for period, has in zip(self.periods, self._has_shifted(most), strict=True) if has]

    def _has_shifted(self, most: float) -> NDArray[np.bool_]:
        return (np.asarray(self.psi) > most) & (np.asarray(self.p) < MAX_P)


def stability_index(counts: Counts, others: Counts) -> tuple[float, float]:
    """The population stability index of one distribution against another, and the p of one at least as large.

    PSI is the sum of (p - q) ln(p / q) over categories. Where both are drawn from one distribution,
    PSI / (1 / n + 1 / m) is nearly chi-square with one degree of freedom less than there are categories.

    Args:
        counts: cases by category. [K] int64.
        others: cases of the other by category. [K] int64.

    Source: Yurdakul and Naranjo 2020, Statistical properties of the population stability index. Differs from it: half a
    case is added to every count.
    """
    from scipy.stats import chi2

    first, second = (side[counts + others > 0] + _COUNTED for side in (counts, others))
    if len(first) < 2:
        return 0.0, 1.0
    p, q = first / first.sum(), second / second.sum()
    psi = float(((p - q) * np.log(p / q)).sum())
    scale = 1 / max(1, counts.sum()) + 1 / max(1, others.sum())
    return psi, float(chi2.sf(psi / scale, len(first) - 1))


def measure_drift(frame: pl.DataFrame, config: AuditConfig) -> tuple[list[Metric], list[Table]]:
    """The metrics `label_drift` and `prompt_drift` and the table `drift`; none where times do not span two periods.

    Each period of at least `min_rows` rows is compared with all other rows. It has drifted where its PSI is above
    `max_psi` and its p, adjusted for the number of periods (Benjamini and Hochberg 1995), below 0.01: a small week
    has a large PSI by chance. Prompts are the ten largest clusters that have `min_rows` rows, and the rest.

    Args:
        frame: the rows to be trained on.
        config: the thresholds.
    """
    dated = frame.filter(pl.col("event_ts").is_not_null()).select("event_ts", "label", "group_id")
    if dated.is_empty():
        return [], []
    title, period = period_of(dated)
    dated = dated.select(period.alias("period"), "label", cluster=_top_cluster(dated, config))
    found = {name: _drift(dated, name, config) for name in ("label", "cluster")}
    undated = frame.height - dated.height
    named = zip(("label_drift", "prompt_drift"), ("labels", "prompts"), found.values(), strict=True)
    metrics = [
        _metric(name, what, drift, title.lower(), undated, config) for name, what, drift in named if drift is not None
    ]
    return metrics, _tabulate(found, title)


def _top_cluster(dated: pl.DataFrame, config: AuditConfig) -> pl.Expr:
    """The row's cluster of prompts where it is one of the largest, else null."""
    sizes = dated.group_by("group_id").len().filter(pl.col("len") >= config.min_rows)
    top = sizes.sort(["len", "group_id"], descending=[True, False]).head(_TOP_CLUSTERS)["group_id"]
    return pl.when(pl.col("group_id").is_in(top.implode())).then("group_id")


def _drift(dated: pl.DataFrame, name: str, config: AuditConfig) -> _Drift | None:
    from scipy.stats import false_discovery_control

    wide = (
        dated.group_by("period", name)
        .len()
        .sort("period", name)
        .pivot(on=name, index="period", values="len")
        .fill_null(0)
    )
    wide = wide.sort("period").tail(MOST_PERIODS)
    counts = wide.drop("period").to_numpy().astype(np.int64)
    large = counts.sum(axis=1) >= config.min_rows
    if counts.shape[1] < 2 or len(counts) < 2 or not large.any():
        return None
    indices = [stability_index(row, counts.sum(axis=0) - row) for row in counts[large]]
    p = false_discovery_control([p for _, p in indices])
    periods = wide["period"].filter(pl.Series(large)).to_list()
    return _Drift(periods, counts[large].sum(axis=1).tolist(), [psi for psi, _ in indices], p.tolist())


def _metric(name: str, what: str, drift: _Drift, period: str, undated: int, config: AuditConfig) -> Metric:
    worst, shifted = drift.worst(config.max_psi), drift.shifted(config.max_psi)
    psi, rows = drift.psi[worst], drift.rows[worst]
    meaning = (
        f"{plural(len(shifted), period)} ({', '.join(shifted[:5])}) {agree(len(shifted), 'have')} other {what} than "
        "all the "
        "rest together, by more than chance: what is learnt depends on when it was collected."
        if shifted
        else f"No {period} shifts by more than {number(config.max_psi)} and by more than chance."
    )
    beyond = " beyond chance" if shifted else ""
    without = f" {plural(undated, 'row')} without a time {agree(undated, 'are')} left out." if undated else ""
    return Metric(
        name=name,
        title=f"Drift of {what}",
        value=psi,
        kind="number",
        n=sum(drift.rows),
        severity=warn_if(bool(shifted), min(drift.rows), config),
        sentence=f"Over {plural(len(drift.periods), period)}, the largest PSI of {what}{beyond} is "
        f"{number(psi, config.max_psi)}, in {drift.periods[worst]} ({plural(rows, 'row')}). {meaning}{without}",
        threshold=f"PSI at most {number(config.max_psi)}, beyond chance",
        details={"period": drift.periods[worst], "p": drift.p[worst], "shifted": shifted, "undated": undated},
    )


def _tabulate(found: Mapping[str, _Drift | None], title: str) -> list[Table]:
    known = [drift for drift in found.values() if drift is not None]
    if not known:
        return []
    first = known[0]
    nothing = [(None, None)] * len(first.periods)
    # Both are of the same periods: those with enough rows.
    pairs = [nothing if drift is None else list(zip(drift.psi, drift.p, strict=True)) for drift in found.values()]
    rows = tuple(
        (period, rows, *label, *prompt)
        for period, rows, label, prompt in zip(first.periods, first.rows, *pairs, strict=True)
    )
    columns = (
        Column("period", title, "text"),
        Column("rows", "Rows", "count"),
        Column("label_psi", "PSI of labels", "number"),
        Column("label_p", "p", "number"),
        Column("prompt_psi", "PSI of prompts", "number"),
        Column("prompt_p", "p", "number"),
    )
    note = f"Each {title.lower()} against all others; those of few rows are left out. p is adjusted for their number."
    return [Table("drift", f"Drift by {title.lower()}", columns, rows, note)]
