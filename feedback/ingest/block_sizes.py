"""How many records a block has whose records find others: as many as, with what each finds, fit into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from feedback.ingest.join_table import JoinTable
from feedback.records.raw_record import RawRecord
from feedback.records.text_blocks import BLOCK_BYTES, TextBlock, even_count

__all__ = ["most_records", "smaller_blocks"]

_NEWLINE: Final = ord("\n")
_SPARSE: Final = 8
"""Of so many messages of a chat one is judged; where all are, a block holds so many times its size."""
_LEAST_RECORDS: Final = 64
"""More than `feedback.ingest.format_check` looks at to tell whether a file is in its format."""


def most_records(ids: int, size: int, *, is_itself: bool) -> int:
    """So many records are, with what each finds, about the size of a usual block.

    Args:
        ids: different ids of what is found.
        size: bytes of it.
        is_itself: whether it is in the same file, few records of which find anything.
    """
    records = max(_LEAST_RECORDS, BLOCK_BYTES * max(ids, 1) // max(size, 1))
    return records * (_SPARSE if is_itself else 1)


def smaller_blocks(
    blocks: Iterable[TextBlock | list[RawRecord]], table: JoinTable, *, is_itself: bool = False
) -> Iterator[TextBlock | list[RawRecord]]:
    """Blocks of as many records as, with what each finds in the other file, are about the size of a usual block.

    A block of short scores would otherwise become as many long texts at once.

    Args:
        blocks: the blocks of a file.
        table: the other file.
        is_itself: whether it is the same file, few records of which find anything.
    """
    records = most_records(table.ids, table.bytes, is_itself=is_itself)
    for block in blocks:
        if isinstance(block, TextBlock):
            yield from _cut(block, records)
        else:
            yield from (block[start : start + records] for start in range(0, len(block), records))


def _cut(block: TextBlock, lines: int) -> Iterator[TextBlock]:
    """Parts of a block of at most so many lines, all of about one size."""
    from feedback.records.byte_kernels import count_bytes

    count = count_bytes(np.frombuffer(block.data, dtype=np.uint8), 0, _NEWLINE)
    if count <= lines:
        yield block
        return
    lines = -(-count // even_count(-(-count // lines)))
    start, first_line = 0, block.first_line
    ends = np.flatnonzero(np.frombuffer(block.data, dtype=np.uint8) == _NEWLINE)[lines - 1 :: lines] + 1
    for end in [*ends.tolist(), len(block.data)]:
        if end > start:
            yield TextBlock(block.file, first_line, block.data[start:end])
            start, first_line = end, first_line + lines
