"""The gates of an audit as pipelines read them: a JUnit file, and annotations of GitHub Actions.

A gate is a test case. It fails where it stops the run, so a warning fails only under `--fail-on warn`; elsewhere its
sentence is the case's output. A metric without a threshold is no case.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal
from xml.etree import ElementTree as ET

from feedback.audit.report import SEVERITIES, AuditReport, Metric

__all__ = ["github_annotations", "render_junit"]

_SUITE: Final = "thumbline audit"
_NO_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, not even escaped."""
_COMMANDS: Final = {"fail": "error", "warn": "warning"}


def render_junit(report: AuditReport, fail_on: Literal["fail", "warn"] = "fail") -> str:
    """The gates as a JUnit file: one suite, a case for each gate.

    Args:
        report: the audit.
        fail_on: the severity from which a gate is a failure.

    Source: the schema that Jenkins and GitLab read (testsuites, testsuite, testcase, failure, skipped, system-out).
    """
    worst = SEVERITIES.index(fail_on)
    broken = [gate for gate in report.gates if SEVERITIES.index(gate.severity) <= worst]
    counts = {"tests": str(len(report.gates)), "failures": str(len(broken)), "errors": "0"}
    root = ET.Element("testsuites", {"name": _SUITE, **counts})
    skipped = sum(gate.value is None for gate in report.gates)
    suite = ET.SubElement(root, "testsuite", {"name": _xml(report.name), **counts, "skipped": str(skipped)})
    for gate in report.gates:
        case = ET.SubElement(suite, "testcase", {"classname": "thumbline.audit", "name": gate.name, "time": "0"})
        if gate in broken:
            what = {"type": gate.severity, "message": _xml(f"{gate.title}: expected {gate.threshold}")}
            ET.SubElement(case, "failure", what).text = _xml(_said(report, gate))
        elif gate.value is None:
            ET.SubElement(case, "skipped", {"message": _xml(gate.sentence)})
        else:
            ET.SubElement(case, "system-out").text = _xml(f"{gate.severity}: {gate.sentence}")
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def github_annotations(report: AuditReport) -> Iterator[str]:
    """A workflow command for each gate that does not hold: an error where it fails, else a warning.

    Args:
        report: the audit.

    Source: "Workflow commands for GitHub Actions" in GitHub's documentation, for the form and what must be escaped.
    """
    for gate in report.gates:
        command = _COMMANDS.get(gate.severity)
        if command is not None:
            title = _property(f"{gate.title} ({gate.name})")
            yield f"::{command} title={title}::{_data(_said(report, gate))}"


def _said(report: AuditReport, gate: Metric) -> str:
    """The gate's sentence, what was expected, and what can be done."""
    advice = next((item for item in report.advice if item.metric == gate.name), None)
    todo = "" if advice is None else f"\n{advice.title}" + (f": {advice.command}" if advice.command else "")
    return f"{gate.sentence}\nExpected: {gate.threshold}.{todo}"


def _xml(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
