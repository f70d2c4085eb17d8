"""Which rows of what was read are new to the store, and their files.

A row is told by its id: of an event or a pair its own; a quarantined record's are its source, reason and bytes, so that
a bad record does not come again with every export that still holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from feedback.engine import is_arrow
from feedback.engine.local import usable_cores
from feedback.ingest import IngestResult
from feedback.store.landing import Landing
from feedback.store.log import DataFile
from feedback.store.parquet import read_columns, write_rows
from feedback.store.source_rows import TakenFile, source_table
from feedback.store.tables import EVENT, PAIR, QUARANTINED, SOURCE, SUBJECT_COLUMNS
from feedback.store.tombstones import Forgotten

__all__ = ["Chosen", "NewRows", "RowCounts"]

_ID: Final = "__id"
_ID_OF: Final = {
    EVENT: pl.col("event_id"),
    PAIR: pl.col("pair_id"),
    QUARANTINED: pl.concat_str("source", "reason", "raw_sha256", separator="\x1f"),
}
_ID_COLUMNS: Final = {
    EVENT: ("event_id",),
    PAIR: ("pair_id",),
    QUARANTINED: ("source", "reason", "raw_sha256"),
}
_FILE_BYTES: Final = 256 << 20
"""Rows as they lie in memory, that go to one file: about so many."""
_LEAST_BYTES: Final = 16 << 20
"""Fewer are not shared out between cores."""
_LOOKED_UP: Final = 1_000_000
"""Ids of the store that are compared at once."""


@dataclass(frozen=True, slots=True)
class RowCounts:
    """What became of rows: new ones, those that were there already, and those of somebody who was forgotten."""

    new: int = 0
    there: int = 0
    forgotten: int = 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which rows go into the store, by kind.

    Args:
        masks: for each file of what was read, which of its rows. By kind.
        counts: how many. By kind.
        erased: sha256 of the records whose rows were left out because somebody was forgotten.
    """

    masks: dict[str, list[pl.Series]] = field(repr=False)
    counts: dict[str, RowCounts]
    erased: frozenset[str] = field(repr=False)

    @property
    def has_any(self) -> bool:
        """Whether there is any new row."""
        return any(one.new for one in self.counts.values())

    @property
    def forgotten(self) -> int:
        """Rows that were left out because somebody was forgotten."""
        return sum(one.forgotten for one in self.counts.values())

    def to_dict(self) -> dict[str, dict[str, int]]:
        """JSON values of the counts."""
        return {kind: asdict(one) for kind, one in self.counts.items()}


class NewRows:
    """What was read, beside what the store holds.

    Args:
        result: what `ingest` wrote.
        root: the folder of the store's table.
        staging: a folder for files while they are written.
    """

    def __init__(self, result: IngestResult, root: Path, staging: Path) -> None:
        self._root = root
        self._staging = staging
        self._read = {EVENT: result.events, PAIR: result.pairs, QUARANTINED: result.quarantine}
        self._ids = {kind: _ids_of(kind, paths) for kind, paths in self._read.items()}
        self._seen: set[str] = set()
        self._there: dict[str, list[pl.Series]] = {kind: [] for kind in self._read}

    def choose(self, files: Sequence[DataFile], forgotten: Forgotten) -> Chosen:
        """The rows that are not in a version of the store.

        Args:
            files: the version's files.
            forgotten: whose rows must not come back.

        Raises:
            CorruptionError: a file of the store is damaged.
        """
        masks: dict[str, list[pl.Series]] = {}
        counts: dict[str, RowCounts] = {}
        erased: set[str] = set()
        for kind, paths in self._read.items():
            if not paths:
                masks[kind], counts[kind] = [], RowCounts()
                continue
            gone = _forgotten_rows(kind, paths, forgotten)
            masks[kind], counts[kind] = self._choose(kind, paths, files, gone)
            if gone.any():
                digests = pl.concat([_columns(path, ["raw_sha256"]) for path in paths]).to_series()
                erased.update(digests.filter(gone).to_list())
        self._seen |= {file.path for file in files}
        return Chosen(masks, counts, frozenset(erased))

    def write(self, chosen: Chosen, taken: Sequence[tuple[Landing, TakenFile]], version: int) -> list[DataFile]:
        """The files of the chosen rows, and of the notes which raw files they came from, on the disk.

        Args:
            chosen: the rows.
            taken: the raw files.
            version: the version that brings them.
        """
        written = [self._write(SOURCE, [source_table(taken)], version)] if taken else []
        with ThreadPoolExecutor(usable_cores()) as pool:
            for kind, paths in self._read.items():
                if chosen.counts[kind].new:
                    parts = _parts(paths, chosen.masks[kind])
                    written += pool.map(lambda part, kind=kind: self._write(kind, _rows(part), version), parts)
        return written

    def _write(self, kind: str, tables: Iterator[pa.Table] | Sequence[pa.Table], version: int) -> DataFile:
        return write_rows(kind, tables, self._root, self._staging, version)

    def _choose(
        self, kind: str, paths: Sequence[Path], files: Sequence[DataFile], gone: pl.Series
    ) -> tuple[list[pl.Series], RowCounts]:
        ids = self._ids[kind]
        unseen = [file for file in files if file.kind == kind and file.path not in self._seen]
        self._there[kind] += _found(ids, kind, unseen, self._root)
        # To count them takes a third of the time, and mostly that is all.
        is_new = ~gone if ids.n_unique() == len(ids) else ids.is_first_distinct() & ~gone
        if any(map(len, self._there[kind])):
            is_new &= ~ids.is_in(pl.concat(self._there[kind]).implode())
        lengths = [_length(path) for path in paths]
        starts = [sum(lengths[:number]) for number in range(len(lengths))]
        new, out = int(is_new.sum()), int(gone.sum())
        return (
            [is_new.slice(start, length) for start, length in zip(starts, lengths, strict=True)],
            RowCounts(new, len(ids) - new - out, out),
        )


