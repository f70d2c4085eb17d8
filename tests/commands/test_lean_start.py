"""A lean start leaves out what is not needed, in its own thread only, and the command still works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli import lean_start
from feedback.store import places

ROOT = Path(__file__).parents[2]

CURATE = """
import sys
from cli.main import run
code = run(["curate", "sample_data/thumbs.jsonl", "--from", "thumbs", "-o", sys.argv[1], "--json"])
loaded = {"scipy", "cffi", "coverage", "pandas", "yaml"} & set(sys.modules)
assert code == 0, code
assert not loaded, loaded
assert "numba" in sys.modules
"""

AUDIT = """
import sys
from cli.main import run
code = run(["audit", "sample_data/thumbs.jsonl", "--from", "thumbs"])
loaded = {"torch", "transformers", "tokenizers", "datasets", "accelerate"} & set(sys.modules)
assert code == 0, code
assert not loaded, loaded
"""

OTHER_THREAD = """
import threading
from cli.lean_start import _hidden
entered, leave = threading.Event(), threading.Event()
refused = []
def hide():
    with _hidden(("pandas",)):
        try:
            import pandas
        except ModuleNotFoundError as error:
            refused.append(error.name)
        entered.set()
        leave.wait()
thread = threading.Thread(target=hide)
thread.start()
entered.wait()
import pandas
leave.set()
thread.join()
assert refused == ["pandas"], refused
assert pandas.__version__
"""


def run_python(code: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_curate_loads_nothing_that_numba_and_pyarrow_only_look_for(tmp_path: Path) -> None:
    run_python(CURATE, str(tmp_path / "dataset"))


def test_audit_without_a_model_loads_nothing_of_training() -> None:
    run_python(AUDIT)


def test_what_one_thread_cannot_import_another_can() -> None:
    run_python(OTHER_THREAD)


def test_what_curate_says_and_its_exit_code_arrive_though_it_leaves_at_once(tmp_path: Path) -> None:
    """Through pipes, which hold output back until they are flushed; and into one that is closed."""
    command = [sys.executable, "-m", "cli.main", "curate", "sample_data/thumbs.jsonl", "--from", "thumbs"]
    out = ["-o", str(tmp_path / "dataset")]
    first = subprocess.run([*command, *out, "--json"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(first.stdout)["manifest"] == json.loads((tmp_path / "dataset" / "manifest.json").read_text())
    refused = subprocess.run([*command, *out, "--set", "seed=2"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "Error: " in refused.stderr
    with subprocess.Popen([*command, *out], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(timeout=60) in (0, 1)


@pytest.mark.parametrize("has_copies", [False, True])
def test_a_process_with_a_copy_of_a_bucket_leaves_the_ordinary_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has_copies: bool
) -> None:
    """The copy, the key for user ids in it, is removed when the interpreter ends."""
    left: list[int] = []
    monkeypatch.setattr(lean_start.os, "_exit", left.append)
    monkeypatch.setattr(lean_start.gc, "get_threshold", lambda: (lean_start._CONTAINERS, 0, 0))
    monkeypatch.setattr(places, "_MOUNTS", {tmp_path: None} if has_copies else {})
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    lean_start.leave_lean(0)
    assert left == ([] if has_copies else [0])
