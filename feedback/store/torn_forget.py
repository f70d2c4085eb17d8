"""A commit of `forget` that is torn: made again of the files that it named, since nothing else can give its rows.

The version before it names files that are deleted, as they hold what was to be forgotten, and the raw copies give it no
more. What the commit put in is still in the table's folder, where no commit names it now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from feedback.store.log import DataFile, named_files
from feedback.store.opened import OpenedStore
from feedback.store.parquet import data_file
from feedback.store.places import fetched, listed
from feedback.store.receipts import Receipt, read_receipts
from feedback.store.tables import TOMBSTONE
from feedback.store.tombstones import read_tombstones
from schemas.errors import CorruptionError

__all__ = ["forget_again"]


def forget_again(store: OpenedStore) -> Receipt | None:
    """Commit once more what a torn commit of `forget` had put in and taken out; its receipt, or None where none was.

    The files are taken for those of the commit only if they are whole, and hold exactly the rows of the missing ones
    without those that the receipt counts. Nobody else may work on the store meanwhile.

    Args:
        store: the store, its torn commit set aside.
    """
    version = store.log.version()
    files = store.log.files(version)
    removed = [file for file in files if not fetched(store.table / file.path).is_file()]
    begun = [one for one in read_receipts(store.folder) if one.rows and one.version in (None, version + 1)]
    if not removed or not begun:
        return None
    added = _unnamed(store)
    told = read_tombstones(added, store.table, store.key).subjects
    known = read_tombstones(files, store.table, store.key).subjects
    for receipt in begun:
        is_told = told == {receipt.subject} or (not told and receipt.subject in known)
        if is_told and _rows(added) + Counter(receipt.rows) == _rows(removed):
            about = {"receipt": receipt.receipt, "counts": receipt.rows}
            store.log.commit(version + 1, added, removed, operation="forget", about=about)
            return receipt
    return None


def _unnamed(store: OpenedStore) -> list[DataFile]:
    """Whole files of the table that no commit names; none where one is damaged."""
    named = named_files(store.log)
    paths = [path for path in listed(store.table, "kind=*/*") if path.relative_to(store.table).as_posix() not in named]
    try:
        return [data_file(fetched(path), store.table) for path in paths]
    except CorruptionError:
        return []


def _rows(files: Sequence[DataFile]) -> Counter[str]:
    """How many rows of each kind, but for tombstones, which nobody forgets."""
    counts: Counter[str] = Counter()
    for file in files:
        if file.kind != TOMBSTONE:
            counts[file.kind] += file.rows
    return counts
