"""Kernels of bfloat16 products are not kept for every length that a process has seen."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from align.models.loading import load_policy
from align.scoring.kernel_caches import bound_kernel_caches
from align.scoring.scorer import build_scorer

_GROWTH = """
import ctypes, os, sys, torch
from align.scoring.kernel_caches import bound_kernel_caches

class Found(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd a b used c d".split()]

library = ctypes.CDLL("libc.so.6")
library.mallinfo2.restype = Found
before = dict(os.environ)
if sys.argv[1] == "bound":
    bound_kernel_caches()
print(dict(os.environ) == before)
weight = torch.zeros(192, 128, dtype=torch.bfloat16)

def use(lengths):
    for length in lengths:
        torch.zeros(length, 128, dtype=torch.bfloat16) @ weight.T
    return library.mallinfo2().used

first = use(range(100, 200))
print((use(range(200, 400)) - first) / 200)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc tells what is in use")
def test_a_process_does_not_grow_with_every_length() -> None:
    grown = {}
    for how in ("bound", "as it is"):
        done = subprocess.run([sys.executable, "-c", _GROWTH, how], capture_output=True, text=True, check=False)
        if "undefined symbol" in done.stderr or "cannot open" in done.stderr:
            pytest.skip("the C library is not glibc 2.33 or later")
        is_as_before, growth = done.stdout.split()
        assert is_as_before == "True", done.stderr
        grown[how] = float(growth)
    if grown["as it is"] < 10_000:
        pytest.skip("this processor has no kernels for bfloat16")
    assert grown["bound"] < grown["as it is"] / 20


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "7")
    seen = {}
    monkeypatch.setattr("torch.mm", lambda *_: seen.update(os.environ))
    bound_kernel_caches.__wrapped__()
    assert (seen["LRU_CACHE_CAPACITY"], seen["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) == ("7", "64")
    assert os.environ["LRU_CACHE_CAPACITY"] == "7"
    assert "ONEDNN_PRIMITIVE_CACHE_CAPACITY" not in os.environ


def test_a_scorer_on_a_cpu_asks_for_it(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("align.scoring.scorer.bound_kernel_caches", lambda: asked.append(True))
    build_scorer(load_policy(model), device=torch.device("cpu"), dtype="bfloat16", tokens=64)
    assert asked == [True]
