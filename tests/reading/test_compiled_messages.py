"""Loops that are compiled beside other work leave what a command prints alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

MESSAGE = """
import sys, types
import feedback
import numba

class Watched(types.ModuleType):
    def __setattr__(self, name, value):
        assert name != "stdout", "another stdout was put in place"
        super().__setattr__(name, value)

sys.__class__ = Watched
try:
    numba.njit(lambda text: text.no_such_name)("x")
except numba.TypingError as error:
    print("no_such_name" in str(error))
"""


def test_a_message_of_the_compiler_does_not_put_another_stdout_in_place() -> None:
    """Numba does so where colorama is installed, in whatever thread it compiles."""
    pytest.importorskip("colorama")
    done = subprocess.run([sys.executable, "-c", MESSAGE], check=True, capture_output=True, text=True)
    assert done.stdout == "True\n"
