"""Datasets and runs that saw somebody who is forgotten: marked, and cleaned of their rows and texts.

    dataset   shards without their rows, a new manifest, no stage folder and no reports; the pairs in it likewise
    run       no file that quotes them; the weights stay, and the mark says what they are worth

A mark is the file `needs_retrain.json`, written before anything else is touched.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feedback.dataset.folders import finish_dataset, remove_unfinished
from feedback.hashing import side_ids, stable_id
from feedback.store.durable import flush_file, flush_folder, write_durably
from feedback.store.faults import faultpoint
from feedback.store.needles import REPORTS, Needles, quoting_reports
from feedback.store.partial_names import PARTIAL
from feedback.store.registry import UNFINISHED, DatasetRecord, Registry, RunRecord
from schemas.errors import InputNotFoundError
from schemas.manifest import MANIFEST_NAME, PREFERENCE_FOLDER, Manifest, Shard, file_sha256

__all__ = ["NEEDS_RETRAIN", "ErasedOutput", "erase_dataset", "erase_reports", "erase_run"]

NEEDS_RETRAIN: Final = "needs_retrain.json"
"""Name of the mark."""

_OURS: Final = frozenset({"data", PREFERENCE_FOLDER, "README.md", MANIFEST_NAME, NEEDS_RETRAIN})


@dataclass(frozen=True, slots=True)
class ErasedOutput:
    """What was erased from a dataset or a run.

    Args:
        folder: its folder.
        digest: digest of the dataset, as it was.
        new_digest: as it is now.
        rows: rows and pairs taken out of its shards.
        removed: files and folders removed, by their paths in it.
        left: files that are not ours and were not looked into.
        pairs_digest: digest of the pairs in a dataset, as they were, which runs may know; empty where there are none.
        was_there: whether the folder held it; one that lies elsewhere by now still holds what is to be forgotten.
    """

    folder: str
    digest: str
    new_digest: str
    rows: int = 0
    removed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    pairs_digest: str = ""
    was_there: bool = True


@dataclass(frozen=True, slots=True)
class _Theirs:
    """What tells the rows to take out: ids of events, and the ids that rows have which show their texts."""

    events: frozenset[str]
    rows: pl.Series

    @classmethod
    def of(cls, events: frozenset[str]) -> _Theirs:
        # Datasets of earlier versions do not list an event whose text stayed and whose vote did not.
        known = pl.Series(sorted(events), dtype=pl.String)
        return cls(events, pl.concat([known, side_ids(known, "a"), side_ids(known, "b")]))


def erase_dataset(
    record: DatasetRecord, registry: Registry, store_id: str, receipt: str, ids: frozenset[str]
) -> ErasedOutput | None:
    """Mark a dataset and take rows out of it; None where one was begun and never came to be.

    Args:
        record: its record.
        registry: where the record is.
        store_id: id of the store, for the mark.
        receipt: the receipt that the mark names.
        ids: `event_id` and `pair_id` of the rows; a curated row or pair goes that any of them is behind, by its vote or
            its text.

    Raises:
        CorruptionError: the dataset is not what its manifest says.
        LockedError: a run writes an output there.
    """
    folder = Path(record.folder)
    beside = remove_unfinished(folder)
    if record.digest == UNFINISHED:
        found = _finished(record, folder, store_id)
        if found is None:
            return None
        record = registry.add_dataset(folder, found, record.store_version)
    marked = replace(record, forgotten=tuple(dict.fromkeys((*record.forgotten, receipt))))
    registry.save(marked)
    try:
        manifest = Manifest.read(folder)
    except InputNotFoundError:
        return ErasedOutput(record.folder, record.digest, record.digest, was_there=False)
    if manifest.digest != record.digest and manifest.parent_digest != record.digest:
        return ErasedOutput(record.folder, record.digest, record.digest, was_there=False)  # another one lies there now
    _mark(folder, store_id, marked.forgotten)
    pairs = _pairs_of(manifest, folder)
    if pairs is not None:
        # Recorded first: runs on the pairs are found by this digest also where the call is broken off from here on.
        marked = registry.save(replace(marked, earlier=tuple(dict.fromkeys((*marked.earlier, pairs.digest)))))
    removed, left = _clear(folder)
    left += beside
    theirs = _Theirs.of(ids)
    lost_pairs = 0 if pairs is None else _erase_pairs(folder / PREFERENCE_FOLDER, pairs, receipt, theirs)
    shards = [_without(folder, shard, theirs) for shard in manifest.shards]
    rows = _lost(manifest.shards, shards)
    digest = record.digest
    if rows or manifest.digest != record.digest:
        digest = stable_id(record.digest, receipt)
        changed = replace(manifest, digest=digest, parent_digest=record.digest, shards=tuple(shards))
        faultpoint("erase.manifest.before", folder / MANIFEST_NAME)
        finish_dataset(folder, changed)
        flush_folder(folder)
        faultpoint("erase.manifest.after")
        earlier = tuple(dict.fromkeys((*marked.earlier, record.digest)))
        registry.replace_dataset(marked, replace(marked, digest=digest, earlier=earlier))
    known = "" if pairs is None else pairs.digest
    return ErasedOutput(record.folder, record.digest, digest, rows + lost_pairs, tuple(removed), tuple(left), known)


def erase_run(record: RunRecord, registry: Registry, store_id: str, receipt: str, needles: Needles) -> ErasedOutput:
    """Mark a run, and remove its files that quote what is forgotten.

    Args:
        record: its record.
        registry: where the record is.
        store_id: id of the store, for the mark.
        receipt: the receipt that the mark names.
        needles: what is looked for.
    """
    marked = replace(record, forgotten=tuple(dict.fromkeys((*record.forgotten, receipt))))
    registry.save(marked)
    folder = Path(record.folder)
    was_there = folder.is_dir()
    if was_there:
        _mark(folder, store_id, marked.forgotten)
    removed = erase_reports(folder, needles)
    return ErasedOutput(
        record.folder, record.dataset_digest, record.dataset_digest, removed=removed, was_there=was_there
    )


def erase_reports(folder: Path, needles: Needles) -> tuple[str, ...]:
    """Remove the reports below a folder that quote what is forgotten; their paths in it.

    Args:
        folder: the folder.
        needles: what is looked for.
    """
    removed = []
    for path in quoting_reports(folder, needles):
        faultpoint("erase.report.before", path)
        path.unlink()
        flush_folder(path.parent)
        removed.append(path.relative_to(folder).as_posix())
    return tuple(removed)


def _pairs_of(manifest: Manifest, folder: Path) -> Manifest | None:
    """The manifest of the pairs in a dataset; None where there are none."""
    try:
        return Manifest.read(folder / PREFERENCE_FOLDER) if manifest.has_pairs else None
    except InputNotFoundError:
        return None


def _erase_pairs(folder: Path, manifest: Manifest, receipt: str, theirs: _Theirs) -> int:
    """Take pairs out of the dataset of pairs; how many."""
    _clear(folder)
    shards = [_without(folder, shard, theirs) for shard in manifest.shards]
    if any(before.sha256 != after.sha256 for before, after in zip(manifest.shards, shards, strict=True)):
        digest = stable_id(manifest.digest, receipt)
        changed = replace(manifest, digest=digest, parent_digest=manifest.digest, shards=tuple(shards))
        faultpoint("erase.manifest.before", folder / MANIFEST_NAME)
        finish_dataset(folder, changed)
        flush_folder(folder)
        faultpoint("erase.manifest.after")
    return _lost(manifest.shards, shards)


def _lost(before: Sequence[Shard], after: Sequence[Shard]) -> int:
    return sum(one.rows for one in before) - sum(one.rows for one in after)


def _finished(record: DatasetRecord, folder: Path, store_id: str) -> str | None:
    """The digest of a dataset that was finished, and whose maker was killed before it could say so."""
    try:
        manifest = Manifest.read(folder)
    except InputNotFoundError:
        return None
    made_of = manifest.config.get("store", {})
    is_it = made_of.get("id") == store_id and made_of.get("version") == record.store_version
    return manifest.digest if is_it else None


def _mark(folder: Path, store_id: str, receipts: tuple[str, ...]) -> None:
    content = json.dumps({"store": store_id, "receipts": list(receipts)}, indent=2) + "\n"
    write_durably(folder / NEEDS_RETRAIN, content.encode(), point="erase.mark")


def _clear(folder: Path) -> tuple[list[str], list[str]]:
    """Remove what was made beside the shards, and every report, as it may quote them; all else stays, and is told."""
    removed, left = [], []
    for path in sorted(folder.iterdir()):
        if path.name in _OURS:
            continue
        if path.name in ("stages", "parts", "staging"):
            faultpoint("erase.stages.before", path)
            shutil.rmtree(path)
        elif path.is_file() and (path.suffix in REPORTS or path.name.endswith(PARTIAL)):
            faultpoint("erase.report.before", path)
            path.unlink()
        else:
            left.append(path.name)
            continue
        removed.append(path.name)
    flush_folder(folder)
    return removed, left


def _without(folder: Path, shard: Shard, theirs: _Theirs) -> Shard:
    """A shard without the rows that any of the events is behind, row group by row group."""
    path = folder / shard.path
    partial = path.with_name(path.name + PARTIAL)
    with pq.ParquetFile(path) as opened:
        masks = [_mask(opened, group, theirs) for group in range(opened.num_row_groups)]
        if any(mask.any() for mask in masks):
            faultpoint("erase.shard.before", partial)
            options = {"compression": "zstd", "write_statistics": False, "write_page_checksum": True}
            with pq.ParquetWriter(partial, opened.schema_arrow, **options) as writer:
                for group, mask in enumerate(masks):
                    writer.write_table(opened.read_row_group(group).filter(pa.array(~mask)))
            flush_file(partial)
            partial.replace(path)
            flush_folder(path.parent)
            faultpoint("erase.shard.after")
    rows = pq.read_metadata(path).num_rows
    ups, downs = _labels(path)
    size, digest = path.stat().st_size, file_sha256(path)
    return replace(shard, rows=rows, desirable=ups, undesirable=downs, bytes=size, sha256=digest)


def _labels(path: Path) -> tuple[int, int]:
    """Desirable and undesirable rows of a shard; pairs are neither."""
    if "label" not in pq.read_schema(path).names:
        return 0, 0
    label = pl.DataFrame(pq.read_table(path, columns=["label"]))["label"]
    return int(label.sum()), len(label) - int(label.sum())


def _mask(opened: pq.ParquetFile, group: int, theirs: _Theirs) -> NDArray[np.bool_]:
    """Which rows of a row group stand for any of the events, or show the text of one. [N] bool."""
    rows = pl.DataFrame(opened.read_row_group(group, columns=["row_id", "source_event_ids"]))
    events = np.array([not theirs.events.isdisjoint(one) for one in rows["source_event_ids"].to_list()], dtype=np.bool_)
    shows: NDArray[np.bool_] = rows["row_id"].is_in(theirs.rows.implode()).to_numpy()
    return events | shows
