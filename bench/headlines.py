"""The few figures of all results that a reader wants first, as one table for the README."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

__all__ = ["headline_rows", "headlines"]

Result = Mapping[str, Any]
Row = tuple[str, str, str]
"""What was done, what thumbline took for it, and what others did."""

_SLOW_FROM: Final = 10.0
_OURS: Final = "thumbline"


def headlines(results: Mapping[str, Result]) -> str:
    """The table, with how many promises are reached and where it was measured, as Markdown.

    Args:
        results: what is in `bench/results`, by part; parts without a result have no row.
    """
    lines = ["| | thumbline | beside it |", "|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in headline_rows(results)]
    targets = [target for result in results.values() for target in result.get("targets", ())]
    reached = sum(target["is_met"] for target in targets)
    days = sorted(str(result["date"]) for result in results.values() if "date" in result)
    machines = sorted({str(result["machine"]) for result in results.values()})
    when = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    end = f"Of {len(targets)} promises {reached} are reached. {when}, {'; '.join(machines)}."
    return "\n".join([*lines, "", end])


def headline_rows(results: Mapping[str, Result]) -> list[Row]:
    """The rows of the table, in the order in which feedback goes through the stages."""
    return [row for part, rows in _ROWS.items() if part in results for row in rows(results[part])]


def _curate(result: Result) -> Iterator[Row]:
    rows = {row["name"]: row for row in result["table"]}
    ours = rows.pop(_OURS)
    others = ", ".join(f"{name} {_seconds(row)}" for name, row in rows.items() if "convmerge dedupe" not in name)
    yield f"`curate`, {result['rows']:,} votes", f"{_seconds(ours)}, {ours['peak_mib']:,} MiB", others


def _near(result: Result) -> Iterator[Row]:
    rows = [row for row in result["table"] if row["pair_recall"] is not None]
    figures = {row["name"]: f"{row['pair_precision']:.4f} and {row['pair_recall']:.4f}" for row in rows}
    ours = figures.pop(_OURS)
    others = ", ".join(f"{name} {figure}" for name, figure in figures.items())
    yield "near-duplicate pairs: precision and recall", ours, others


def _scale(result: Result) -> Iterator[Row]:
    row = max(result["table"], key=lambda one: int(one["rows"]))
    ours = f"{_seconds(row)}, {row['peak_mib']:,} MiB"
    yield f"`curate`, {row['rows']:,} votes", ours, f"a bare copy by polars {row['floor_seconds']:.0f} s"


def _readers(result: Result) -> Iterator[Row]:
    shares = [row["share_of_floor"] for row in result["table"]]
    half = f"{sum(row['is_met'] for row in result['table'])} of {len(shares)} at half of its speed or more"
    middle = f"{half}, the median at {statistics.median(shares):.2f} of it"
    yield f"{len(shares)} shapes of records read and validated", middle, "a bare copy by polars"


def _store(result: Result) -> Iterator[Row]:
    floor, ours, night = result["table"]
    size = f"{ours['peak_mib']:,} MiB"
    yield f"`ingest`, {result['rows']:,} votes", f"{_seconds(ours)}, {size}", f"a bare copy {_seconds(floor)}"
    what = f"`ingest`, {result['nightly']:,} votes into a store of {result['stored']:,}"
    yield what, f"{_seconds(night)}, {night['peak_mib']:,} MiB", ""


def _audit(result: Result) -> Iterator[Row]:
    read, ours = result["table"]
    what = f"`audit`, {result['rows']:,} votes"
    yield what, f"{_seconds(ours)}, {ours['peak_mib']:,} MiB", f"a bare read {_seconds(read)}"


def _audit_power(result: Result) -> Iterator[Row]:
    seen = min(row["hits_share"] for row in result["table"])
    alarms = max(row["alarms_share"] for row in result["table"])
    what = f"`audit`: {len(result['table'])} planted faults, {result['draws']} draws of each"
    yield what, f"seen in {seen:.0%} or more, false alarms in {alarms:.0%} at most", ""


def _train(result: Result) -> Iterator[Row]:
    theirs = f"TRL {result['versions'].get('trl', '')}".rstrip()
    for row in result["table"]:
        if "ours" in row and "trl" in row:
            ours, trl = (
                f"{row[side]['examples_per_second']:.2f} examples/s, {row[side]['peak_mib']:,} MiB"
                for side in ("ours", "trl")
            )
            yield f"{row['title']}, {row['dtype']}", ours, f"{theirs}: {trl}"


def _seconds(row: Mapping[str, Any]) -> str:
    seconds = float(row["seconds"])
    return f"{seconds:.0f} s" if seconds >= _SLOW_FROM else f"{seconds:.1f} s"


_ROWS: Final[dict[str, Callable[[Result], Iterator[Row]]]] = {
    "curate": _curate,
    "scale": _scale,
    "near": _near,
    "readers": _readers,
    "store": _store,
    "audit": _audit,
    "audit_power": _audit_power,
    "train": _train,
}
