"""What is brought into a store is copied, hashed and flushed at once, and its rows go to files of one size."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from pathlib import Path

import pytest

from feedback.config import SourceConfig
from feedback.store import Store, new_rows, raw_bytes
from feedback.store.raw_bytes import copy_durably
from schemas.errors import InputError, InputNotFoundError, ThumblineError
from tests.store_runs import write_votes

_CHUNK = 1000


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small chunks, and others look after each of them."""
    monkeypatch.setattr(raw_bytes, "_CHUNK", _CHUNK)
    monkeypatch.setattr(raw_bytes, "_LOOK_S", 0.0)
    monkeypatch.setattr(raw_bytes, "_FLUSH_S", 0.0)


def check_copy(copy: Path, sha256: str, content: bytes) -> None:
    assert copy.read_bytes() == content
    assert sha256 == hashlib.sha256(content).hexdigest()
    assert copy.stat().st_mode & 0o777 == 0o600
    assert not [one for one in threading.enumerate() if one.name.startswith("thumbline-raw")]


@pytest.mark.parametrize("size", [0, 1, _CHUNK, 100 * _CHUNK + 1])
def test_a_copy_is_known_by_the_digest_of_all_its_bytes(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    source = tmp_path / "votes.jsonl"
    source.write_bytes(content)
    check_copy(tmp_path / "copy", copy_durably(source, tmp_path / "copy"), content)


def test_a_copy_that_is_written_piece_by_piece_is_hashed_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece is hashed before the next one is written, so the hasher meets the end again and again."""
    source, pieces = tmp_path / "votes.jsonl", [os.urandom(7 * _CHUNK // 2) for _ in range(20)]
    looks = threading.Semaphore(0)

    class Watched(threading.Event):
        """An event that counts how often somebody waits for it."""

        def wait(self, timeout: float | None = None) -> bool:
            looks.release()
            return super().wait(timeout)

    def write(_: Path, path: Path) -> None:
        with path.open("wb", buffering=0) as stream:
            for piece in pieces:
                stream.write(piece)
                for _ in range(3):
                    assert looks.acquire(timeout=20)

    monkeypatch.setattr(raw_bytes.threading, "Event", Watched)
    monkeypatch.setattr(raw_bytes, "_flush_behind", lambda *_: None)
    monkeypatch.setattr(raw_bytes, "_write", write)
    found = copy_durably(source, tmp_path / "copy")
    monkeypatch.undo()
    check_copy(tmp_path / "copy", found, b"".join(pieces))


def test_what_cannot_be_flushed_on_the_way_is_an_error_though_the_last_flush_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system tells an error of the disk once, to whoever flushes next."""
    source = tmp_path / "votes.jsonl"
    source.write_bytes(b"some bytes")
    flush, is_told = os.fsync, threading.Event()

    def fail_once(handle: int) -> None:
        if not is_told.is_set():
            is_told.set()
            raise OSError(errno.EIO, "Input/output error")
        flush(handle)

    def write(place: Path, path: Path) -> None:
        path.write_bytes(place.read_bytes())
        assert is_told.wait(20)

    monkeypatch.setattr(raw_bytes.os, "fsync", fail_once)
    monkeypatch.setattr(raw_bytes, "_write", write)
    with pytest.raises(OSError, match="Input/output"):
        copy_durably(source, tmp_path / "copy")


@pytest.mark.usefixtures("rater_key")
def test_a_disk_that_fails_on_the_way_leaves_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    store = Store.open(tmp_path / "store", create=True)
    path = write_votes(tmp_path / "votes.jsonl", 5)
    with monkeypatch.context() as patch:
        patch.setattr(raw_bytes, "_flush_behind", fail)
        with pytest.raises(ThumblineError, match="the store cannot be written"):
            store.ingest([SourceConfig(path=str(path), format="thumbs")])
    assert not list(store.folder.glob("raw/*/*"))
    assert store.ingest([SourceConfig(path=str(path), format="thumbs")]).new == 5


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match=r"missing\.jsonl"):
        copy_durably(tmp_path / "missing.jsonl", tmp_path / "copy")


def test_a_file_that_cannot_be_read_is_no_fault_of_the_store(tmp_path: Path) -> None:
    """Here a folder, as root may read any file."""
    with pytest.raises(InputError, match=f"{tmp_path}: the file cannot be read"):
        copy_durably(tmp_path, tmp_path / "copy")


def test_a_key_that_may_not_be_read_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's store: nothing in it has to be mended."""
    Store.open(tmp_path / "store", create=True)

    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ThumblineError, match=r"rater\.key: a file of the store cannot be read .* Run the") as refused:
        Store.open(tmp_path / "store")
    assert refused.value.exit_code == 1


@pytest.mark.usefixtures("rater_key")
@pytest.mark.parametrize(("cores", "rows"), [(1, [60]), (2, [30, 30]), (3, [18, 21, 21]), (7, [6] + [9] * 6)])
def test_rows_are_shared_out_between_files_of_one_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, rows: list[int]
) -> None:
    """Twenty raw files of three rows each: as many files as cores write, none with much more than another."""
    monkeypatch.setattr(new_rows, "_LEAST_BYTES", 1)
    monkeypatch.setattr(new_rows, "usable_cores", lambda: cores)
    paths = [write_votes(tmp_path / f"{number:02}.jsonl", 3, 10 + 3 * number) for number in range(20)]
    store = Store.open(tmp_path / "store", create=True)
    assert store.ingest([SourceConfig(path=str(path), format="thumbs") for path in paths]).new == 60
    files = [file for file in store.opened.log.files() if file.kind == "event"]
    assert sorted(file.rows for file in files) == rows
    assert store.events().collect()["event_id"].n_unique() == 60


@pytest.mark.usefixtures("rater_key")
def test_much_goes_to_a_multiple_of_the_cores_and_little_to_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_rows, "usable_cores", lambda: 2)
    paths = [write_votes(tmp_path / f"{number:02}.jsonl", 3, 10 + 3 * number) for number in range(20)]
    sources = [SourceConfig(path=str(path), format="thumbs") for path in paths]

    def files(name: str) -> int:
        store = Store.open(tmp_path / name, create=True)
        store.ingest(sources)
        return sum(file.kind == "event" for file in store.opened.log.files())

    assert files("little") == 1
    size = sum(len(path.read_bytes()) for path in paths)
    monkeypatch.setattr(new_rows, "_LEAST_BYTES", 1)
    monkeypatch.setattr(new_rows, "_FILE_BYTES", size)
    assert files("much") % 2 == 0
    assert files("again") > 2
