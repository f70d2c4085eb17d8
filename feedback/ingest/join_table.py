"""The records of another file by their ids, on disk, see `feedback.ingest.joined_file`.

    other files ─► kernel: id ─► record ─► table ─► read by every kernel of `feedback.ingest.block`

Memory holds a few blocks of the other file while the table is made, and the index; the records may have any size, order
and compression. Of a line only its id is read. The table is a file that kernels open by its path, for reading only and
without locks, so it can lie on a file system that nodes share.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feedback.engine import written_whole
from feedback.formats.mapping.paths import Steps, find_value, parse_path
from feedback.ingest.block_records import spoken_lines
from feedback.ingest.joined_file import JoinedFileWriter
from feedback.records.json_columns import Lines, split_lines
from feedback.records.json_fields import read_fields
from feedback.records.places import Place, place_name
from feedback.records.raw_record import RawRecord
from feedback.records.sources import new_tally, read_blocks
from feedback.records.text_blocks import TextBlock
from schemas.errors import RecordRejectedError
from schemas.manifest import SourceFile
from schemas.reasons import RejectReason

__all__ = ["JoinTable", "JoinTask", "id_text", "make_join_table"]

Block = TextBlock | list[RawRecord]
Places = NDArray[np.int64]

_WHOLE: Final = 2.0**53
_SPACE: Final = b" \t\r"
_BLOCK_BYTES: Final = 4 << 20
"""Less than a block of records has: little is made of it, so cores wait for each other at the ends of the file."""
_AT_ONCE: Final = 2
"""Blocks that are looked at together, while more are read: most of that is done without Python's lock."""


@dataclass(frozen=True, slots=True)
class JoinTask:
    """Files that become one table.

    Args:
        files: the other files.
        format: name of the format that joins them.
        id_path: dotted path of the id in their records.
        table: where the table goes.
        is_hashed: whether the digests of the files are wanted; not of those that are read again as records.
    """

    files: tuple[Place, ...]
    format: str
    id_path: str
    table: Path
    is_hashed: bool = True


@dataclass(frozen=True, slots=True)
class JoinTable:
    """A table of records by their ids.

    Args:
        table: where it lies.
        records: records in the files.
        with_id: records that have an id, and so can be found.
        ids: different ids.
        bytes: size of the records with an id, as JSON.
        unread: records that cannot be read, by `RejectReason`.
        example: the first id; empty where there is none.
        files: the files that were read.
    """

    table: Path
    records: int
    with_id: int
    ids: int
    bytes: int
    unread: dict[str, int]
    example: str
    files: tuple[SourceFile, ...]


def make_join_table(task: JoinTask) -> JoinTable:
    """Write the table of all records of the task's files that have an id, in their order.

    Raises:
        InputError: a file cannot be read.
        CorruptionError: a file is damaged.
    """
    files: list[SourceFile] = []
    id_path = parse_path(task.id_path, f"format {task.format!r}")
    with written_whole(task.table) as partial, JoinedFileWriter(partial) as writer:
        made = _Made(writer)
        for path in task.files:
            before, tally = made.records, new_tally(path, is_hashed=task.is_hashed)
            for found in _found_ahead(read_blocks(path, tally=tally, block_bytes=_BLOCK_BYTES), id_path):
                made.add(found)
            name, count = f"{task.format}, joined", made.records - before
            files.append(SourceFile(place_name(path), name, tally.sha256, tally.bytes, count))
    unread = dict(sorted(made.unread.items()))
    return JoinTable(task.table, made.records, made.with_id, writer.ids, made.bytes, unread, made.example, tuple(files))


def id_text(value: Any) -> str | None:
    """An id as text, or None where the value is none.

    A whole number is its digits, so that the text of a CSV file finds it; so is a float that is whole, which is how
    tables with gaps hold whole numbers.
    """
    if type(value) is str:
        return value if value.strip() else None
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) <= _WHOLE else None
    if isinstance(value, int):
        return str(value)
    return value if isinstance(value, str) and value.strip() else None


