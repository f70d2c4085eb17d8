"""Digests that are taken ahead stand for what was read, or for nothing: also where a file changes meanwhile."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from feedback.records import digest_ahead
from feedback.records.byte_stream import Tally, open_bytes
from feedback.records.digest_ahead import begin_digests, digest_begun

TEXT = b"0123456789" * 50_000


@pytest.fixture(autouse=True)
def _any_age(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest_ahead, "_QUIET_S", 0.0)
    monkeypatch.setattr(digest_ahead, "_CHUNK", 70_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "votes.jsonl"
    file.write_bytes(TEXT)
    return file


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read(path: Path, meanwhile: Callable[[], object] = lambda: None) -> tuple[bytes, str, bool]:
    """What is read of a file that changes behind its first bytes, its digest, and whether that was taken ahead."""
    tally = Tally()
    stream = open_bytes(path, tally)
    is_begun = tally._begun is not None
    first = stream.read(1000)
    meanwhile()
    data = first + stream.readall()
    stream.close()
    return data, tally.sha256, is_begun and tally._taken is not None


def test_a_file_that_lies_still_is_hashed_once(path: Path) -> None:
    begin_digests([path])
    assert read(path) == (TEXT, sha256(TEXT), True)
    assert read(path) == (TEXT, sha256(TEXT), False)


def test_a_file_that_grows_while_it_is_read_has_the_digest_of_what_was_read(path: Path) -> None:
    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"more")

    begin_digests([path])
    assert read(path, grow) == (TEXT + b"more", sha256(TEXT + b"more"), False)


def test_a_file_that_is_written_over_has_the_digest_of_what_lies_there(path: Path) -> None:
    other = TEXT[::-1]
    begin_digests([path])
    with path.open("r+b") as file:
        file.write(other)
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
    assert read(path) == (other, sha256(other), False)


def test_a_file_that_is_replaced_is_read_as_it_was_opened(path: Path) -> None:
    def replace() -> None:
        new = path.with_name("new")
        new.write_bytes(b"new")
        new.replace(path)

    begin_digests([path])
    assert read(path, replace)[:2] == (TEXT, sha256(TEXT))
    assert read(path) == (b"new", sha256(b"new"), False)


def test_a_digest_of_a_file_that_was_not_read_to_its_end_is_taken_anew(path: Path) -> None:
    begin_digests([path])
    tally = Tally()
    with open_bytes(path, tally) as stream:
        stream.read(10)
    assert tally.bytes < len(TEXT)
    assert tally.sha256 == sha256(TEXT[: tally.bytes])


def test_a_reader_waits_for_a_digest_that_is_not_taken_yet(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    take = digest_ahead.Digest.take

    def late(self: digest_ahead.Digest, buffer: memoryview) -> None:
        go.wait()
        take(self, buffer)

    monkeypatch.setattr(digest_ahead.Digest, "take", late)
    begin_digests([path])
    assert read(path, lambda: threading.Timer(0.05, go.set).start()) == (TEXT, sha256(TEXT), True)


def test_what_is_no_file_or_large_or_new_is_left_out(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_digests([tmp_path / "missing", tmp_path, "-", "s3://bucket/votes.jsonl", "*.jsonl", "/dev/null"])
    monkeypatch.setattr(digest_ahead, "_MOST_BYTES", len(TEXT) - 1)
    begin_digests([path])
    monkeypatch.setattr(digest_ahead, "_MOST_BYTES", len(TEXT))
    monkeypatch.setattr(digest_ahead, "_QUIET_S", 60.0)
    begin_digests([path])
    with path.open("rb") as stream:
        assert digest_begun(stream) is None
    assert read(path) == (TEXT, sha256(TEXT), False)


def test_a_file_that_cannot_be_read_any_more_makes_no_digest(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("gone")

    with path.open("rb") as stream, monkeypatch.context() as patch:
        patch.setattr(Path, "open", fail)
        begin_digests([path])
        digest = digest_begun(stream)
        assert digest is not None
        assert digest.of(stream, len(TEXT)) is None
