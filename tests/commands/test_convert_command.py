"""The command convert: what it says of records that it rejects, and how many of them it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.main import run

UP = {"prompt": "q", "completion": "a", "label": "up"}
CASES = [
    "in.jsonl line 2: unknown_label, field 'label' is 'maybe'; expected one of up, down, none, neutral",
    "in.jsonl line 4: missing_field, field 'completion' is absent or null",
]
CONVERT = ("convert", "in.jsonl", "--from", "thumbs", "--to", "trl", "-o", "out.jsonl")


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six records, of which two are rejected, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THUMBLINE_RATER_KEY", "0" * 64)
    records: list[dict[str, Any]] = [UP, {**UP, "label": "maybe"}, UP, {"prompt": "q", "label": "up"}, UP, UP]
    Path("in.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")


def test_what_was_rejected_is_told_with_its_reasons_and_places(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*CONVERT, "--max-rejected-share", "0.5"]) == 0
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        "Quarantined: missing_field 1, unknown_label 1. The first cases are:",
        *(f"  {case}" for case in CASES),
    ]
    assert "2 quarantined" in said.out
    assert "line 2" not in said.out


def test_machines_are_told_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*CONVERT, "--max-rejected-share", "0.5", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["report"]["figures"]
    assert figures["rejected"] == {"missing_field": 1, "unknown_label": 1}
    assert figures["first_cases"] == CASES


def test_nothing_is_said_where_nothing_was_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in.jsonl").write_text(json.dumps(UP), "utf-8")
    assert run([*CONVERT]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("command", "how"),
    [
        (CONVERT, "allow more with --max-rejected-share SHARE."),
        (
            ("curate", "in.jsonl", "--from", "thumbs", "-o", "out"),
            "allow more with ingest.max_rejected_share in a config, or --set ingest.max_rejected_share=SHARE.",
        ),
    ],
    ids=["convert", "curate"],
)
def test_the_error_names_what_the_command_takes_for_a_larger_share(
    command: tuple[str, ...], how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command]) == 3
    said = capsys.readouterr().err
    assert "2 of 6 records (33%) were rejected: missing_field 1, unknown_label 1; expected at most 20%" in said
    assert how in said
    assert CASES[0] in said
    assert not Path(command[-1]).exists()


@pytest.mark.parametrize("share", ["1.5", "-0.1", "some"])
def test_a_share_is_a_number_from_0_to_1(share: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*CONVERT, "--max-rejected-share", share]) == 2
    assert "--max-rejected-share" in capsys.readouterr().err
