"""The ids of records, and where each record lies: of the lines of a block only the id is read."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feedback.formats.mapping.paths import Steps, find_value
from feedback.formats.parts.fields import id_text
from feedback.ingest.block_records import spoken_lines
from feedback.records.json_columns import Lines, split_lines
from feedback.records.json_fields import read_fields
from feedback.records.raw_record import RawRecord
from feedback.records.text_blocks import TextBlock
from schemas.errors import RecordRejectedError
from schemas.reasons import RejectReason

__all__ = ["FoundIds", "find_ids", "find_line_ids"]

Block = TextBlock | list[RawRecord]
Places = NDArray[np.int64]

_SPACE: Final = b" \t\r"


@dataclass(frozen=True, slots=True)
class FoundIds:
    """The records of one block and their ids.

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

    def named(self) -> tuple[list[str], Places, Places]:
        """The ids that are there, and the first byte of the record of each and the byte behind it."""
        names = [name for name in self.ids if name is not None]
        if len(names) == len(self.ids):
            return names, self.starts, self.ends
        has_id = np.fromiter((name is not None for name in self.ids), np.bool_, len(self.ids))
        return names, self.starts[has_id], self.ends[has_id]


def find_ids(block: Block, id_path: Steps) -> FoundIds:
    """The ids of the records of a block, at a path."""
    if isinstance(block, TextBlock):
        return find_line_ids(split_lines(block.data), None, id_path)
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
    return FoundIds(b"".join(texts), ids, starts, ends, len(block), unread)


def find_line_ids(lines: Lines, places: Places | None, id_path: Steps) -> FoundIds:
    """The ids of the records on some lines.

    Args:
        lines: the lines.
        places: which of them, none of them blank; None takes all that are not.
        id_path: where the id is.
    """
    places = spoken_lines(lines, np.ones(len(lines), dtype=np.bool_)) if places is None else places
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
    return FoundIds(lines.data, [id_text(value) for value in values], starts, ends, len(places), unread)


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
