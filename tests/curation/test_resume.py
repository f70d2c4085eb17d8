"""Runs that were killed: what was whole is not made again, and the dataset is the one that an unbroken run makes."""

from __future__ import annotations

import functools
import importlib
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from feedback.pipeline import CurateResult, curate
from tests.feedback_log import config_of, log_config

ROOT = Path(__file__).parents[2]
ROWS = "feedback.pipeline.partitions._ROWS_A_PARTITION"
KERNELS = {
    "ingest_block": "feedback.ingest.stage",
    "find_all_clusters": "feedback.pipeline.order",
    "scatter_keys": "feedback.pipeline.order",
    "convert_part": "feedback.pipeline.order",
    "balance_part": "feedback.pipeline.order",
}
KILLED = """
import os, signal, sys
from pathlib import Path
import feedback.pipeline.{module} as module
from feedback.pipeline import curate, partitions
from tests.feedback_log import config_of

partitions._ROWS_A_PARTITION = 60
module.{function} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
curate(config_of(Path(sys.argv[1]) / "in"), Path(sys.argv[1]) / "out")
"""


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    monkeypatch.setattr(ROWS, 60)


@pytest.fixture
def unbroken(tmp_path: Path) -> CurateResult:
    """The log curated without a break."""
    return curate(log_config(tmp_path / "in"), tmp_path / "unbroken")


def kill(folder: Path, module: str, function: str) -> Path:
    """Start the same run in a process that is killed where it calls the function; the folder with what it left."""
    program = KILLED.format(module=module, function=function)
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert not (folder / "out").exists()
    return folder / "out.partial"


def count_kernels(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each kernel is run from now on."""
    seen: Counter[str] = Counter()

    def counted(kernel: Any) -> Any:
        @functools.wraps(kernel)
        def run(*args: Any, **more: Any) -> Any:
            seen[kernel.__name__] += 1
            return kernel(*args, **more)

        return run

    for name, module in KERNELS.items():
        monkeypatch.setattr(f"{module}.{name}", counted(getattr(importlib.import_module(module), name)))
    return seen


def files_of(result: CurateResult) -> dict[str, bytes]:
    paths = sorted(path for path in result.folder.rglob("*") if path.is_file() and path.suffix != ".parquet")
    paths += sorted((result.folder / "data").iterdir())
    return {str(path.relative_to(result.folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize(
    ("module", "function", "left"),
    [
        ("order", "number_of_partitions", ["scatter_keys", "convert_part", "balance_part"]),
        ("balance", "rebalance_plan", ["balance_part"]),
        ("run", "export", []),
    ],
)
def test_a_killed_run_goes_on_where_it_was(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unbroken: CurateResult,
    module: str,
    function: str,
    left: list[str],
) -> None:
    """Killed before the partitions, before the last stage and before the export: only what was not done is done."""
    work = kill(tmp_path, module, function)
    assert sorted(path.name for path in work.iterdir()) == [".thumbline-unfinished", "staging"]
    seen = count_kernels(monkeypatch)
    result = curate(config_of(tmp_path / "in"), tmp_path / "out")
    assert sorted(seen) == sorted(left)
    if function == "rebalance_plan":
        assert seen["balance_part"] == len(list((result.folder / "stages" / "rebalance").glob("kept-*")))
    assert files_of(result) == files_of(unbroken)
    assert not work.exists()


def test_an_interrupted_run_goes_on_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: CurateResult
) -> None:
    """Ctrl-C between conflicts and caps: the last pass is left, over all partitions."""

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("feedback.pipeline.balance.caps_plan", interrupt)
        with pytest.raises(KeyboardInterrupt):
            curate(config_of(tmp_path / "in"), tmp_path / "out")
    seen = count_kernels(monkeypatch)
    result = curate(config_of(tmp_path / "in"), tmp_path / "out")
    partitions = len(list((result.folder / "stages" / "rebalance").glob("kept-*")))
    assert seen == {"balance_part": partitions}
    assert files_of(result) == files_of(unbroken)


def test_of_a_killed_run_nothing_is_taken_that_is_not_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unbroken: CurateResult
) -> None:
    """A file that was torn makes its stage run again, and what stands on it only if it changed."""
    work = kill(tmp_path, "balance", "rebalance_plan")
    (torn,) = work.glob("staging/*/clusters/groups.arrow")
    torn.write_bytes(torn.read_bytes()[:-1])
    seen = count_kernels(monkeypatch)
    result = curate(config_of(tmp_path / "in"), tmp_path / "out")
    assert seen["find_all_clusters"] == 1
    assert seen["ingest_block"] == seen["scatter_keys"] == seen["convert_part"] == 0
    assert files_of(result) == files_of(unbroken)


def test_another_run_takes_nothing_from_a_killed_one(tmp_path: Path, unbroken: CurateResult) -> None:
    """Another seed, and another file, are other runs."""
    work = kill(tmp_path, "run", "export")
    assert list(work.glob("staging/*/balance/stage.json"))
    other = curate(config_of(tmp_path / "in", ("seed=7",)), tmp_path / "out")
    fresh = curate(config_of(tmp_path / "in", ("seed=7",)), tmp_path / "fresh")
    assert files_of(other) == files_of(fresh) != files_of(unbroken)
    (tmp_path / "second").mkdir()
    (tmp_path / "in").rename(tmp_path / "second" / "in")
    kill(tmp_path / "second", "run", "export")
    path = tmp_path / "second" / "in" / "thumbs" / "000.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[10:]))
    changed = curate(config_of(tmp_path / "second" / "in"), tmp_path / "second" / "out")
    assert changed.manifest.stages[0].rows_in == unbroken.manifest.stages[0].rows_in - 10
