"""What the audit of a store advises runs on that store, and comes out as the advice says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from cli.main import run
from feedback.audit import Advice
from feedback.audit.sources import audit
from schemas.manifest import Manifest
from tests.command_files import write_votes

pytestmark = pytest.mark.usefixtures("rater_key", "own_cache")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with 80 up and 20 down in version 1, and 30 down more in version 2; its folder has a space."""
    folder = tmp_path / "my store"
    first = write_votes(tmp_path / "first.jsonl", *["up"] * 80, *["down"] * 20)
    second = write_votes(tmp_path / "second.jsonl", *["up"] * 80, *["down"] * 50)
    for path in (first, second):
        assert run(["ingest", str(path), "--from", "thumbs", "--store", str(folder)]) == 0
    return folder


def advised(store: Path, version: int | None, **config: float) -> list[Advice]:
    report = audit([store], version=version, config=config)
    return [item for item in report.advice if item.metric in ("label_ratio", "discardable_desirables")]


def run_advised(command: str, out: Path) -> Manifest:
    """The manifest of what the command makes, once it is pasted."""
    assert run([str(out) if part == "OUT" else part for part in shlex.split(command)[1:]]) == 0, command
    return Manifest.read(out)


@pytest.mark.parametrize("place", [0, 1, 2], ids=["downsample", "reweight", "a tenth"])
def test_advice_on_the_ratio_of_a_store_runs_and_does_what_it_says(store: Path, tmp_path: Path, place: int) -> None:
    """80 up, 20 down: 26 up stay; or lambda_U = 80 / (4/3 x 20) = 3; or 8 up stay, weighed by 20 / 8 = 2.5."""
    advice = advised(store, 1)[place]
    assert "--version 1 " in advice.command
    ratio = run_advised(advice.command, tmp_path / "out").ratio
    assert ratio is not None
    assert ratio.is_in_range
    wanted = [(26, 20, 1.0, 1.0), (80, 20, 1.0, 3.0), (8, 20, 2.5, 1.0)][place]
    assert (ratio.desirable, ratio.undesirable, ratio.desirable_weight, ratio.undesirable_weight) == wanted
    said = ["Keep 26 of 80 up and all 20 down rows", "lambda_U = 3 brings R to 1.33", "lambda_D = 2.5, lambda_U = 1"]
    assert said[place] in advice.text
    assert advice.text.endswith("as these are the numbers of the rows as they are.")


def test_advice_on_a_store_without_a_version_names_none_and_keeps_the_lambdas(store: Path, tmp_path: Path) -> None:
    """80 up, 50 down, lambda_U = 0.5: R = 3.2, and 4/3 x 0.5 x 50 = 33 up stay."""
    advice = advised(store, None, undesirable_weight=0.5, low=0.9)[0]
    assert "--version" not in advice.command
    ratio = run_advised(advice.command, tmp_path / "out").ratio
    assert ratio is not None
    assert (ratio.desirable, ratio.undesirable, ratio.undesirable_weight, ratio.low) == (33, 50, 0.5, 0.9)


def test_every_command_on_a_version_of_a_store_names_it(store: Path) -> None:
    commands = [item.command for item in audit([store], version=1).advice if item.command]
    assert commands
    assert all(re.search(r"--store '.*my store' --version 1 ", command) for command in commands)
