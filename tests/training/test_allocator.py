"""What a training run keeps of freed memory, and that all of it goes back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from align.resources.allocator import kept_memory

_BLOCKS = """
from pathlib import Path
from align.resources.allocator import kept_memory

def resident():
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(fields["VmRSS"].split()[0]) // 1024

def use():
    blocks = [bytearray(2**20) for _ in range(300)]
    for block in blocks:
        block[::4096] = b"1" * 256

before = resident()
with kept_memory("float32") as is_kept:
    use()
    inside = resident()
print(is_kept, inside - before, resident() - before)
use()
print(is_kept, 0, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc's allocator is told")
def test_what_is_freed_is_kept_until_the_end_and_then_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", _BLOCKS], capture_output=True, text=True, check=True)
    first, second = (line.split() for line in done.stdout.splitlines())
    if first[0] != "True":
        pytest.skip("the C library is not glibc")
    inside, after = int(first[1]), int(first[2])
    assert inside > 250, "300 MiB that were freed are held"
    assert after < 50, "and no longer at the end"
    assert int(second[2]) < 50, "nor what is freed later"


def test_the_allocator_is_told_on_linux_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with kept_memory("bfloat16") as is_kept:
        assert not is_kept
