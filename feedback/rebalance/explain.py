"""The arithmetic of a finished `rebalance`, step by step, with the rows that it left out.

All of it is read from the dataset's folder, so it tells of what was done, not of what a second calculation would do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import polars as pl

from feedback.engine import written_whole
from feedback.rebalance.notes import in_words, shown
from feedback.rebalance.ratio import exact_fraction
from schemas.errors import InputError, OutputExistsError
from schemas.manifest import Manifest
from schemas.paths import AnyPath, path_of

__all__ = ["RebalanceExplanation", "StratumLine", "explain_rebalance", "write_dropped"]

_COLUMNS: Final = ("row_id", "text_id", "source", "label", "drop_reason")
_WRITERS: Final[Mapping[str, Callable[[pl.DataFrame, Path], None]]] = {
    ".parquet": lambda frame, path: frame.write_parquet(path),
    ".csv": lambda frame, path: frame.write_csv(path),
    ".jsonl": lambda frame, path: frame.write_ndjson(path),
}


@dataclass(frozen=True, slots=True)
class StratumLine:
    """One stratum: its label and name, its rows, its exact share of the rows kept, and the rows that it keeps."""

    label: str
    name: str
    rows: int
    share: float
    kept: int


@dataclass(frozen=True, slots=True)
class RebalanceExplanation:
    """What the last `rebalance` of a dataset did.

    Args:
        steps: the arithmetic, a sentence each; a line of a formula begins with two spaces.
        strata: the largest strata.
        other_strata: strata that are not listed.
        dropped: rows left out: `row_id`, `text_id`, `source`, `label`, `drop_reason`, sorted by `row_id`.
        files: the tables of the dataset that hold them.
        figures: the figures of the stage's report.
    """

    steps: tuple[str, ...]
    strata: tuple[StratumLine, ...]
    other_strata: int
    dropped: pl.DataFrame
    files: tuple[Path, ...]
    figures: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """JSON values, with the id of every row left out, by reason."""
        ids = self.dropped.group_by("drop_reason", maintain_order=True).agg("row_id").sort("drop_reason")
        return {
            "steps": [step.strip() for step in self.steps],
            "figures": dict(self.figures),
            "dropped": dict(ids.iter_rows()),
        }


def explain_rebalance(folder: AnyPath) -> RebalanceExplanation:
    """The arithmetic of the last `rebalance` of a dataset, and the rows that it left out.

    Args:
        folder: the dataset's folder.

    Raises:
        InputNotFoundError: the folder holds no dataset.
        InputError: its last `rebalance` was by a version that did not note its strata.
    """
    folder = path_of(folder, name="folder")
    report = [stage for stage in Manifest.read(folder).stages if stage.stage == "rebalance"][-1]
    if "strata" not in report.figures:
        raise InputError("the dataset does not say how it was rebalanced", where=folder, todo="Make it again")
    figures, config = report.figures, report.config
    files = tuple(sorted((folder / "stages" / "rebalance").glob("dropped-*.parquet")))
    dropped = pl.concat([pl.read_parquet(path, columns=list(_COLUMNS), glob=False) for path in files]).select(_COLUMNS)
    lines = tuple(_stratum_line(line, figures, config) for line in figures["strata"]["largest"])
    return RebalanceExplanation(
        tuple(_steps(figures, config)),
        lines,
        sum(figures["strata"]["count"].values()) - len(lines),
        dropped.sort("row_id"),
        files,
        figures,
    )


def write_dropped(explanation: RebalanceExplanation, path: AnyPath, *, overwrite: bool = False) -> None:
    """Write the rows left out into a file: `.jsonl`, `.csv` or `.parquet`.

    Raises:
        InputError: the file's name ends otherwise.
        OutputExistsError: the file is there and `overwrite` is not set.
    """
    path = path_of(path)
    write = _WRITERS.get(path.suffix)
    if write is None:
        raise InputError(
            "the kind of file is unknown", where=path, expected=f"a name that ends in {', '.join(_WRITERS)}"
        )
    if path.exists() and not overwrite:
        raise OutputExistsError("the file is there already", where=path, todo="Name another file, or use --overwrite")
    with written_whole(path) as partial:
        write(explanation.dropped, partial)


def _steps(figures: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    before, start, after = (figures[name] for name in ("before", "start", "after"))
    wanted = _range(config)
    steps = [f"In the train split: {_rows(before)}.", f"R before = {_quotient(before)}, wanted {wanted}."]
    alone, capped = figures["one_per_prompt"], _capped(figures)
    if config["one_per_prompt"]:
        steps.append(
            f"One row for each prompt: {alone['desirable']:,} desirable and {alone['undesirable']:,} undesirable rows "
            "left out."
        )
    if any(capped.values()):
        steps.append(
            f"The cap on the share of one rater, of these: {capped['desirable']:,} desirable and "
            f"{capped['undesirable']:,} undesirable rows left out."
        )
    if config["keep_desirable_share"] < 1:
        had = before["desirable"] - alone["desirable"] - capped["desirable"]
        share = shown(exact_fraction(config["keep_desirable_share"]))
        steps += [
            "The share of desirable rows to keep:",
            f"  ceil(keep_desirable_share x rows) = ceil({share} x {had:,}) = {start['desirable']:,}",
        ]
    if start != before:
        steps.append(f"R then = {_quotient(start)}.")
    steps += _on_mode(start, after, config)
    return [*steps, f"Out: {_rows(after)}.", f"R after = {_quotient(after)}."]


def _on_mode(start: Mapping[str, Any], after: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    if config["mode"] == "off":
        return ["The mode is off: nothing is done about R."]
    if start == after:
        return ["R is where it is wanted: no row is left out and no weight is raised."]
    label = "desirable" if start["ratio"] > config["high"] else "undesirable"
    edge = "above the range" if label == "desirable" else "below the range"
    steps = [f"R is {edge}."]
    if config["mode"] != "reweight":
        steps += _on_rows(label, start, after, config)
    for name in ("desirable", "undesirable"):
        if after[f"{name}_weight"] > start[f"{name}_weight"]:
            steps += _on_weights(name, after, config)
    return steps


def _on_rows(label: str, start: Mapping[str, Any], after: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """The formula for the number of rows, with its numbers put in."""
    up, down = _number(start["desirable_weight"]), _number(start["undesirable_weight"])
    if label == "desirable":
        bound = f"{_number(config['high'])} x {down} x {_number(start['undesirable_sum'])} / {up}"
        formula = "high x lambda_U x n_U / lambda_D"
    else:
        bound = f"{up} x {_number(start['desirable_sum'])} / ({_number(config['low'])} x {down})"
        formula = "lambda_D x n_D / (low x lambda_U)"
    rounding = "ceil" if label == "desirable" and config["low"] == config["high"] else "floor"
    forms = (f"{rounding}({formula})", f"{rounding}({bound})")
    if config["mode"] == "both":
        least = shown(exact_fraction(config["min_keep_share"]))
        forms = (f"max({forms[0]}, ceil(min_keep_share x rows))", f"max({forms[1]}, ceil({least} x {start[label]:,}))")
    is_plain = start[f"{label}_sum"] == start[label]
    meaning = "" if is_plain else " as many, in order, as weigh no more than this, not rounded:"
    stratum = f"stratum ({in_words(config['strata'])})" if config["strata"] else "stratum"
    share = f"{after[label]:,} / {start[label]:,} = {after[label] / start[label]:.2%}"
    evenly = (
        f"Each {stratum} keeps {share} of them, rounded "
        f"down or up so that the sum is k; which ones, a hash of the row's id and the seed {config['seed']} decides."
    )
    return [
        f"Rows that stay of the {start[label]:,} {label} ones, k:{meaning}",
        f"  k = {forms[0]}",
        f"    = {forms[1]}",
        f"    = {after[label]:,}" if is_plain else f"    -> {after[label]:,} rows",
        evenly,
    ]


def _on_weights(name: str, after: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    if name == "undesirable":
        formula = "lambda_U = lambda_D x n_D / (high x n_U)"
        numbers = (after["desirable_weight"], after["desirable_sum"], config["high"], after["undesirable_sum"])
    else:
        formula = "lambda_D = low x lambda_U x n_U / n_D"
        numbers = (config["low"], after["undesirable_weight"], after["undesirable_sum"], after["desirable_sum"])
    one, two, three, four = (_number(value) for value in numbers)
    filled = f"{one} x {two} / ({three} x {four})" if name == "undesirable" else f"{one} x {two} x {three} / {four}"
    return [f"The weight of {name} rows:", f"  {formula}", f"    = {filled} = {after[f'{name}_weight']:.6f}"]


def _stratum_line(line: Mapping[str, Any], figures: Mapping[str, Any], config: Mapping[str, Any]) -> StratumLine:
    label = line["label"]
    alone, capped = figures["one_per_prompt"][label], _capped(figures)[label]
    total = figures["before"][label] - alone - capped
    if "capped_rater" in line:
        name = f"a rater near the cap, no. {line['capped_rater']}"
    else:
        name = ", ".join("none" if line[key] is None else line[key] for key in config["strata"]) or "all"
    return StratumLine(label, name, line["rows"], line["rows"] * figures["after"][label] / total, line["kept"])


def _capped(figures: Mapping[str, Any]) -> Mapping[str, int]:
    """Rows of each label left out for the share of a rater, of whom earlier versions left out none."""
    capped: Mapping[str, int] = figures.get("rater_cap", {"desirable": 0, "undesirable": 0})
    return capped


def _rows(counts: Mapping[str, Any]) -> str:
    texts = []
    for label in ("desirable", "undesirable"):
        weighs = "" if counts[f"{label}_sum"] == counts[label] else f" that weigh {counts[f'{label}_sum']:,.6g}"
        texts.append(f"{counts[label]:,} {label}{weighs}")
    return " and ".join(texts) + " rows"


def _quotient(counts: Mapping[str, Any]) -> str:
    up = f"{counts['desirable_weight']:.6g} x {_number(counts['desirable_sum'])}"
    down = f"{counts['undesirable_weight']:.6g} x {_number(counts['undesirable_sum'])}"
    value = "undefined" if counts["ratio"] is None else f"{counts['ratio']:.4f}"
    return f"{up} / ({down}) = {value}"


def _range(config: Mapping[str, Any]) -> str:
    low, high = (_number(config[name]) for name in ("low", "high"))
    return f"at least {low} and less than a row above" if low == high else f"in [{low}, {high}]"


def _number(value: float) -> str:
    simple = exact_fraction(value) if value else Fraction(0)
    return f"{value:,.0f}" if simple.denominator == 1 else shown(simple)
