"""What is in both inputs: answers that they share, and those whose label is another one."""

from __future__ import annotations

from typing import Final

import polars as pl

from feedback.audit.compare.sides import Side
from feedback.audit.counted import counted_share
from feedback.audit.report import Metric
from feedback.audit.wording import agree, count, none_of, percent, plural

__all__ = ["measure_overlap"]

_ANSWER: Final = ("prompt_key", "completion_key")


def measure_overlap(now: Side, before: Side) -> list[Metric]:
    """The metrics `common_rows` and `flipped_labels`.

    Rows are common where prompt and answer are the same text after normalisation. A label has flipped where all rows
    of an answer are up in one input and all are down in the other.

    Args:
        now: the input.
        before: what it is compared with.
    """
    if now.rows.is_empty() or before.rows.is_empty():
        return []
    mine, theirs = (
        side.rows.group_by(_ANSWER).agg(rows=pl.len(), least=pl.col("label").min(), most=pl.col("label").max())
        for side in (now, before)
    )
    both = mine.join(theirs, on=_ANSWER, how="inner", suffix="_before")
    metrics = [_common(both, now, before)]
    one_label = both.filter((pl.col("least") == pl.col("most")) & (pl.col("least_before") == pl.col("most_before")))
    return metrics + ([_flipped(one_label, both.height, before)] if one_label.height else [])


def _common(both: pl.DataFrame, now: Side, before: Side) -> Metric:
    rows, n = int(both["rows"].sum()), now.rows.height
    rows_before, n_before = int(both["rows_before"].sum()), before.rows.height
    meaning = (
        "Tests take the two as independent, so shared rows hide some of what changed."
        if rows
        else "The two are of different answers."
    )
    return counted_share(
        name="common_rows",
        title="Rows in both",
        cases=rows,
        n=n,
        sentence=f"{percent(rows / n)} of {plural(n, 'row')} ({count(rows)}) {agree(n, 'have')} a prompt and answer "
        "that "
        f"{before.name} has too; of its {plural(n_before, 'row')} that is {percent(rows_before / n_before)}. {meaning}",
        details={"against": before.name, "answers": both.height, "rows": rows, "rows_before": rows_before},
    )


def _flipped(one_label: pl.DataFrame, answers: int, before: Side) -> Metric:
    flips = one_label.filter(pl.col("least") != pl.col("least_before"))
    flipped, n, to_up = flips.height, one_label.height, int(flips["least"].sum())
    told = (
        f"{percent(flipped / n)} of {plural(n, 'answer')} with one label in each ({count(flipped)}) "
        f"{agree(n, 'have')} the other label in {before.name}: {count(to_up)} {agree(to_up, 'are')} up now, "
        f"{count(flipped - to_up)} down."
        if flipped
        else f"{none_of(n, 'answer')} with one label in each has another label in {before.name}."
    )
    torn = answers - n
    more = f" {plural(torn, 'further answer')} {agree(torn, 'carry')} both labels in one of them." if torn else ""
    return counted_share(
        name="flipped_labels",
        title="Labels that flipped",
        cases=flipped,
        n=n,
        sentence=told + more,
        details={"against": before.name, "flipped": flipped, "to_up": to_up, "to_down": flipped - to_up, "torn": torn},
    )
