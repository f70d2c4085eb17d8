"""What a training run keeps of freed memory, and that all of it goes back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from align.resources.allocator import kept_memory
from align.trainer import loop, train
from tests.tiny_run import tiny_config

_BLOCKS = """
from pathlib import Path
from align.resources.allocator import kept_memory

def resident():
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(fields["VmRSS"].split()[0]) // 1024

def use(size):
    # what lies between the blocks lives longer, so none of them is at the end of the heap
    blocks = [(bytearray(size), bytearray(2**12)) for _ in range(300 * 2**20 // size)]
    for block, _ in blocks:
        block[::4096] = b"1" * (size // 4096)
    return [between for _, between in blocks]

before = resident()
with kept_memory() as is_kept:
    first = use(2**20)
    inside = resident()
print(is_kept, inside - before, resident() - before)
"""

_LARGE = """
import ctypes
from align.resources.allocator import kept_memory

class Found(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd a b c d e".split()]

library = ctypes.CDLL("libc.so.6")
library.mallinfo2.restype, library.malloc.restype = Found, ctypes.c_void_p

def from_system():
    before = library.mallinfo2().hblks
    library.malloc(ctypes.c_size_t(3 * 2**19))
    return library.mallinfo2().hblks - before

for _ in range(2):
    with kept_memory():
        print(from_system())
    print(from_system())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc's allocator is told")
def test_what_is_freed_is_kept_until_the_end_and_then_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", _BLOCKS], capture_output=True, text=True, check=True)
    first = done.stdout.split()
    if first[0] != "True":
        pytest.skip("the C library is not glibc")
    inside, after = int(first[1]), int(first[2])
    assert inside > 250, "300 MiB that were freed are held"
    assert after < 50, "and no longer at the end"


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc's allocator is told")
def test_blocks_of_a_mebibyte_and_a_half_come_from_the_system_again_when_it_is_over() -> None:
    done = subprocess.run([sys.executable, "-c", _LARGE], capture_output=True, text=True, check=False)
    if "undefined symbol" in done.stderr or "cannot open" in done.stderr:
        pytest.skip("the C library is not glibc 2.33 or later")
    assert done.stdout.split() == ["0", "1", "0", "1"], done.stderr


def test_the_allocator_is_told_on_linux_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with kept_memory() as is_kept:
        assert not is_kept


def test_a_run_keeps_memory_until_it_is_over(
    model: str, dataset: Path, tmp_path: Path, own_cache: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    @contextmanager
    def noted() -> Iterator[bool]:
        seen.append("begins")
        yield True
        seen.append("ends")

    step = loop.take_step
    monkeypatch.setattr(loop, "kept_memory", noted)
    monkeypatch.setattr(loop, "give_back", lambda: seen.append("loaded"))
    monkeypatch.setattr(loop, "take_step", lambda *given: seen.append("step") or step(*given))
    train(tiny_config(epochs=1, dtype="bfloat16"), dataset=dataset, model=model, out=tmp_path / "run")
    assert seen == ["begins", "loaded", "step", "step", "step", "ends"]