@dataclass(frozen=True, slots=True)
class _Found:
    """The records of one block.

    Args:
        data: text that holds them.
        ids: the id of each, None where it has none. [N].
        starts: its first byte in `data`. [N].
        ends: the byte behind it. [N].
        count: records in the block, those that cannot be read among them.
        unread: these, by `RejectReason`.
    """

    data: bytes | memoryview
    ids: list[str | None]
    starts: Places
    ends: Places
    count: int
    unread: Counter[str] = field(default_factory=Counter)


def _found_ahead(blocks: Iterator[Block], id_path: Steps) -> Iterator[_Found]:
    """What blocks hold, in their order; a block is read and hashed while others are looked at.

    They are read where this is called, since a connection may belong to its thread.
    """
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="thumbline-join") as finder:
        waiting: deque[Future[_Found]] = deque()
        for block in blocks:
            waiting.append(finder.submit(_find, block, id_path))
            if len(waiting) > _AT_ONCE + 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _find(block: Block, id_path: Steps) -> _Found:
    if isinstance(block, TextBlock):
        return _find_in_lines(split_lines(block.data), id_path)
    unread: Counter[str] = Counter()
    texts: list[bytes] = []
    ids: list[str | None] = []
    for record in block:
        if record.value is None:
            unread[str((record.reject or (RejectReason.NOT_AN_OBJECT, ""))[0])] += 1
        else:
            texts.append(_as_json(record.value))
            ids.append(id_text(_value_at(record.value, id_path)))
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    starts = np.concatenate((np.zeros(min(len(ends), 1), np.int64), ends[:-1]))
    return _Found(b"".join(texts), ids, starts, ends, len(block), unread)


def _find_in_lines(lines: Lines, id_path: Steps) -> _Found:
    places = spoken_lines(lines, np.ones(len(lines), dtype=np.bool_))
    keys = _keys(id_path)
    values, rejects = read_fields(lines, places, keys, partial(_value_at, steps=keys))
    if rest := id_path[len(keys) :]:
        values = [_value_at(value, rest) for value in values]
    starts, ends = lines.starts[places], lines.ends[places]
    for place in np.flatnonzero(_are_padded(lines.data, starts, ends)).tolist():
        line = lines.line(int(places[place]))
        starts[place] += len(line) - len(line.lstrip(_SPACE))
        ends[place] -= len(line) - len(line.rstrip(_SPACE))
    unread = Counter(str(reason) for reason, _ in rejects.values())
    return _Found(lines.data, [id_text(value) for value in values], starts, ends, len(places), unread)


class _Made:
    """Counts of a table while it is made."""

    def __init__(self, writer: JoinedFileWriter) -> None:
        self._writer = writer
        self.records = 0
        self.with_id = 0
        self.bytes = 0
        self.unread: Counter[str] = Counter()
        self.example = ""

    def add(self, found: _Found) -> None:
        """Take the records of one block."""
        self.records += found.count
        self.unread += found.unread
        starts, ends = found.starts, found.ends
        names = [name for name in found.ids if name is not None]
        if len(names) < len(found.ids):
            has_id = np.fromiter((name is not None for name in found.ids), np.bool_, len(found.ids))
            starts, ends = starts[has_id], ends[has_id]
        self.with_id += len(names)
        self.bytes += int((ends - starts).sum())
        self.example = self.example or next(iter(names), "")
        self._writer.add(found.data, names, starts, ends)


def _value_at(value: Any, steps: Steps) -> Any:
    """The value at a path, None where none can be read."""
    try:
        return find_value(value, steps)
    except RecordRejectedError:
        return None


def _keys(path: Steps) -> tuple[str, ...]:
    """The keys that a path begins with: all of it, where it goes through no list."""
    return tuple(takewhile(lambda step: isinstance(step, str), path))  # type: ignore[arg-type]


def _are_padded(data: bytes | memoryview, starts: Places, ends: Places) -> NDArray[np.bool_]:
    """Which lines begin or end with white space."""
    signs = np.frombuffer(data, dtype=np.uint8)
    spaces = np.isin(np.arange(256), list(_SPACE))
    padded: NDArray[np.bool_] = (
        spaces[signs[starts]] | spaces[signs[ends - 1]] if len(starts) else np.zeros(0, np.bool_)
    )
    return padded


def _as_json(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, default=_plain).encode("utf-8")


def _plain(value: object) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
