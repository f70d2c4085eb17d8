"""Files are written under a name of their writer's own: two threads of one process do not meet in one file."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from feedback.ingest import rater_key as keys
from feedback.store import Store
from feedback.store.bucket import StoredObject
from feedback.store.durable import written_durably
from feedback.store.places import _Mount


def test_two_who_write_one_file_at_once_both_write_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    with written_durably(path, point="record") as first:
        first.write(b"the first, ")
        with written_durably(path, point="record") as second:
            second.write(b"the second")
        assert path.read_bytes() == b"the second"
        first.write(b"whole")
    assert path.read_bytes() == b"the first, whole"
    assert [one.name for one in tmp_path.iterdir()] == ["record.json"]


def test_two_who_bring_one_object_at_once_both_have_it_whole(tmp_path: Path) -> None:
    class Twice:
        """A bucket whose object somebody else brings while it is on its way."""

        calls = 0

        def fetch(self, name: str, path: Path) -> None:
            self.calls += 1
            path.write_bytes(name.encode())
            if self.calls == 1:
                mount._bring(one)

    bucket: Any = Twice()
    mount, one = _Mount(bucket, tmp_path), StoredObject("landings/a.json", 1, "tag", 0)
    mount._bring(one)
    assert [path.name for path in (tmp_path / "landings").iterdir()] == ["a.json"]


def test_key_that_two_threads_make_at_once_is_one_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one makes its key while the first is about to flush its own."""
    path, flush = tmp_path / "rater.key", keys.os.fsync

    def late(descriptor: int) -> None:
        monkeypatch.setattr(keys.os, "fsync", flush)
        other = threading.Thread(target=keys._create, args=[path])
        other.start()
        other.join()
        flush(descriptor)

    monkeypatch.setattr(keys.os, "fsync", late)
    keys._create(path)
    assert len(path.read_text().strip()) == 64
    assert [one.name for one in tmp_path.iterdir()] == ["rater.key"]


@pytest.mark.usefixtures("rater_key")
@pytest.mark.parametrize("left", ["rater.key.71.partial", "store.json.71-0123abcd.partial"])
def test_folder_with_what_a_crash_left_of_a_store_is_no_foreign_one(tmp_path: Path, left: str) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / left).write_text("half")
    assert Store.open(tmp_path / "store", create=True).version == 0
    assert not (tmp_path / "store" / left).exists()
