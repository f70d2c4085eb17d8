"""Working copies of stores in buckets: each is its process's own until that ends, whoever else has the same number."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from feedback.store import places, working_copies
from schemas.errors import UsageError

HOLD = (
    "import fcntl, os, sys\n"
    "folder = os.open(sys.argv[1], os.O_RDONLY); fcntl.flock(folder, fcntl.LOCK_EX)\n"
    "print('held', flush=True); sys.stdin.read()"
)


class EmptyBucket:
    """A bucket without an object."""

    def __init__(self, url: str) -> None:
        self.url = url

    def head(self, name: str) -> None:
        """Nothing is there."""
        del name


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files, in which copies lie."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(places, "Bucket", EmptyBucket)
    yield tmp_path
    for folder in [folder for folder in places._MOUNTS if folder.is_relative_to(tmp_path)]:
        del places._MOUNTS[folder]


def left(path: Path) -> Path:
    path.mkdir()
    (path / "rater.key").write_text("key")
    return path


def test_copies_that_processes_left_behind_are_removed_whatever_their_number(temporary: Path) -> None:
    """One of them bears the number of this process, which it had in another container."""
    dead = [left(temporary / f"thumbline-store-{name}") for name in (f"{os.getpid()}-x", "abc")]
    mine = places.opened_place("s3://bucket/one")
    assert [one.exists() for one in (*dead, mine)] == [False, False, True]


def test_copies_in_use_stay(temporary: Path) -> None:
    """One of this process, and one of a process that has another number in its own container."""
    theirs = left(temporary / "thumbline-store-1-x")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(theirs)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        mine = places.opened_place("s3://bucket/one")
        more = places.opened_place("s3://bucket/two")
        assert [one.exists() for one in (theirs, mine, more)] == [True, True, True]
        other.kill()
    last = places.opened_place("s3://bucket/three")
    assert [one.exists() for one in (theirs, mine, more, last)] == [False, True, True, True]


def test_copy_that_another_process_clears_while_it_is_made_is_made_again(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its maker holds it, nobody can tell it from one that was left behind."""
    held = working_copies._held

    def late(folder: Path) -> int:
        monkeypatch.setattr(working_copies, "_held", held)
        folder.rmdir()
        return held(folder)

    monkeypatch.setattr(working_copies, "_held", late)
    copy = places.opened_place("s3://bucket/one")
    assert list(temporary.iterdir()) == [copy.parent]


def test_many_openings_hold_one_file(temporary: Path) -> None:
    """A process may have 256 or 1,024 files open, and a service opens its store for every request."""
    places.opened_place("s3://bucket/one")
    before = len(list(Path("/proc/self/fd").iterdir()))
    copies = {places.opened_place("s3://bucket/one") for _ in range(20)}
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert len(copies) == 20
    assert len(list(temporary.iterdir())) == 1


def test_copies_are_gone_with_their_process_and_not_with_its_child(temporary: Path) -> None:
    code = (
        "import os, sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        "from feedback.store.working_copies import new_copy\n"
        "copy = new_copy()\n"
        "if os.fork() == 0: new_copy(); sys.exit()\n"
        "os.wait(); print(copy.is_dir(), len(os.listdir(sys.argv[1])))"
    )
    told = subprocess.run([sys.executable, "-c", code, str(temporary)], capture_output=True, text=True, check=True)
    assert told.stdout == "True 1\n"
    assert not list(temporary.iterdir())


def test_nothing_is_left_where_there_are_no_locks(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(UsageError, match="the file system has no locks"):
        places.opened_place("s3://bucket/one")
    assert not list(temporary.iterdir())
