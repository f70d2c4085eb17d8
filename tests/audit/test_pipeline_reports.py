"""What pipelines are told of an audit: a JUnit file that parses, and annotations that cannot be broken out of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cli.main import thumbline
from feedback.audit import Advice, AuditReport, Metric
from feedback.audit.pipeline_reports import github_annotations, render_junit


def gate(name: str, severity: str, value: float | None = 0.5, sentence: str = "It is half.") -> Metric:
    return Metric(
        name=name,
        title=f"About {name}",
        value=value,
        kind="share",
        n=40,
        severity=severity,  # type: ignore[arg-type]
        sentence=sentence,
        threshold="at most 10%",
    )


REPORT = AuditReport(
    name="votes.jsonl",
    kind="feedback",
    rows={"total": 40},
    metrics=(
        gate("top_rater", "warn"),
        gate("raw_rater_ids", "fail"),
        gate("length_auc", "info", None, "Too few rows."),
        gate("label_ratio", "ok"),
        replace(gate("rater_gini", "info"), threshold=""),
    ),
    advice=(Advice("raw_rater_ids", "Hash them", "They are raw.", "thumbline curate IN"),),
)


def cases(text: str) -> dict[str, ET.Element]:
    root = ET.fromstring(text)
    return {case.attrib["name"]: case for case in root.iter("testcase")}


def test_every_gate_is_a_case_and_only_what_stops_the_run_is_a_failure() -> None:
    found = cases(render_junit(REPORT))
    assert {name: case[0].tag for name, case in found.items()} == {
        "raw_rater_ids": "failure",
        "top_rater": "system-out",
        "length_auc": "skipped",
        "label_ratio": "system-out",
    }
    failure = found["raw_rater_ids"][0]
    assert failure.attrib == {"type": "fail", "message": "About raw_rater_ids: expected at most 10%"}
    assert failure.text == "It is half.\nExpected: at most 10%.\nHash them: thumbline curate IN"
    suite = ET.fromstring(render_junit(REPORT))[0]
    assert {name: suite.attrib[name] for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
    }


def test_a_warning_is_a_failure_where_it_stops_the_run() -> None:
    strict = cases(render_junit(REPORT, "warn"))
    assert [name for name, case in strict.items() if case[0].tag == "failure"] == ["raw_rater_ids", "top_rater"]


def test_annotations_are_of_gates_that_do_not_hold() -> None:
    assert list(github_annotations(REPORT)) == [
        (
            "::error title=About raw_rater_ids (raw_rater_ids)::"
            "It is half.%0AExpected: at most 10%25.%0AHash them: thumbline curate IN"
        ),
        "::warning title=About top_rater (top_rater)::It is half.%0AExpected: at most 10%25.",
    ]


@given(st.text())
def test_no_text_breaks_out_of_either(text: str) -> None:
    """Whatever a name holds: control characters, half surrogates, line ends, markup and commands."""
    report = replace(REPORT, name=text, metrics=(gate("x", "fail", 0.5, text),))
    parsed = ET.fromstring(render_junit(report).encode("utf-8"))
    assert parsed[0].attrib["tests"] == "1"
    (line,) = github_annotations(report)
    assert "\n" not in line
    assert "\r" not in line
    assert line.startswith("::error title=About x (x)::")


def test_the_command_writes_both_and_leaves_stdout_to_json(tmp_path: Path) -> None:
    votes = tmp_path / "votes.jsonl"
    votes.write_text(
        "".join(
            json.dumps({"prompt": f"q{n}", "completion": "a", "label": "up", "user": "u"}) + "\n" for n in range(50)
        )
    )
    junit = tmp_path / "gates.xml"
    ran = CliRunner().invoke(
        thumbline, ["audit", str(votes), "--from", "thumbs", "--json", "--junit", str(junit), "--github"]
    )
    report = json.loads(ran.stdout)
    gates = {metric["name"] for metric in report["metrics"] if metric["threshold"]}
    assert set(cases(junit.read_text("utf-8"))) == gates
    warned = [line for line in ran.stderr.splitlines() if line.startswith("::")]
    assert any("top_rater" in line for line in warned)


@pytest.mark.parametrize("name", ["votes.jsonl", "gates.txt"])
def test_the_junit_file_is_never_written_over_the_input(tmp_path: Path, name: str) -> None:
    (tmp_path / "votes.jsonl").write_text('{"prompt": "q", "completion": "a", "label": "up"}\n')
    ran = CliRunner().invoke(
        thumbline, ["audit", str(tmp_path / "votes.jsonl"), "--from", "thumbs", "--junit", str(tmp_path / name)]
    )
    assert ran.exit_code == 2
    assert ".xml" in ran.output
