"""A run of `curate` that was killed goes on where it was: what is complete and whole is not done again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from feedback.engine import LocalEngine
from feedback.engine.staging import STAGE_FILE
from feedback.pipeline import curate, default_config

ROOT = Path(__file__).parents[2]
THUMBS = ROOT / "sample_data" / "thumbs.jsonl"
ORDER = ("ingest", "clusters", "rows", "balance")


class DyingEngine(LocalEngine):
    """Ends its process, as a power cut would, when a stage is about to run."""

    def __init__(self, stage: str) -> None:
        super().__init__(1)
        self._stage = stage

    def run(self, name: str, kernel: Any, tasks: Any, *, key: str = "") -> list[Any]:
        if name == self._stage:
            os._exit(9)
        return super().run(name, kernel, tasks, key=key)


class CountingEngine(LocalEngine):
    """Remembers which stages it ran."""

    def __init__(self) -> None:
        super().__init__(2)
        self.ran: list[str] = []

    def run(self, name: str, kernel: Any, tasks: Any, *, key: str = "") -> list[Any]:
        if not name.endswith("-digest"):
            self.ran.append(name)
        return super().run(name, kernel, tasks, key=key)


def die_before(stage: str, out: Path) -> None:
    program = (
        "from pathlib import Path\n"
        "from feedback.pipeline import curate, default_config\n"
        "from tests.curation.test_engine_resume import DyingEngine\n"
        f"curate(default_config([{str(THUMBS)!r}], 'thumbs'), Path({str(out)!r}), engine=DyingEngine({stage!r}))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", program], env=env, check=False, timeout=120).returncode == 9
    assert not out.exists()


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("stage", ["rows", "balance"])
def test_a_killed_run_goes_on_behind_its_last_whole_stage(tmp_path: Path, stage: str) -> None:
    config = default_config([THUMBS], "thumbs")
    die_before(stage, tmp_path / "killed")
    engine = CountingEngine()
    curate(config, tmp_path / "killed", engine=engine)
    assert engine.ran == list(ORDER[ORDER.index(stage) :])
    curate(config, tmp_path / "whole", engine=LocalEngine())
    assert all_bytes(tmp_path / "killed") == all_bytes(tmp_path / "whole")


def test_a_stage_that_was_damaged_meanwhile_is_done_again(tmp_path: Path) -> None:
    die_before("balance", tmp_path / "killed")
    (manifest,) = tmp_path.glob(f"killed.partial/staging/*/rows/{STAGE_FILE}")
    victim = next(path for path in manifest.parent.iterdir() if path.name.startswith("kept"))
    victim.write_bytes(victim.read_bytes()[:-1])
    engine = CountingEngine()
    curate(default_config([THUMBS], "thumbs"), tmp_path / "killed", engine=engine)
    assert engine.ran == ["rows", "balance"]
