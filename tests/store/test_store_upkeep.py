"""Upkeep of a store: fewer files with the same rows, and no version lost that a dataset needs; and its audit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from feedback.audit.sources import audit
from feedback.config import SourceConfig
from feedback.pipeline import curate_store, store_config
from feedback.store import Store
from feedback.store.registry import Registry
from schemas.errors import DataGateError, InputNotFoundError, LockedError, UsageError
from tests.store_runs import contents, write_votes

pytestmark = pytest.mark.usefixtures("rater_key")


def export(path: Path, first: int) -> SourceConfig:
    return SourceConfig(path=str(write_votes(path, 20, first)), format="thumbs")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.open(tmp_path / "store", create=True)
    for number in range(4):
        made.ingest([export(tmp_path / f"{number}.jsonl", 10 * number)])
    return made


def test_optimize_keeps_every_row_and_the_version_that_brought_it(store: Store) -> None:
    before = store.events(revisions="all").collect().sort("event_id")
    rows = contents(store.folder)
    assert store.optimize() == 6
    assert store.version == 5
    assert store.events(revisions="all").collect().sort("event_id").equals(before)
    assert contents(store.folder) == rows
    assert store.events_since(3).collect().height == 10
    assert store.optimize() == 0
    assert store.doctor().is_well


def test_vacuum_keeps_versions_of_datasets(store: Store, tmp_path: Path) -> None:
    old = curate_store(store, store_config(), tmp_path / "old", version=2)
    store.optimize()
    assert store.vacuum().files == 0  # all were replaced a moment ago
    cleared = store.vacuum(retention_hours=0)
    assert (cleared.files, cleared.kept_versions) == (4, (2, 5))
    assert curate_store(store, store_config(), tmp_path / "again", version=2).manifest.digest == old.manifest.digest
    with pytest.raises(InputNotFoundError, match="cleared up"):
        store.events(3)
    assert store.doctor().is_well


@contextmanager
def broken_off(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A progress that a user ends."""
    raise KeyboardInterrupt
    yield lambda _: None


def test_dataset_that_never_came_to_be_keeps_no_version(store: Store, tmp_path: Path) -> None:
    """What a killed run may have left does, for it holds rows: `forget` looks there."""
    known, out = Registry(store.folder), tmp_path / "out"
    refused = store_config(["caps.min_raters=9"])
    with pytest.raises(DataGateError):
        curate_store(store, refused, out, version=2)
    assert not known.datasets(with_unfinished=True)
    with pytest.raises(KeyboardInterrupt):
        curate_store(store, store_config(), out, version=2, progress=broken_off)
    (begun,) = known.datasets(with_unfinished=True)
    assert (begun.digest, begun.store_version) == ("", 2)
    with pytest.raises(DataGateError):
        curate_store(store, refused, out, version=2)
    assert not known.datasets(with_unfinished=True)


def test_dataset_that_is_removed_for_who_was_forgotten_keeps_no_version(store: Store, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    store.begin_dataset(tmp_path / "out", 2)
    Store.open(store.folder).forget(rater="u1")
    with pytest.raises(LockedError, match="somebody was forgotten while the dataset was made"):
        store.register_dataset(tmp_path / "out", "0" * 32, 2)
    assert not (tmp_path / "out").exists()
    assert not Registry(store.folder).datasets(with_unfinished=True)


def test_damage_behind_an_optimized_file_is_repaired_from_several_raw_copies(store: Store) -> None:
    store.optimize()
    rows = contents(store.folder)
    (path,) = [store.folder / "table" / file.path for file in store.opened.log.files() if file.kind == "event"]
    path.write_bytes(path.read_bytes()[:-100])
    assert [one.is_healed for one in store.doctor().findings] == [True]
    assert contents(store.folder) == rows
    assert store.events_since(3).collect().height == 10


def test_audit_of_a_store_is_that_of_its_rows(store: Store, tmp_path: Path) -> None:
    write_votes(tmp_path / "all.jsonl", 50)
    of_files = audit([tmp_path / "all.jsonl"], source_format="thumbs")
    of_store = audit([store.folder])
    assert of_store.rows == of_files.rows
    assert [(one.name, one.value) for one in of_store.gates] == [(one.name, one.value) for one in of_files.gates]
    assert audit([store.folder], version=1).rows["total"] == 20
    with pytest.raises(UsageError, match="only a store has versions"):
        audit([tmp_path / "all.jsonl"], source_format="thumbs", version=1)


def test_other_readers_of_delta_lake_see_the_same_rows(store: Store) -> None:
    """Polars and deltalake's own reader, which know nothing of us, also behind a compaction."""
    store.optimize()
    ours = store.events(revisions="all").collect().sort("event_id")
    table = str(store.folder / "table")
    theirs = pl.scan_delta(table).filter(pl.col("kind") == "event").select(ours.columns).collect().sort("event_id")
    assert theirs.equals(ours)
    rows = DeltaTable(table, version=2).to_pyarrow_table(columns=["event_id"], filters=[("kind", "=", "event")])
    assert sorted(rows.column("event_id").to_pylist()) == sorted(store.events(2).collect()["event_id"].to_list())
