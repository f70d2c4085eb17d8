"""Records by their ids in one file: as they came, behind each other, and then an index that is sorted by their keys.

    [records][keys, high halves][low halves][first bytes][sizes][number of records]

A key is a hash of 128 bits, so ids need not be kept. Whoever reads maps the file into memory: a look-up touches the
index and the records that it finds. The index takes 32 bytes for each record while it is made.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feedback.hashing import Keys, wide_keys
from feedback.records.json_columns import Lines

__all__ = ["JoinedFileWriter", "JoinedRecords", "open_joined", "records_by_id"]

Places = NDArray[np.int64]

_WORD: Final = 8
_COLUMNS: Final = 4


class JoinedFileWriter:
    """Writes the file; it is whole when the block ends.

    Args:
        path: where it goes.

    Attributes:
        ids: different ids, known at the end.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._end = 0
        self._keys: list[Keys] = []
        self._starts: list[Places] = []
        self._sizes: list[Places] = []
        self.ids = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._file:
            if kind is None:
                self._write_index()

    def add(self, data: bytes | memoryview, names: Sequence[str], starts: Places, ends: Places) -> None:
        """Add records.

        Args:
            data: text that holds them; all of it is written.
            names: the id of each. [N].
            starts: its first byte in `data`. [N].
            ends: the byte behind it. [N].
        """
        if not names:
            return
        self._file.write(data)
        self._keys.append(wide_keys(names))
        self._starts.append(starts + self._end)
        self._sizes.append(ends - starts)
        self._end += len(data)

    def _write_index(self) -> None:
        self._file.write(bytes(-self._end % _WORD))
        keys = np.concatenate([np.empty((0, 2), np.uint64), *self._keys])
        starts, sizes = (np.concatenate([np.empty(0, np.int64), *some]) for some in (self._starts, self._sizes))
        index = _index(keys, starts, sizes)
        self._file.write(index.data)
        self._file.write(np.int64(len(keys)).tobytes())
        self.ids = int((index[:2, 1:] != index[:2, :-1]).any(axis=0).sum()) + bool(len(keys))


class JoinedRecords:
    """Records by their ids.

    Args:
        data: text that holds them.
        index: the high half of each record's key, the low one, its first byte in `data` and its size; sorted by keys,
            records with one key by their places. [4, N] int64.
    """

    def __init__(self, data: memoryview, index: NDArray[np.int64]) -> None:
        self._data = data
        self._high: Keys = index[0].view(np.uint64)
        self._low: Keys = index[1].view(np.uint64)
        self._starts, self._sizes = index[2:]

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def keys(self) -> Keys:
        """The high half of each record's key, in rising order. [N]."""
        return self._high

    def spans(self, names: Sequence[str] | pl.Series) -> list[tuple[int, int]]:
        """The rows of the index that belong to each id: the first, and the one behind the last."""
        if not len(self._high):
            return [(0, 0)] * len(names)
        keys = wide_keys(names)
        high, low = keys[:, 0], keys[:, 1]
        firsts, lasts = (np.searchsorted(self._high, high, side=side) for side in ("left", "right"))
        ends = self._low[np.minimum(firsts, len(self._low) - 1)], self._low[lasts - 1]
        # Nearly always what shares the high half shares the low one, or there is nothing.
        for place in np.flatnonzero((lasts > firsts) & ((ends[0] != low) | (ends[1] != low))).tolist():
            first, same = firsts[place], self._low[firsts[place] : lasts[place]]
            firsts[place], lasts[place] = (
                first + np.searchsorted(same, low[place], side) for side in ("left", "right")
            )
        return list(zip(firsts.tolist(), lasts.tolist(), strict=True))

    def size(self, span: tuple[int, int]) -> int:
        """How many bytes the records of a span have together."""
        return sum(self._sizes[span[0] : span[1]].tolist())

    def records(self, span: tuple[int, int]) -> list[memoryview]:
        """The records of a span in the order of the file, each as its JSON."""
        rows = slice(*span)
        spans = zip(self._starts[rows].tolist(), self._sizes[rows].tolist(), strict=True)
        return [self._data[start : start + size] for start, size in spans]

    def lines(self, rows: Places) -> tuple[Lines, Places]:
        """The records of some rows in the order of the file, each once and as a line, and the place of each row's."""
        found, places = np.unique(rows, return_inverse=True)
        order = np.argsort(self._starts[found], kind="stable")
        places = np.argsort(order, kind="stable")[places]
        starts, sizes = self._starts[found[order]], self._sizes[found[order]]
        ends = starts + sizes
        if len(found) and (starts[1:] == ends[:-1] + 1).all():
            # As they lay in a file of lines: nothing needs to be copied.
            first = int(starts[0])
            return Lines(self._data[first : int(ends[-1])], starts - first, ends - first), places
        spans = zip(starts.tolist(), ends.tolist(), strict=True)
        text = b"\n".join([self._data[start:end] for start, end in spans])
        starts = np.cumsum(sizes + 1) - sizes - 1
        return Lines(text, starts, starts + sizes), places


def open_joined(path: Path) -> JoinedRecords:
    """The records of a file, which is mapped into memory as long as they are held.

    Args:
        path: where it lies.
    """
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    count = int(np.frombuffer(mapped[-_WORD:], np.int64)[0])
    first = len(mapped) - _WORD * (_COLUMNS * count + 1)
    words = np.frombuffer(mapped, np.int64, _COLUMNS * count, first)
    return JoinedRecords(memoryview(mapped), words.reshape(_COLUMNS, count))


def records_by_id(data: memoryview, names: Sequence[str] | pl.Series, starts: Places, ends: Places) -> JoinedRecords:
    """Records of a text in memory by their ids.

    Args:
        data: text that holds them.
        names: the id of each. [N].
        starts: its first byte in `data`. [N].
        ends: the byte behind it. [N].
    """
    return JoinedRecords(data, _index(wide_keys(names), starts, ends - starts))


def _index(keys: Keys, starts: Places, sizes: Places) -> NDArray[np.int64]:
    """The index of records. [4, N]."""
    # Records with one key stay in the order of the file.
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    return np.stack([*keys[order].T.view(np.int64), starts[order], sizes[order]])
