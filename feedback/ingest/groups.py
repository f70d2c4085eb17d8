"""Files whose records find each other, and have those that do behind each other: read once, without a table of them.

    first lines ─► blocks cut between groups ─► kernels find in their own block ─► ids of all blocks ─► whole groups?

A group is all records with one id, as the messages of a conversation. Wherever they may lie, a record needs a table of
the whole file, see `feedback.ingest.join_table`. Most exports write one conversation after the other; then every block
can hold whole groups. The first lines tell what to try. Whether it was right is known behind the last block: no id was
in two of them. If one was, nothing of it counts, and all is read again with a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from feedback.formats.drafts import Join
from feedback.formats.mapping.paths import Steps, parse_path
from feedback.ingest.block_sizes import most_records
from feedback.ingest.found_ids import find_ids
from feedback.ingest.join_table import JoinTable
from feedback.ingest.own_records import BlockIds
from feedback.records.places import Place
from feedback.records.sources import first_lines
from feedback.records.text_blocks import BLOCK_BYTES, CutAt, TextBlock
from schemas.manifest import SourceFile

__all__ = ["Groups", "are_apart", "find_groups", "table_of_blocks"]

_SAMPLE_BYTES: Final = 1 << 20
_WINDOW_BYTES: Final = 1 << 16
_WIDER: Final = 4
_MOST_KEPT_BACK: Final = 2
"""A group of more than one part in so many of a block is not kept for the next one."""


@dataclass(frozen=True, slots=True)
class Groups:
    """How blocks are cut between groups, see `feedback.records.text_blocks.read_text_blocks`.

    Args:
        block_bytes: size of a block; None takes the usual one.
        cut_at: where a block ends.
    """

    block_bytes: int | None
    cut_at: CutAt


def find_groups(files: Sequence[Place], join: Join) -> Groups | None:
    """How the blocks of files are cut that are joined with themselves; None where groups seem to lie in pieces.

    Args:
        files: the files.
        join: what their records find in each other.

    Raises:
        InputError: a file cannot be read.
    """
    id_path = parse_path(join.other, "the format's join")
    sizes: list[int] = []
    for place in files if join.key == join.other else ():
        sample = first_lines(place, _SAMPLE_BYTES)
        size = None if sample is None else _block_bytes(sample, id_path)
        if size is None:
            return None
        sizes.append(size)
    if not sizes:
        return None
    return Groups(min(sizes) if min(sizes) < BLOCK_BYTES else None, partial(_behind_last_group, id_path=id_path))


def are_apart(blocks: Iterable[BlockIds]) -> bool:
    """Whether a group may have records in two blocks, or a block was too dense to be read."""
    told = list(blocks)
    keys = np.frombuffer(bytes.fromhex("".join(one.keys for one in told)), dtype=">u8").astype(np.uint64)
    return any(one.is_dense for one in told) or len(np.unique(keys)) < len(keys)


def table_of_blocks(files: Sequence[SourceFile], blocks: Sequence[BlockIds]) -> JoinTable:
    """What a table of files would have said of them, where none was needed.

    Args:
        files: the files.
        blocks: their blocks, with no id in two of them.
    """
    unread: dict[str, int] = {}
    for one in blocks:
        for reason, count in one.unread.items():
            unread[reason] = unread.get(reason, 0) + count
    return JoinTable(
        table=Path(),
        records=sum(one.records for one in files),
        with_id=sum(one.with_id for one in blocks),
        ids=sum(len(one.keys) for one in blocks) // 16,
        bytes=sum(one.bytes for one in blocks),
        unread=dict(sorted(unread.items())),
        example="",
        files=tuple(files),
    )


def _block_bytes(sample: TextBlock, id_path: Steps) -> int | None:
    """How large a block like the sample may be; None where a group in it is in pieces."""
    found = find_ids(sample, id_path)
    begun = [name for name, before in zip(found.ids, [None, *found.ids], strict=False) if name not in (None, before)]
    if not begun or len(begun) > len(set(begun)):
        return None
    size = len(sample.data)
    return most_records(len(begun), size, is_itself=True) * max(size // found.count, 1)


def _behind_last_group(text: memoryview, id_path: Steps) -> int:
    """Where the last group of a block begins; 0 where the last record is of none, or its group is too large."""
    size = _WINDOW_BYTES
    while True:
        begin = max(len(text) - size, 0)
        window = bytes(text[begin:])
        first = window.find(b"\n") + 1 if begin else 0
        found = find_ids(TextBlock("", 1, window[first:]), id_path)
        if found.ids and found.ids[-1] is None:
            return 0
        others = [place for place, name in enumerate(found.ids) if name != found.ids[-1]]
        if others:
            return begin + window.find(b"\n", first + int(found.ends[others[-1]])) + 1
        size *= _WIDER
        if not begin or size * _MOST_KEPT_BACK > len(text):
            return 0
