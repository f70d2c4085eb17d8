"""The loops that are compiled beside other work: a process that is done before them ends well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SLOW_LOOP = """
import threading, time
print("begun", flush=True)
while threading.main_thread().is_alive():
    time.sleep(0.001)
time.sleep(0.2)
print("whole", flush=True)
"""

PROGRAM = """
import sys, threading, time
from cli.lean_start import start_lean
import feedback.near
preload = sys.modules["feedback.near.preload"]
sys.path.insert(0, sys.argv[1])
preload._LOOPS = ("slow_loop", "later_loop")
{begin}()
while "slow_loop" not in sys.modules:
    time.sleep(0.001)
"""


@pytest.mark.parametrize("begin", ["preload.preload", "start_lean"])
def test_interpreter_ends_behind_the_loop_that_is_being_loaded_and_before_the_next(tmp_path: Path, begin: str) -> None:
    """Else LLVM is taken down while a thread compiles with it, and a command that did all its work aborts."""
    (tmp_path / "slow_loop.py").write_text(SLOW_LOOP)
    (tmp_path / "later_loop.py").write_text('print("too late", flush=True)')
    command = [sys.executable, "-c", PROGRAM.format(begin=begin), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["begun", "whole"]), done.stderr[-2000:]
