"""What the audit advises can be pasted: every command runs, and does what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.main import run
from feedback.audit import Metric
from feedback.audit.remedies import REMEDIES
from feedback.audit.sources import audit
from schemas.manifest import Manifest
from tests.command_files import write_pairs, write_votes


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: None) -> Path:
    """Commands run in a folder of their own, with a key and a cache of the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THUMBLINE_RATER_KEY", "0" * 64)
    return tmp_path


def _metric(name: str) -> Metric:
    details = {
        **dict.fromkeys(("judgements", "contradicted", "reversals", "first", "to_first", "to_last", "pairs"), 3),
        "alone": {"length": 0.7, "model": None},
        "period": "2026-W02",
        "against": "before.jsonl",
        "objective": "dpo",
    }
    return Metric(name, name, 0.7, "share", 30, "warn", "A sentence.", threshold="t", details=details)


@pytest.mark.parametrize("name", sorted(REMEDIES))
def test_command_that_the_audit_advises_runs(tmp_path: Path, name: str) -> None:
    """As it is pasted, on a file of votes, or of pairs where it is about pairs."""
    is_about_pairs = name == "objective"
    path = write_pairs(tmp_path / "in.jsonl", 30) if is_about_pairs else write_votes(tmp_path / "in.jsonl", *"ud" * 15)
    raw = f"{path} --from {'trl' if is_about_pairs else 'thumbs'}"
    path.write_text(path.read_text().replace('"u"', '"up"').replace('"d"', '"down"'))
    advice = REMEDIES[name](_metric(name), raw)
    assert advice.metric == name
    if advice.command:
        # One vote an answer: asking for two raters leaves nothing, which is a data gate and no misuse.
        assert run(advice.command.split()[1:]) in (0, 3), advice.command


def test_command_for_a_tenth_of_the_desirable_rows_brings_r_into_range(tmp_path: Path) -> None:
    path = write_votes(tmp_path / "in.jsonl", *["up"] * 80, *["down"] * 20)
    report = audit([path], source_format="thumbs")
    command = next(item.command for item in report.advice if item.metric == "discardable_desirables")
    assert run(command.replace("OUT", str(tmp_path / "out")).split()[1:]) == 0
    ratio = Manifest.read(tmp_path / "out").ratio
    assert ratio is not None
    assert (ratio.desirable, ratio.undesirable, ratio.is_in_range) == (8, 20, True)