def _ids_of(kind: str, paths: Sequence[Path]) -> pl.Series:
    frames = [_columns(path, _ID_COLUMNS[kind]).select(_ID_OF[kind].alias(_ID)) for path in paths]
    return pl.concat(frames).to_series() if frames else pl.Series(_ID, [], dtype=pl.String)


def _found(ids: pl.Series, kind: str, files: Sequence[DataFile], root: Path) -> Iterator[pl.Series]:
    """Those of the ids that are in files of the store."""
    if not files:
        return
    waiting: list[pl.Series] = []
    count = 0
    wanted = ids.unique().implode()
    for frame in read_columns(files, root, _ID_COLUMNS[kind]):
        waiting.append(frame.select(_ID_OF[kind].alias(_ID)).to_series())
        count += frame.height
        if count >= _LOOKED_UP:
            yield _in(pl.concat(waiting), wanted)
            waiting, count = [], 0
    if waiting:
        yield _in(pl.concat(waiting), wanted)


def _in(ids: pl.Series, wanted: pl.Series) -> pl.Series:
    return ids.filter(ids.is_in(wanted))


def _forgotten_rows(kind: str, paths: Sequence[Path], forgotten: Forgotten) -> pl.Series:
    """Which rows are of somebody who was forgotten. [N] bool."""
    if not forgotten:
        return pl.repeat(False, sum(map(_length, paths)), dtype=pl.Boolean, eager=True)
    frame = pl.concat([_columns(path, SUBJECT_COLUMNS[kind]) for path in paths])
    if kind == QUARANTINED:
        return pl.Series([forgotten.in_bytes(raw) for raw in frame["raw"].to_list()], dtype=pl.Boolean)
    return forgotten.rows(frame)


def _parts(paths: Sequence[Path], masks: Sequence[pl.Series]) -> list[list[tuple[Path, pl.Series]]]:
    """What was read, in as many parts as files will be written: of one size, so that no core waits for the last one."""
    chosen = [(path, mask) for path, mask in zip(paths, masks, strict=True) if mask.any()]
    sizes = [path.stat().st_size for path, _ in chosen]
    total, cores = sum(sizes), usable_cores()
    number = min(-(-max(total // _FILE_BYTES, 1) // cores) * cores, max(total // _LEAST_BYTES, 1))
    parts: list[list[tuple[Path, pl.Series]]] = [[] for _ in range(number)]
    before = 0
    for one, size in zip(chosen, sizes, strict=True):
        parts[(2 * before + size) * number // (2 * total)].append(one)
        before += size
    return [part for part in parts if part]


def _rows(part: Sequence[tuple[Path, pl.Series]]) -> Iterator[pa.Table]:
    for path, mask in part:
        table = _table(path)
        yield table if mask.all() else table.filter(pa.array(mask.to_numpy()))


def _columns(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(_table(path, columns))


def _table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    names = None if columns is None else list(columns)
    if not is_arrow(path):
        return pq.read_table(path, columns=names)
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    return table if names is None else table.select(names)


def _length(path: Path) -> int:
    if not is_arrow(path):
        return int(pq.read_metadata(path).num_rows)
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_file(source)
        return sum(reader.get_batch(number).num_rows for number in range(reader.num_record_batches))
