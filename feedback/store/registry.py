"""What was made of a store: datasets and the runs that trained on them, so that who is forgotten is found in both.

A record is a JSON file of its own, named by folder and digest, and replaced whole:

    datasets/ID.json    {"digest", "folder", "store_version", "forgotten": [receipts], "earlier": [digests]}
    runs/ID.json        {"dataset_digest", "folder", "forgotten": [receipts]}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from feedback.hashing import stable_id
from feedback.store.durable import private_folder, remove_durably, write_durably
from feedback.store.places import is_remote
from schemas.errors import CorruptionError

__all__ = ["UNFINISHED", "DatasetRecord", "Registry", "RunRecord"]

UNFINISHED: Final = ""
"""Stands for the digest of a dataset that is being made."""

_DATASETS: Final = "datasets"
_RUNS: Final = "runs"


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """A dataset that was made of the store.

    Args:
        digest: its digest.
        folder: where it was written; another dataset may lie there by now.
        store_version: the version it was made of.
        forgotten: receipts of those who were in it and are forgotten.
        earlier: digests that it had before rows were taken out of it.
    """

    digest: str
    folder: str
    store_version: int
    forgotten: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()

    @property
    def needs_retrain(self) -> bool:
        """Whether somebody is forgotten who was in it."""
        return bool(self.forgotten)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A training run on a dataset that was made of the store.

    Args:
        dataset_digest: digest of the dataset.
        folder: the run's folder.
        forgotten: receipts of those who were in the dataset and are forgotten.
    """

    dataset_digest: str
    folder: str
    forgotten: tuple[str, ...] = ()

    @property
    def needs_retrain(self) -> bool:
        """Whether somebody is forgotten whom it was trained on."""
        return bool(self.forgotten)


Record = TypeVar("Record", DatasetRecord, RunRecord)


class Registry:
    """The records of a store.

    Args:
        folder: the store's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin_dataset(self, folder: Path, version: int) -> None:
        """Record that a dataset is being made, so that it is found also where its maker is killed at the very end."""
        self.save(DatasetRecord(UNFINISHED, str(folder.resolve()), version))

    def add_dataset(self, folder: Path, digest: str, version: int) -> DatasetRecord:
        """Record a dataset; what is known of it as forgotten stays."""
        place = str(folder.resolve())
        known = [one for one in self.datasets() if (one.folder, one.digest) == (place, digest)]
        record = self.save(replace(known[0], store_version=version) if known else DatasetRecord(digest, place, version))
        self.forget_begun(folder)
        return record

    def forget_begun(self, folder: Path) -> None:
        """Remove the record of a dataset that was begun: it is there now, or will not be."""
        self._remove(DatasetRecord(UNFINISHED, str(folder.resolve()), 0))

    def add_run(self, folder: Path, dataset_digest: str) -> RunRecord:
        """Record a run; what is known of it as forgotten stays, and so does what is of its dataset."""
        record = RunRecord(dataset_digest, str(folder.resolve()))
        known = [
            one.forgotten for one in self.runs() if (one.folder, one.dataset_digest) == (record.folder, dataset_digest)
        ]
        known += [one.forgotten for one in self.datasets() if dataset_digest in (one.digest, *one.earlier)]
        return self.save(replace(record, forgotten=tuple(dict.fromkeys(receipt for one in known for receipt in one))))

    def datasets(self, *, with_unfinished: bool = False) -> tuple[DatasetRecord, ...]:
        """Every dataset, the oldest version first.

        Args:
            with_unfinished: also those of which only the beginning is recorded; their digest is `UNFINISHED`.
        """
        found = [one for one in self._read(_DATASETS, DatasetRecord) if with_unfinished or one.digest != UNFINISHED]
        return tuple(sorted(found, key=lambda one: (one.store_version, one.folder, one.digest)))

    def runs(self) -> tuple[RunRecord, ...]:
        """Every run, by its folder."""
        return tuple(sorted(self._read(_RUNS, RunRecord), key=lambda one: (one.folder, one.dataset_digest)))

    def save(self, record: Record) -> Record:
        """Write a record in place of the one of the same folder and digest."""
        digest, name = (
            (record.digest, _DATASETS) if isinstance(record, DatasetRecord) else (record.dataset_digest, _RUNS)
        )
        path = private_folder(self._folder / name) / f"{stable_id(record.folder, digest)}.json"
        write_durably(path, json.dumps(asdict(record), ensure_ascii=False, indent=2).encode() + b"\n", point="record")
        return record

    def replace_dataset(self, old: DatasetRecord, new: DatasetRecord) -> None:
        """Put the record of a dataset in the place of the one that it had under another digest."""
        self.save(new)
        if new.digest != old.digest:
            self._remove(old)

    def pinned(self) -> frozenset[int]:
        """Versions that datasets were made of which are still there."""
        found = self.datasets(with_unfinished=True)
        # A store in a bucket is used by many machines, and a dataset may lie on another one.
        everywhere = is_remote(self._folder)
        return frozenset(one.store_version for one in found if everywhere or Path(one.folder).is_dir())

    def _remove(self, record: DatasetRecord) -> None:
        path = self._folder / _DATASETS / f"{stable_id(record.folder, record.digest)}.json"
        if path.is_file():
            remove_durably(path, point="record")

    def _read(self, name: str, kind: type[Record]) -> Sequence[Record]:
        return [_read_record(path, kind) for path in sorted((self._folder / name).glob("*.json"))]


def _read_record(path: Path, kind: type[Record]) -> Record:
    try:
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return kind(**{**values, **lists})
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptionError(f"a record of the store cannot be read ({error})", where=path) from error
