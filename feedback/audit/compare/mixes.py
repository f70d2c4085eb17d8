"""Whether the input is made of other labels, prompts, sources, models, raters or languages than the other one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from feedback.audit.compare.change import Change
from feedback.audit.compare.sides import Side
from feedback.audit.config import AuditConfig
from feedback.audit.drift import stability_index
from feedback.audit.raters import shown_rater
from feedback.audit.report import Metric
from feedback.audit.wording import number, percent, plural, safe_name

__all__ = ["compare_mixes"]

_MOST_VALUES: Final = 10
_LEAST_EXPECTED: Final = 5
_OTHERS: Final = "all others together"


@dataclass(frozen=True, slots=True)
class _Mix:
    """A quantity: its column, its words, how a value is shown (null: not at all), and whether a gate holds it."""

    name: str
    what: str
    column: str
    show: Callable[[object], str] | None
    is_gate: bool = False
    is_of_votes: bool = False


_MIXES: Final = (
    _Mix("label_shift", "labels", "label", lambda value: "up" if value else "down", is_gate=True),
    _Mix("prompt_shift", "prompts", "group_id", None, is_gate=True),
    _Mix("source_shift", "sources", "source", lambda value: safe_name(str(value))),
    _Mix("origin_shift", "origins", "origin", lambda value: safe_name(str(value))),
    _Mix("model_shift", "models", "model_id", lambda value: safe_name(str(value))),
    _Mix("language_shift", "languages", "lang", lambda value: safe_name(str(value))),
    _Mix("rater_shift", "raters", "rater_key", lambda value: shown_rater(int(str(value))), is_of_votes=True),
)


def compare_mixes(now: Side, before: Side, config: AuditConfig) -> list[Change]:
    """The PSI of labels, prompts and the like between both inputs, a metric each.

    They are `label_shift`, `prompt_shift`, `source_shift`, `origin_shift`, `model_shift`, `language_shift` and
    `rater_shift`.

    The ten most frequent values that are frequent enough for a test count each, all others as one; unknown values are
    left out. A quantity that has one value, or is not known on a side, is left out. Raters are counted by judgement.

    Args:
        now: the input.
        before: what it is compared with.
        config: the thresholds.

    Source: `feedback.audit.drift.stability_index` for PSI; Pearson's chi-square for p, by scipy.
    """
    return [change for mix in _MIXES for change in _compare(mix, now, before, config)]


def _compare(mix: _Mix, now: Side, before: Side, config: AuditConfig) -> Iterator[Change]:
    from scipy.stats import chi2_contingency

    tables = [side.judged if mix.is_of_votes else side.rows for side in (now, before)]
    if any(mix.column not in table.columns for table in tables):
        return
    values, counts = _counted([table[mix.column].drop_nulls() for table in tables], config)
    n, n_before = (int(side.sum()) for side in counts)
    if len(values) < 2 or not n or not n_before:
        return
    psi, _ = stability_index(counts[0], counts[1])
    p = float(chi2_contingency(counts, correction=False).pvalue)
    gap = counts[0] / n - counts[1] / n_before
    moved = int(np.argmax(np.abs(gap)))
    shares = float(counts[0][moved] / n), float(counts[1][moved] / n_before)
    shown = _OTHERS if values[moved] is None else _show(mix, values[moved])
    moves = f"{shown} moved most, from {percent(shares[1])} to {percent(shares[0])}" if gap.any() else "no share moved"
    metric = Metric(
        name=mix.name,
        title=f"Shift of {mix.what}",
        value=psi,
        kind="number",
        n=n + n_before,
        severity="info",
        sentence=f"The PSI of {mix.what} against {before.name} is {number(psi, config.max_psi)} over "
        f"{plural(len(values), 'value')}; {moves}",
        details={"values": len(values), "n_before": n_before},
    )
    most = config.max_psi if mix.is_gate else None
    meaning = f"the two are of other {mix.what}" if psi > config.max_psi else "a shift that is sure, and small"
    yield Change(metric, min(n, n_before), p, meaning, most)


def _show(mix: _Mix, value: object) -> str:
    return "one prompt" if mix.show is None else mix.show(value)


def _counted(sides: list[pl.Series], config: AuditConfig) -> tuple[list[object], np.ndarray]:
    """The values that are counted apart, null standing for all others, and how often each is in both. [2, values]."""
    counted = [side.rename("value").to_frame().group_by("value").len(f"n{place}") for place, side in enumerate(sides)]
    both = counted[0].join(counted[1], on="value", how="full", coalesce=True).fill_null(0)
    both = both.with_columns(n=pl.col("n0") + pl.col("n1")).sort(["n", "value"], descending=[True, False])
    smaller = min(side.len() for side in sides)
    # Fewer cases of a value than this, and chi-square is not the distribution of the statistic any more.
    least = max(config.min_rows, _LEAST_EXPECTED * int(both["n"].sum()) / max(1, smaller)) if both.height > 2 else 0
    apart = min(_MOST_VALUES, both.filter(pl.col("n") >= least).height)
    rest = int(both[apart:]["n"].sum())
    if 0 < rest < least and apart:
        apart -= 1
    table = both.select("n0", "n1").to_numpy().astype(np.int64).T
    values: list[object] = both["value"][:apart].to_list()
    if apart == both.height:
        return values, table
    return [*values, None], np.concatenate([table[:, :apart], table[:, apart:].sum(axis=1, keepdims=True)], axis=1)
