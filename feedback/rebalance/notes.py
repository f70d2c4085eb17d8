"""What `rebalance` did, in sentences and in figures that follow from its plans alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from fractions import Fraction
from typing import Any, Final

import polars as pl

from feedback.config import RebalanceConfig
from feedback.rebalance.ratio import RatioPlan
from feedback.rebalance.strata import CAPPED
from feedback.stage import counted

__all__ = [
    "balance_figures",
    "balance_notes",
    "in_words",
    "ratio_in_words",
    "shown",
    "strata_figures",
    "wanted_in_words",
]

_STRATA_IN_REPORT: Final = 100
_FIRST_MONDAY: Final = date(1970, 1, 5)
_LARGEST_SHOWN_DENOMINATOR: Final = 99


def balance_figures(before: RatioPlan, start: RatioPlan, after: RatioPlan) -> dict[str, Any]:
    """Counts, weights and R of the train split as it came, of the rows that the ratio is made from, and in the end."""
    return {
        "before": _counts(before),
        "start": _counts(start),
        "after": _counts(after),
        "low": float(after.low),
        "high": float(after.high),
    }


def balance_notes(
    before: RatioPlan,
    start: RatioPlan,
    after: RatioPlan,
    config: RebalanceConfig,
    left_out: Mapping[str, Mapping[str, int]],
    lines: pl.DataFrame,
    notes_on_raters: Sequence[str] = (),
) -> list[str]:
    """What was done, a sentence each.

    Args:
        before: the train split as it came.
        start: the rows that the ratio is made from: one for each prompt, of no rater more than the cap, and a share of
            the desirable ones, if asked.
        after: what stays.
        config: the settings.
        left_out: rows of each label left out before R is looked at: since their prompt has another one, and since a
            rater would be behind too many of what is left.
        lines: `label`, `capped_rater`, the columns of the strata, `rows` and `kept`. [S].
        notes_on_raters: what is said of the latter.
    """
    alone = left_out["one_per_prompt"]
    notes = [f"Before: {ratio_in_words(before)}, wanted {wanted_in_words(config)}."]
    if config.one_per_prompt:
        notes.append(
            f"{counted(sum(alone.values()), 'row')} of the train split left out so that each prompt has one: "
            f"{alone['desirable']:,} desirable and {alone['undesirable']:,} undesirable."
        )
    notes += notes_on_raters
    if config.keep_desirable_share < 1:
        had = before.desirable - sum(rows["desirable"] for rows in left_out.values())
        notes.append(
            f"{start.desirable:,} of {counted(had, 'desirable row')} kept before R is looked at: keep_desirable_share "
            f"is {config.keep_desirable_share:.6g}."
        )
    if start == after:
        notes.append(
            "R is left as it is: the mode is off."
            if config.mode == "off"
            else "Nothing left out and no weight raised: R is where it is wanted."
        )
    else:
        notes += [*_on_rows(start, after, config), *_on_weights(start, after)]
    if before != after:
        notes.append(f"After: {ratio_in_words(after)}.")
    cut = lines.filter(pl.col("kept") < pl.col("rows"))
    empty = [name for name in config.strata if cut.height and lines[name].null_count() == lines.height]
    if empty:
        notes.append(f"No row tells its {in_words(empty)}, so nothing is spread over it.")
    if capped := cut[CAPPED].drop_nulls().n_unique():
        notes.append(
            f"Rows of {counted(capped, 'rater')} near the cap of influence are left out by themselves, so that the "
            "raters' share does not rise."
        )
    return notes + _on_meaning(after, config)


def ratio_in_words(plan: RatioPlan) -> str:
    """`R = 1 x 12 desirable / (1 x 10 undesirable) = 1.2000`."""
    up = f"{float(plan.desirable_weight):.6g} x {_amount(plan.desirable, plan.desirable_mass)} desirable"
    down = f"{float(plan.undesirable_weight):.6g} x {_amount(plan.undesirable, plan.undesirable_mass)} undesirable"
    value = "undefined" if plan.value is None else f"{float(plan.value):.4f}"
    return f"R = {up} / ({down}) = {value}"


def wanted_in_words(config: RebalanceConfig) -> str:
    """The range of a config."""
    if config.low == config.high:
        return f"at least {config.low:.6g} and less than a row above"
    return f"in [{config.low:.6g}, {config.high:.6g}]"


def in_words(names: Sequence[str]) -> str:
    """Names as a list in a sentence.

    >>> in_words(["source", "model", "week"])
    'source, model and week'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def shown(value: Fraction) -> str:
    """A number as people write it: a simple fraction, or six digits.

    >>> shown(Fraction(4, 3)), shown(Fraction(5, 4)), shown(Fraction(2)), shown(Fraction(1234, 999))
    ('4/3', '5/4', '2', '1.23524')
    """
    return str(value) if value.denominator <= _LARGEST_SHOWN_DENOMINATOR else f"{float(value):.6g}"


