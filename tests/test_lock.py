"""The lock of a folder: one holder, who is named, and who takes it along when killed."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from feedback.store.locks import store_lock
from schemas.errors import LockedError, UsageError
from schemas.lock import folder_lock, locked_output

ROOT = Path(__file__).parents[1]
HOLD = (
    "import sys, pathlib; from schemas.lock import folder_lock\n"
    "with folder_lock(pathlib.Path(sys.argv[1]), purpose='the nightly run'):\n"
    "    print('held', flush=True); sys.stdin.read()"
)


def hold(path: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock until it is killed."""
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    return other


def test_second_process_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "made" / "lock"
    with hold(path) as other:
        expected = rf"the nightly run \(process {other.pid} on .+\) is at work here\. Wait until"
        with pytest.raises(LockedError, match=expected) as caught, folder_lock(path, purpose="mine"):
            pass
        other.kill()
    assert caught.value.exit_code == 75


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        with folder_lock(path, purpose="mine"):
            assert '"purpose": "mine"' in path.read_text()


def test_lock_is_free_again_after_its_context_and_its_error(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(KeyError), folder_lock(path, purpose="first"):
        raise KeyError("broken off")
    with folder_lock(path, purpose="second"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_holder_that_has_not_said_its_name_is_another_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with folder_lock(path, purpose="mine"):
        path.write_text("")
        with pytest.raises(LockedError, match="another process is at work here"), folder_lock(path, purpose="yours"):
            pass


def test_file_that_its_last_holder_deleted_is_not_taken_for_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who opened the old file would hold it beside the one who makes a new one."""
    path = tmp_path / "lock"
    taken = fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        taken(descriptor, operation)
        monkeypatch.setattr(fcntl, "flock", taken)
        path.unlink()

    monkeypatch.setattr(fcntl, "flock", late)
    with folder_lock(path, purpose="mine"):
        assert '"purpose": "mine"' in path.read_text()
        with pytest.raises(LockedError, match="mine"), folder_lock(path, purpose="yours"):
            pass


@pytest.mark.parametrize("may_delete", [True, False])
def test_lock_that_another_user_left_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, may_delete: bool
) -> None:
    """Under a umask of 022 it can be read only; in a folder with the sticky bit not deleted either."""
    left = tmp_path / ".out.partial-lock"
    left.write_text("theirs")
    theirs, opened, removed = left.stat().st_ino, os.open, Path.unlink

    def is_theirs(path: object) -> bool:
        return str(path) == str(left) and left.exists() and left.stat().st_ino == theirs

    def open_as_other(path: Path, flags: int, mode: int = 0o777) -> int:
        if is_theirs(path) and flags & os.O_ACCMODE != os.O_RDONLY:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, flags, mode)

    def unlink_as_other(path: Path, missing_ok: bool = False) -> None:
        if is_theirs(path) and not may_delete:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))
        removed(path, missing_ok)

    monkeypatch.setattr(os, "open", open_as_other)
    monkeypatch.setattr(Path, "unlink", unlink_as_other)
    for _ in range(2):
        with locked_output(tmp_path / "out"):
            told = "a run that writes this output" if may_delete else "another process"
            with pytest.raises(LockedError, match=f"{told}.* is at work here"), locked_output(tmp_path / "out"):
                pass
    assert left.exists() is not may_delete


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_file_system_without_locks_is_refused(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some of networks are: without a lock two nights could run at once."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / "models" / "lock"
    expected = f"{path.parent}: the file system has no locks .* Put the folder on a local disk"
    with pytest.raises(UsageError, match=expected), folder_lock(path, purpose="mine"):
        pass
    with pytest.raises(UsageError, match="has no locks"), store_lock(path.parent, "ingest", exclusive=False):
        pass
