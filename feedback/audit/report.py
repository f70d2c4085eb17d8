"""What an audit says: metrics with their meaning, tables, the waterfall and advice, as plain data.

The report holds everything that the terminal, the JSON and the page show; nothing is computed while rendering. It holds
no text of users: only names of sources and models, made safe to show. Where examples were asked for, they hang on the
report for the page, and never go into its JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from schemas.errors import InputError
from schemas.report import StageReport

__all__ = ["SCHEMA_VERSION", "SEVERITIES", "Advice", "AuditReport", "Column", "Metric", "Severity", "Table"]

SCHEMA_VERSION: Final = 1

_DIGITS: Final = 10
_P_NAME: Final = re.compile("(^|_)p($|_)")
"""Of a p in details and columns: p, p_adjusted, label_p."""

Severity = Literal["fail", "warn", "info", "ok"]
SEVERITIES: Final[tuple[Severity, ...]] = ("fail", "warn", "info", "ok")
"""From worst to best. `fail` stops a pipeline, `warn` is shown first, `info` is context, `ok` is a gate that holds."""

Kind = Literal["text", "count", "share", "number"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured number and what it means.

    Args:
        name: the metric's name, stable across versions.
        title: its name in words.
        value: the number; null where it cannot be computed, and infinity where R has no undesirable row.
        kind: how `value` is read: a share in [0, 1], a count, or a plain number.
        n: cases behind it.
        severity: `fail`, `warn`, `info` or `ok`.
        sentence: what it means, in plain words, with the numbers.
        low: lower bound of its 95% interval, where it is a rate.
        high: upper bound of the same.
        threshold: what it is compared with, in words; empty where it is no gate.
        details: further numbers, JSON values only.
    """

    name: str
    title: str
    value: float | None
    kind: Kind
    n: int
    severity: Severity
    sentence: str
    low: float | None = None
    high: float | None = None
    threshold: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_gate(self) -> bool:
        """Whether the metric is compared with a threshold."""
        return bool(self.threshold)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: key, heading, and how its values are read."""

    name: str
    title: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of numbers to show, or the points of a picture.

    Args:
        name: the table's name, stable across versions.
        title: its heading.
        columns: the columns, in order.
        rows: a tuple of values for each row; null where a value does not exist.
        note: one sentence on how to read it.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Advice:
    """Something to do about a metric.

    Args:
        metric: name of the metric that it is about.
        title: what to do, as a short clause.
        text: what it changes and what it costs, with the arithmetic.
        command: a command to paste; empty where there is none.
    """

    metric: str
    title: str
    text: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Everything that an audit found.

    Args:
        name: what was audited, as it is shown.
        kind: `feedback` (raw files), `candidates` (rows under curation) or `dataset` (a curated dataset).
        rows: rows behind the metrics, by `total`, `desirable`, `undesirable` and, where rows are split, `test`.
        metrics: the metrics, in a fixed order.
        tables: tables to show, in a fixed order.
        series: points of the pictures.
        waterfall: the report of every stage that the rows went through.
        advice: what to do, most urgent first.
        config: the thresholds, as in `AuditConfig`.
        examples: `feedback.audit.examples.Examples`, texts of users for the page, in no JSON; null where none were
            asked for.
    """

    name: str
    kind: str
    rows: Mapping[str, int]
    metrics: tuple[Metric, ...]
    tables: tuple[Table, ...] = ()
    series: tuple[Table, ...] = ()
    waterfall: tuple[StageReport, ...] = ()
    advice: tuple[Advice, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION
    examples: Any = None

    @property
    def gates(self) -> tuple[Metric, ...]:
        """Metrics that have a threshold, worst first."""
        gates = [metric for metric in self.metrics if metric.is_gate]
        return tuple(sorted(gates, key=lambda gate: SEVERITIES.index(gate.severity)))

    @property
    def severity(self) -> Severity:
        """The worst severity of a gate."""
        return self.gates[0].severity if self.gates else "info"

    def metric(self, name: str) -> Metric | None:
        """The metric of that name, or null where this audit has none."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def table(self, name: str) -> Table | None:
        """The table or series of that name, or null where this audit has none."""
        return next((table for table in (*self.tables, *self.series) if table.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """JSON values of this report; an infinite number becomes null and `is_infinite` says so."""
        return {
            "schema_version": self.schema_version,
            "name": self.name,
            "kind": self.kind,
            "severity": self.severity,
            "rows": dict(self.rows),
            "metrics": [_metric_to_dict(metric) for metric in self.metrics],
            "tables": [_table_to_dict(table) for table in self.tables],
            "series": [_table_to_dict(table) for table in self.series],
            "waterfall": [stage.to_dict() for stage in self.waterfall],
            "advice": [asdict(advice) for advice in self.advice],
            "config": dict(self.config),
        }

    def to_json(self) -> str:
        """This report as indented JSON in a fixed order."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> AuditReport:
        """The report that `to_json` wrote.

        Raises:
            InputError: the text is not such a report, or of a version that this one cannot read.
        """
        try:
            values = json.loads(text)
            return cls(
                name=values["name"],
                kind=values["kind"],
                rows=values["rows"],
                metrics=tuple(_metric_from_dict(metric) for metric in values["metrics"]),
                tables=tuple(_table_from_dict(table) for table in values["tables"]),
                series=tuple(_table_from_dict(table) for table in values["series"]),
                waterfall=tuple(StageReport.from_dict(stage) for stage in values["waterfall"]),
                advice=tuple(Advice(**advice) for advice in values["advice"]),
                config=values["config"],
                schema_version=_readable(values["schema_version"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"the text is not an audit report of version {SCHEMA_VERSION} ({error})") from error


def _readable(version: int) -> int:
    if version != SCHEMA_VERSION:
        raise ValueError(f"it is of version {version}")
    return version


def _metric_to_dict(metric: Metric) -> dict[str, Any]:
    values: dict[str, Any] = _rounded(asdict(metric))
    values["is_infinite"] = metric.value is not None and math.isinf(metric.value)
    return values


def _metric_from_dict(values: Mapping[str, Any]) -> Metric:
    known = dict(values)
    if known.pop("is_infinite"):
        known["value"] = math.inf
    return Metric(**known)


def _table_from_dict(values: Mapping[str, Any]) -> Table:
    return Table(
        name=values["name"],
        title=values["title"],
        columns=tuple(Column(**column) for column in values["columns"]),
        rows=tuple(tuple(row) for row in values["rows"]),
        note=values["note"],
    )


def _table_to_dict(table: Table) -> dict[str, Any]:
    values = asdict(table)
    names = [column.name for column in table.columns]
    rows = [[_rounded(value, name) for name, value in zip(names, row, strict=True)] for row in table.rows]
    return {**values, "columns": list(values["columns"]), "rows": rows}


def _rounded(value: Any, name: str = "") -> Any:
    """`value` with floats to 10 digits, so that the order of a sum does not show, and infinite ones as null.

    Of a p the digits are those behind its zeros: 3e-46 is not 0.
    """
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return float(f"{value:.{_DIGITS}g}") if _P_NAME.search(name) else round(value, _DIGITS)
    if isinstance(value, Mapping):
        return {key: _rounded(item, key) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
