"""The rows of somebody who is to be forgotten: which they are, and files without them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from feedback.store.log import DataFile
from feedback.store.parquet import checked, read_columns, write_rows
from feedback.store.tables import ID_COLUMNS, QUARANTINED, SUBJECT_COLUMNS, VERSION, file_schema
from feedback.store.tombstones import Forgotten

__all__ = ["SubjectRows", "find_rows", "rewrite_without", "subject_mask", "texts_of"]

_TEXTS: Final = ("prompt", "completion", "comment", "response_a", "response_b", "source_record_id", "conversation_id")


@dataclass(frozen=True, slots=True)
class SubjectRows:
    """Rows of somebody in a version of the store.

    Args:
        files: the files that hold any.
        ids: `event_id` and `pair_id` of the rows.
        raw: sha256 of the records that they came from.
        counts: rows by kind.
        first_version: the least version that brought one; null where there is none.
    """

    files: tuple[DataFile, ...] = ()
    ids: frozenset[str] = field(default=frozenset(), repr=False)
    raw: frozenset[str] = field(default=frozenset(), repr=False)
    counts: dict[str, int] = field(default_factory=dict)
    first_version: int | None = None


def find_rows(files: Sequence[DataFile], root: Path, subject: Forgotten) -> SubjectRows:
    """The rows of somebody.

    Args:
        files: files of a version.
        root: the table's folder.
        subject: who it is.

    Raises:
        CorruptionError: a file is damaged.
    """
    hit: list[DataFile] = []
    ids: set[str] = set()
    raw: set[str] = set()
    counts: dict[str, int] = {}
    versions: list[int] = []
    for file in files:
        if file.kind not in SUBJECT_COLUMNS:
            continue
        own = [ID_COLUMNS[file.kind]] if file.kind in ID_COLUMNS else []
        (frame,) = read_columns([file], root, [*SUBJECT_COLUMNS[file.kind], *own, "raw_sha256", VERSION])
        found = frame.filter(subject_mask(file.kind, frame, subject))
        if found.is_empty():
            continue
        hit.append(file)
        raw.update(found["raw_sha256"].to_list())
        counts[file.kind] = counts.get(file.kind, 0) + found.height
        versions += found[VERSION].to_list()
        for name in own:
            ids.update(found[name].to_list())
    return SubjectRows(tuple(hit), frozenset(ids), frozenset(raw), counts, min(versions, default=None))


def texts_of(rows: SubjectRows, root: Path, subject: Forgotten) -> frozenset[str]:
    """Everything that somebody's rows say, to look for it elsewhere.

    Args:
        rows: the rows.
        root: the table's folder.
        subject: who it is.
    """
    found: set[str] = set()
    for file in rows.files:
        if file.kind == QUARANTINED:
            continue
        names = [name for name in _TEXTS if name in file_schema(file.kind).names]
        (frame,) = read_columns([file], root, [*names, *SUBJECT_COLUMNS[file.kind]])
        theirs = frame.filter(subject_mask(file.kind, frame, subject))
        for name in names:
            values = theirs[name].drop_nulls()
            if values.dtype == pl.String:
                found.update(values.to_list())
            else:
                found.update(turn["content"] for turns in values.to_list() for turn in turns)
    return frozenset(found)


def subject_mask(kind: str, frame: pl.DataFrame, subject: Forgotten) -> pl.Series:
    """Which rows are theirs. [N] bool.

    Args:
        kind: kind of the rows.
        frame: the rows, with the columns that say whose they are.
        subject: who it is.
    """
    if kind == QUARANTINED:
        return pl.Series([subject.in_bytes(raw) for raw in frame["raw"].to_list()], dtype=pl.Boolean)
    return subject.rows(frame)


def rewrite_without(file: DataFile, root: Path, staging: Path, subject: Forgotten) -> DataFile | None:
    """A file with the other rows of a file, each with the version that brought it; None where there are none.

    Args:
        file: the file.
        root: the table's folder.
        staging: a folder for the new one while it is written.
        subject: whose rows are left out.

    Raises:
        CorruptionError: the file is damaged.
    """
    (path,) = checked([file], root)
    tables = _others(path, file.kind, subject)
    first = next(tables, None)
    if first is None:
        return None
    return write_rows(file.kind, _chained(first, tables), root, staging, 0)


def _others(path: Path, kind: str, subject: Forgotten) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as opened:
        for group in range(opened.num_row_groups):
            table = opened.read_row_group(group)
            mask = ~subject_mask(kind, pl.DataFrame(table.select(list(SUBJECT_COLUMNS[kind]))), subject)
            if mask.any():
                yield table.filter(pa.array(mask.to_numpy()))


def _chained(first: pa.Table, others: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield first
    yield from others
