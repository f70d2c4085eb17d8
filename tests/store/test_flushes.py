"""What has its name was on the disk before it got it, and the name is there when the call returns."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from align.artifacts.metrics import MetricsLog
from align.champion.registry import Decision, ModelEntry, Registry
from align.reference.reference_cache import ReferenceCache
from feedback.ingest.rater_key import load_rater_key
from feedback.store.durable import write_durably
from schemas.manifest import write_last
from tests.exported_rows import exported


class Disk:
    """What was flushed, and what had a new name before it was.

    Attributes:
        flushed: bytes of each file or folder at its last flush, by inode.
        early: names given to files whose bytes were not all flushed.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.flushed: dict[int, int] = {}
        self.early: list[str] = []
        flush = os.fsync

        def noted_flush(handle: int) -> None:
            flush(handle)
            self.flushed[os.fstat(handle).st_ino] = os.fstat(handle).st_size

        monkeypatch.setattr(os, "fsync", noted_flush)
        for name in ("rename", "replace", "link"):
            monkeypatch.setattr(os, name, self._noted(getattr(os, name)))

    def has(self, path: Path) -> bool:
        """Whether all bytes of a file are on the disk; of a folder, whether it was flushed."""
        found = path.stat()
        return (path.is_dir() and found.st_ino in self.flushed) or self.flushed.get(found.st_ino) == found.st_size

    def _noted(self, call: Callable[..., None]) -> Callable[..., None]:
        def named(source: Path | str, target: Path | str, **options: object) -> None:
            if Path(source).is_file() and not self.has(Path(source)):
                self.early.append(str(target))
            call(source, target, **options)

        return named


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def new_key(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("THUMBLINE_RATER_KEY", raising=False)
        patch.setenv("XDG_DATA_HOME", str(folder))
        load_rater_key()


def new_metrics(folder: Path) -> None:
    with MetricsLog(folder, steps_done=0) as log:
        log.write("step", 0, {"loss": 1.0})


def new_decision(folder: Path) -> None:
    entry = ModelEntry("aaa", "models/aaa", "0" * 64)
    Registry(folder).commit(Decision("promote", "aaa", entry, None, 1, ("first",)), after=0)


def new_reference(folder: Path) -> None:
    cache = ReferenceCache(folder / "reference.parquet")
    cache.put(b"0" * 16, -1.0)
    cache.save()


@pytest.mark.parametrize(
    ("write", "pattern", "are_names_flushed"),
    [
        (lambda folder: write_durably(folder / "commit", b"bytes", point="commit"), "commit", True),
        (lambda folder: write_last(folder / "manifest.json", "{}"), "manifest.json", False),
        (exported, "out/data/*.parquet", False),
        (new_decision, "decisions/*.json", True),
        (new_key, "**/rater.key", False),
        (new_metrics, "metrics.jsonl", False),
        (new_reference, "reference.parquet", False),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_file_is_on_the_disk_when_it_has_its_name(
    tmp_path: Path, disk: Disk, write: Callable[[Path], object], pattern: str, are_names_flushed: bool
) -> None:
    write(tmp_path)
    made = sorted(tmp_path.glob(pattern))
    assert made
    assert [path for path in made if not disk.has(path)] == []
    assert [name for name in disk.early if Path(name) in made] == []
    assert not are_names_flushed or all(disk.has(path.parent) for path in made)
