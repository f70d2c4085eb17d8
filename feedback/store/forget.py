"""Somebody, or a conversation, is forgotten: nothing of them stays in the store and in what was made of it.

    rows of theirs ─► datasets and runs that saw them: marked, cleaned ─► raw copies ─► commit: files without the rows,
    and a tombstone ─► old files deleted ─► receipt

The rows are in the store until all else is cleaned, so whatever breaks a call off, the next one finds them again and
does everything once more; what was done already changes nothing. The receipt that ends it is written last.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pyarrow as pa

from feedback.hashing import stable_id
from feedback.store.durable import flush_folder, remove_durably
from feedback.store.erased_outputs import ErasedOutput, erase_dataset, erase_reports, erase_run
from feedback.store.log import DataFile
from feedback.store.mending import DAMAGED
from feedback.store.needles import Needles
from feedback.store.opened import OpenedStore
from feedback.store.parquet import write_rows
from feedback.store.places import listed
from feedback.store.raw_erasure import erase_raw
from feedback.store.receipts import Receipt, read_receipts, write_receipt
from feedback.store.registry import Registry
from feedback.store.subject_rows import SubjectRows, find_rows, rewrite_without, texts_of
from feedback.store.tables import TOMBSTONE, VERSION, file_schema
from feedback.store.take_in import staging_folder
from feedback.store.tombstones import Forgotten, SubjectKind, read_tombstones, subject_hash
from schemas.errors import CorruptionError

__all__ = ["forget_subject"]

_NEVER_ESCAPED: Final = re.compile(r"[A-Za-z0-9_.:@ -]*")
"""Signs of which every writer of JSON leaves an id as it is; some escape others: "/" or "+", for example."""


def forget_subject(store: OpenedStore, kind: SubjectKind, name: str, reports: Sequence[Path] = ()) -> Receipt:
    """Forget a rater or a conversation; nobody else may work on the store meanwhile.

    Args:
        store: the store.
        kind: what it is.
        name: the id as the source has it.
        reports: folders of more reports, which the store knows nothing of.

    Raises:
        CorruptionError: a file of the store or of a dataset is damaged.
    """
    subject = Forgotten(frozenset({subject_hash(kind, name, store.key)}), store.key)
    receipt = _begin(store, kind, next(iter(subject.subjects)))
    version = store.log.version()
    files = store.log.files(version)
    rows = find_rows(files, store.table, subject)
    needles = Needles({name, *texts_of(rows, store.table, subject)})
    datasets, runs = _clean_outputs(store, rows, receipt.receipt, needles)
    pages = tuple(ErasedOutput(str(one), "", "", removed=erase_reports(one, needles)) for one in reports)
    _clear_halves(store.folder)
    raw = erase_raw(store.landings, store.landings.all(), subject, raw=rows.raw, hints=_hints(name, subject))
    planned = replace(receipt, rows=rows.counts, raw=raw, datasets=datasets, runs=runs, reports=pages)
    if not rows.files and receipt.rows is not None:
        planned = receipt  # the call that was broken off had come further: its numbers stand
    write_receipt(store.folder, planned)
    version = _commit(store, version, files, rows, subject, planned)
    deleted = _delete_old_files(store, subject)
    done = replace(planned, is_done=True, version=version, files=deleted)
    write_receipt(store.folder, done)
    return done


def _begin(store: OpenedStore, kind: SubjectKind, subject: str) -> Receipt:
    for known in read_receipts(store.folder):
        if known.subject == subject and not known.is_done:
            return known
    receipt = Receipt(stable_id(subject, str(store.log.version())), kind, subject)
    write_receipt(store.folder, receipt)
    return receipt


def _clean_outputs(
    store: OpenedStore, rows: SubjectRows, receipt: str, needles: Needles
) -> tuple[tuple[ErasedOutput, ...], tuple[ErasedOutput, ...]]:
    """Mark and clean the datasets whose version held any of the rows, and the runs on them."""
    if rows.first_version is None:
        return (), ()
    registry = Registry(store.folder)
    saw = [one for one in registry.datasets(with_unfinished=True) if one.store_version >= rows.first_version]
    erased = [erase_dataset(one, registry, store.id, receipt, rows.ids) for one in saw]
    datasets = tuple(one for one in erased if one is not None)
    digests = {digest for one in saw for digest in one.earlier}
    digests |= {digest for one in datasets for digest in (one.digest, one.pairs_digest) if digest}
    runs = [one for one in registry.runs() if one.dataset_digest in digests]
    return datasets, tuple(erase_run(one, registry, store.id, receipt, needles) for one in runs)


def _clear_halves(folder: Path) -> None:
    """Remove what is half made or set aside: it may hold anything, and is of no use to anybody."""
    for path in (*folder.glob("staging/*"), *folder.glob("raw/incoming-*")):
        shutil.rmtree(path, ignore_errors=True)
    for path in listed(folder / DAMAGED):
        if not path.name.startswith("commit-"):
            remove_durably(path, point="forget.aside")


def _hints(name: str, subject: Forgotten) -> tuple[bytes, ...]:
    """Bytes of which one is in every line that names them; none where an id has signs that JSON may escape."""
    forms = (name, *subject.subjects) if _NEVER_ESCAPED.fullmatch(name) else ()
    return tuple(form.encode() for form in forms)


def _commit(
    store: OpenedStore,
    version: int,
    files: Sequence[DataFile],
    rows: SubjectRows,
    subject: Forgotten,
    receipt: Receipt,
) -> int:
    """Commit behind the version that was looked through: what came in since was not, and refuses it."""
    is_known = subject.subjects <= read_tombstones(files, store.table, store.key).subjects
    if is_known and not rows.files:
        return version
    with staging_folder(store.folder) as staging:
        added = [
            made for file in rows.files if (made := rewrite_without(file, store.table, staging, subject)) is not None
        ]
        if not is_known:
            added.append(write_rows(TOMBSTONE, [_tombstone(receipt)], store.table, staging, version + 1))
        about = {"receipt": receipt.receipt, "counts": rows.counts}
        store.log.commit(version + 1, added, rows.files, operation="forget", about=about)
    return version + 1


def _tombstone(receipt: Receipt) -> pa.Table:
    schema = file_schema(TOMBSTONE).remove(file_schema(TOMBSTONE).get_field_index(VERSION))
    about = json.dumps({"kind": receipt.kind, "receipt": receipt.receipt})
    return pa.Table.from_pylist([{"subject": receipt.subject, "about": about}], schema=schema)


def _delete_old_files(store: OpenedStore, subject: Forgotten) -> int:
    """Delete the files of earlier versions that hold rows of theirs; those versions cannot be read any more."""
    used = {file.path for file in store.log.files()}
    deleted = 0
    for path in listed(store.table, "kind=*/*"):
        name = path.relative_to(store.table).as_posix()
        if name in used:
            continue
        old = DataFile(path.parent.name.partition("=")[2], name, 0, 0, {})
        try:
            is_theirs = bool(find_rows([old], store.table, subject).files)
        except CorruptionError:
            is_theirs = True  # no version needs what cannot be read
        if is_theirs:
            remove_durably(path, point="forget.file")
            deleted += 1
    flush_folder(store.table)
    return deleted
