"""Tables as the page shows them: cells as text, with the number behind each to sort by."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

from feedback.audit.report import Column, Metric, Table
from feedback.audit.wording import count, number, percent

__all__ = ["Cell", "Heading", "Sheet", "shown_measure", "shown_table", "shown_value"]

_INTERVAL: Final = ("low", "high")
_THRESHOLD: Final = re.compile(r"(\d[\d,]*(?:\.\d+)?)(%?)")
_SHORT: Final = 20
"""Characters of a name that is not broken."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading: its text, how its column is sorted (`number`, `text` or not at all), and the class of its cells."""

    text: str
    sort: str
    style: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell: its text, the number to sort by where it has one, and its class."""

    text: str
    value: str | None
    style: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table to show: headings and rows; `rest` is the number of the row of all others, -1 where there is none."""

    headings: tuple[Heading, ...]
    rows: tuple[tuple[Cell, ...], ...]
    rest: int


def shown_table(table: Table) -> Sheet:
    """The table with both ends of an interval in one column, and without columns that hold nothing."""
    names = [column.name for column in table.columns]
    places = [
        place
        for place, name in enumerate(names)
        if place == 0 or not table.rows or any(row[place] is not None for row in table.rows)
    ]
    pairs = {place for place in places if tuple(names[place : place + 2]) == _INTERVAL and place + 1 in places}
    places = [place for place in places if place - 1 not in pairs]
    headings = [
        Heading("95% interval", "number", "n") if place in pairs else _heading(table.columns[place]) for place in places
    ]
    rows = [tuple(_cell(table.columns[place], row, place, place in pairs) for place in places) for row in table.rows]
    rest = next((place for place, row in enumerate(table.rows) if row[0] == "(others)"), -1)
    return Sheet(tuple(headings), tuple(rows), rest)


def shown_value(value: Any, kind: str) -> str:
    """A value in words.

    >>> shown_value(0.853, "share"), shown_value(4120, "count"), shown_value(None, "number")
    ('85%', '4,120', '–')
    """
    if value is None:
        return "–"
    if kind == "text":
        return str(value)
    if kind == "share":
        return percent(value)
    if kind == "count" and not math.isinf(value):
        return count(int(value))
    return number(value)


def shown_measure(metric: Metric) -> str:
    """A metric's value in words; where it is out of its range, with the digits that tell it from the range's ends.

    >>> from dataclasses import replace
    >>> metric = Metric("m", "M", 0.101, "share", 990, "warn", "A sentence.", threshold="at most 10%")
    >>> shown_measure(metric), shown_measure(replace(metric, severity="ok"))
    ('10.1%', '10%')
    """
    if metric.severity not in ("fail", "warn") or metric.value is None or metric.kind == "count":
        return shown_value(metric.value, metric.kind)
    found = _THRESHOLD.findall(metric.threshold)
    bounds = [float(digits.replace(",", "")) / (100 if sign else 1) for digits, sign in found]
    return percent(metric.value, *bounds) if metric.kind == "share" else number(metric.value, *bounds)


def _heading(column: Column) -> Heading:
    if column.kind != "text":
        return Heading(column.title, "number", "n")
    return Heading(column.title, "" if column.name == "meaning" else "text", "")


def _cell(column: Column, row: tuple[Any, ...], place: int, is_interval: bool) -> Cell:
    value = row[place]
    if is_interval and value is not None:
        return Cell(f"{percent(value)} to {percent(row[place + 1])}", _sort_value(value), "n")
    text = shown_value(value, column.kind)
    if column.kind != "text":
        return Cell(text, None if value is None else _sort_value(value), "n")
    return Cell(text, None, "words" if column.name == "meaning" else "short" if len(text) <= _SHORT else "")


def _sort_value(value: float) -> str:
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    # Eight digits: those of a stored report are the same.
    return str(value) if isinstance(value, int) else f"{value:.8g}"
