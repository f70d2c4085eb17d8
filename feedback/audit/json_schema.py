"""The JSON schema of `AuditReport.to_dict`, made from its dataclasses and their docstrings.

    python -m feedback.audit.json_schema     writes it into the package `schemas`, after a change of the report

Keys may be added to a version; a key that goes or changes its meaning makes a new `SCHEMA_VERSION`.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

import schemas
from feedback.audit.report import SCHEMA_VERSION, SEVERITIES, Advice, AuditReport, Column, Metric, Table
from schemas.manifest import write_last
from schemas.report import LabelCounts, StageReport

__all__ = ["SCHEMA_FILE", "read_report_schema", "report_schema"]

SCHEMA_FILE: Final = "audit-report.schema.json"
"""The file's name, in the package `schemas`."""

_TEXTS: Final = "examples"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_CLASSES: Final = (Advice, AuditReport, Column, LabelCounts, Metric, StageReport, Table)
_ARGUMENT: Final = re.compile(r"^    (\w+): ((?:.+\n?)(?:^ {8}.+\n?)*)", re.MULTILINE)


def report_schema() -> dict[str, Any]:
    """The schema, as JSON values; every key is required, and what a key means is its description."""
    made: dict[str, Any] = TypeAdapter(AuditReport).json_schema(mode="serialization", ref_template="#/$defs/{model}")
    parts: dict[str, Any] = made.pop("$defs")
    parts["AuditReport"] = made
    del made["properties"][_TEXTS]  # texts of users go into no JSON
    for cls in _CLASSES:
        _describe(parts[cls.__name__], cls)
    severity = {"enum": list(SEVERITIES), "type": "string", "description": "The worst severity of a gate."}
    _add(parts["AuditReport"], "severity", severity, after="kind")
    parts["AuditReport"]["properties"]["schema_version"] = {
        "const": SCHEMA_VERSION,
        "description": "Version of this schema.",
    }
    meaning = "Whether the number is infinite, which JSON cannot say; `value` is null then."
    _add(parts["Metric"], "is_infinite", {"type": "boolean", "description": meaning}, after="details")
    report = parts.pop("AuditReport")
    return {"$schema": _DIALECT, **report, "title": "Audit report of thumbline", "$defs": dict(sorted(parts.items()))}


def read_report_schema() -> dict[str, Any]:
    """The schema that was published with this version."""
    schema: dict[str, Any] = json.loads(_path().read_text("utf-8"))
    return schema


def _path() -> Path:
    return Path(schemas.__file__).with_name(SCHEMA_FILE)


def _describe(part: dict[str, Any], cls: type) -> None:
    """Put the first line of the class's docstring, and the line of each field, where a reader of the schema looks."""
    text = inspect.getdoc(cls) or ""
    part["description"] = text.partition("\n")[0]
    for name, meaning in _ARGUMENT.findall(text):
        if name in part["properties"]:
            part["properties"][name]["description"] = " ".join(meaning.split())
    for value in part["properties"].values():
        value.pop("title", None)
        value.pop("default", None)
    part["required"] = list(part["properties"])


def _add(part: dict[str, Any], name: str, schema: dict[str, Any], *, after: str) -> None:
    """A key that `to_dict` makes and no field holds."""
    properties: dict[str, Any] = {}
    for key, value in part["properties"].items():
        properties[key] = value
        if key == after:
            properties[name] = schema
    part["properties"], part["required"] = properties, list(properties)


if __name__ == "__main__":
    write_last(_path(), json.dumps(report_schema(), indent=2, ensure_ascii=False) + "\n")
