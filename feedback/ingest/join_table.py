"""The records of another file by their ids, on disk, see `feedback.ingest.joined_file`.

    other files ─► kernel: id ─► record ─► table ─► read by every kernel of `feedback.ingest.block`

Memory holds a few blocks of the other file while the table is made, and the index; the records may have any size, order
and compression. Of a line only its id is read. The table is a file that kernels open by its path, for reading only and
without locks, so it can lie on a file system that nodes share.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from feedback.engine import written_whole
from feedback.formats.mapping.paths import Steps, parse_path
from feedback.ingest.found_ids import FoundIds, find_ids
from feedback.ingest.joined_file import JoinedFileWriter
from feedback.records.places import Place, place_name
from feedback.records.raw_record import RawRecord
from feedback.records.sources import new_tally, read_blocks
from feedback.records.text_blocks import TextBlock
from schemas.manifest import SourceFile

__all__ = ["JoinTable", "JoinTask", "make_join_table"]

Block = TextBlock | list[RawRecord]

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


def _found_ahead(blocks: Iterator[Block], id_path: Steps) -> Iterator[FoundIds]:
    """What blocks hold, in their order; a block is read and hashed while others are looked at.

    They are read where this is called, since a connection may belong to its thread.
    """
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="thumbline-join") as finder:
        waiting: deque[Future[FoundIds]] = deque()
        for block in blocks:
            waiting.append(finder.submit(find_ids, block, id_path))
            if len(waiting) > _AT_ONCE + 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class _Made:
    """Counts of a table while it is made."""

    def __init__(self, writer: JoinedFileWriter) -> None:
        self._writer = writer
        self.records = 0
        self.with_id = 0
        self.bytes = 0
        self.unread: Counter[str] = Counter()
        self.example = ""

    def add(self, found: FoundIds) -> None:
        """Take the records of one block."""
        self.records += found.count
        self.unread += found.unread
        names, starts, ends = found.named()
        self.with_id += len(names)
        self.bytes += int((ends - starts).sum())
        self.example = self.example or next(iter(names), "")
        self._writer.add(found.data, names, starts, ends)