def strata_figures(lines: pl.DataFrame, config: RebalanceConfig) -> dict[str, Any]:
    """How many strata there are, and the largest with their rows; capped raters are numbered, not named.

    Args:
        lines: `label`, `capped_rater`, the columns of the strata, `rows` and `kept`. [S].
        config: the settings.
    """
    count = {"desirable": int(lines["label"].sum()), "undesirable": int((~lines["label"]).sum())}
    by = ["rows", "kept", "label", CAPPED, *config.strata]
    largest = lines.sort(by, descending=[True, True, True, *[False] * (len(by) - 3)]).head(_STRATA_IN_REPORT)
    numbers: dict[int, int] = {}
    described = []
    for row in largest.iter_rows(named=True):
        values = {"label": "desirable" if row["label"] else "undesirable", "rows": row["rows"], "kept": row["kept"]}
        if row[CAPPED] is not None:
            values[CAPPED] = numbers.setdefault(row[CAPPED], len(numbers) + 1)
        else:
            values |= {name: _stratum_value(name, row[name]) for name in config.strata}
        described.append(values)
    return {"count": count, "largest": described}


def _counts(plan: RatioPlan) -> dict[str, Any]:
    return {
        "desirable": plan.desirable,
        "undesirable": plan.undesirable,
        "desirable_sum": float(plan.desirable_mass),
        "undesirable_sum": float(plan.undesirable_mass),
        "desirable_weight": float(plan.desirable_weight),
        "undesirable_weight": float(plan.undesirable_weight),
        "ratio": None if plan.value is None else float(plan.value),
    }


def _amount(rows: int, mass: Fraction) -> str:
    return f"{rows:,}" if mass == rows else f"{float(mass):,.6g} (the weights of {rows:,})"


def _on_rows(start: RatioPlan, after: RatioPlan, config: RebalanceConfig) -> list[str]:
    pairs = (
        ("desirable", start.desirable, after.desirable, "undesirable", after.undesirable),
        ("undesirable", start.undesirable, after.undesirable, "desirable", after.desirable),
    )
    evenly = f", the same share of every {in_words(config.strata)}" if config.strata else ""
    return [
        f"{had - has:,} of {counted(had, label + ' row')} of the train split left out ({(had - has) / had:.1%}){evenly}"
        f"; {others:,} {other} kept."
        for label, had, has, other, others in pairs
        if has < had
    ]


def _on_weights(start: RatioPlan, after: RatioPlan) -> list[str]:
    pairs = (
        ("desirable", start.desirable_weight, after.desirable_weight),
        ("undesirable", start.undesirable_weight, after.undesirable_weight),
    )
    return [
        f"The weight of {label} rows raised from {float(had):.6g} to {float(has):.6g}."
        for label, had, has in pairs
        if has > had
    ]


def _on_meaning(after: RatioPlan, config: RebalanceConfig) -> list[str]:
    notes = []
    if config.low < 1 and config.mode != "off":
        notes.append("The range allows R below 1, which weighs avoiding bad answers over giving good ones.")
    if after.desirable_weight != 1 or after.undesirable_weight != 1:
        is_plain = after.desirable_mass == after.desirable and after.undesirable_mass == after.undesirable
        notes.append(
            f"The column weight of the train split is {'' if is_plain else 'multiplied by '}"
            f"{float(after.desirable_weight):.6g} for desirable and "
            f"{float(after.undesirable_weight):.6g} for undesirable rows. It multiplies the loss of a row, so the "
            "weights of the objective itself stay 1."
        )
    return notes


def _stratum_value(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if name == "week":
        return (_FIRST_MONDAY + timedelta(weeks=value)).isoformat()
    return f"{value:016x}" if name == "cluster" else str(value)
