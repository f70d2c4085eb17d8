"""The published JSON schema: what the code makes, shipped, and true of reports of every kind."""

from __future__ import annotations

import json
import tomllib
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from cli.main import run
from feedback.audit import AuditReport, audit_candidates
from feedback.audit.json_schema import SCHEMA_FILE, read_report_schema, report_schema
from feedback.audit.report import SCHEMA_VERSION
from feedback.audit.sources import audit, audit_against
from feedback.pipeline import curate, default_config
from tests.audit_rows import many, pair, table

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "sample_data"


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, AuditReport]:
    """Of thumbs, pairs, a chat export, a dataset, a comparison, rows under curation, one label, and nothing."""
    thumbs, pairs = SAMPLE / "thumbs.jsonl", SAMPLE / "pairs.jsonl"
    folder = curate(default_config([thumbs], "thumbs"), tmp_path_factory.mktemp("schema") / "dataset").folder
    compared = [row for number in range(40) for row in pair(number, "a", "b", prompt=str(number))]
    return {
        "thumbs": audit([thumbs], source_format="thumbs"),
        "pairs": audit([pairs], source_format="trl"),
        "export": audit([SAMPLE / "open_webui.json"], source_format="open_webui"),
        "dataset": audit([folder]),
        "against": audit_against([folder], thumbs, source_format="thumbs")[0],
        "candidates": audit_candidates(table(*compared)),
        "one label": audit_candidates(table(*many(30, 0))),
        "nothing": audit_candidates(table()),
    }


def test_published_schema_is_what_the_code_makes() -> None:
    """After a change of the report: python -m feedback.audit.json_schema"""
    text = (ROOT / "schemas" / SCHEMA_FILE).read_text("utf-8")
    assert text == json.dumps(report_schema(), indent=2, ensure_ascii=False) + "\n"


def test_schema_is_one_names_its_version_and_no_place() -> None:
    schema = read_report_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["properties"]["schema_version"]["const"] == SCHEMA_VERSION
    assert "$id" not in schema


def test_schema_is_shipped() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["schemas"]
    assert any(fnmatch(SCHEMA_FILE, pattern) for pattern in patterns)
    assert json.loads(files("schemas").joinpath(SCHEMA_FILE).read_text("utf-8")) == read_report_schema()


def test_reports_of_every_kind_hold_to_the_schema(reports: dict[str, AuditReport]) -> None:
    validator = Draft202012Validator(read_report_schema())
    for name, report in reports.items():
        errors = [f"{name}: {error.json_path}: {error.message}" for error in validator.iter_errors(report.to_dict())]
        assert errors == []


def test_schema_names_every_key_that_a_report_has(reports: dict[str, AuditReport]) -> None:
    """So a key that is added to the report is added to the schema."""
    schema = read_report_schema()
    parts = schema["$defs"]
    for report in reports.values():
        values: dict[str, Any] = json.loads(report.to_json())
        assert set(values) == set(schema["properties"])
        for key, part in (
            ("metrics", "Metric"),
            ("tables", "Table"),
            ("series", "Table"),
            ("waterfall", "StageReport"),
        ):
            for item in values[key]:
                assert set(item) == set(parts[part]["properties"]), key
        for item in values["advice"]:
            assert set(item) == set(parts["Advice"]["properties"])


def test_every_key_says_what_it_means() -> None:
    schema = read_report_schema()
    for name in ("Advice", "Metric", "StageReport", "Table"):
        for key, value in schema["$defs"][name]["properties"].items():
            assert value.get("description"), f"{name}.{key}"
    assert schema["$defs"]["Metric"]["properties"]["low"]["description"] == (
        "lower bound of its 95% interval, where it is a rate."
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("severity",), "bad"),
        (("schema_version",), 2),
        (("metrics", 0, "kind"), "percent"),
        (("metrics", 0, "value"), "many"),
        (("metrics", 0, "is_infinite"), None),
        (("rows", "total"), 1.5),
        (("waterfall", 0, "rows_in"), "all"),
    ],
)
def test_what_is_no_report_is_refused(
    reports: dict[str, AuditReport], path: tuple[str | int, ...], value: object
) -> None:
    values = json.loads(reports["thumbs"].to_json())
    place = values
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(ValidationError):
        Draft202012Validator(read_report_schema()).validate(values)


def test_report_without_a_key_is_refused(reports: dict[str, AuditReport]) -> None:
    values = reports["thumbs"].to_dict()
    del values["advice"]
    with pytest.raises(ValidationError, match="'advice' is a required property"):
        Draft202012Validator(read_report_schema()).validate(values)


def test_json_of_the_command_holds_to_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", str(SAMPLE / "thumbs.jsonl"), "--from", "thumbs", "--json"]) == 0
    Draft202012Validator(read_report_schema()).validate(json.loads(capsys.readouterr().out))
