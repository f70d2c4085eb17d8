"""The records of one block, decoded piece by piece, so that few objects of Python live at once.

A block of decoded records is many times its text: it would leave the processor's cache, and the collector of garbage
would look through it again and again. In pieces of half a MiB nested records are decoded twice as fast.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feedback.hashing import sha256_of
from feedback.ingest.arrow_columns import bytes_between
from feedback.records.json_columns import Lines
from feedback.records.json_lines import decode_joined
from feedback.records.raw_record import RawRecord
from feedback.records.strict_json import decode_object

__all__ = ["BlockRecords", "LineRecords", "ListRecords", "Piece", "spoken_lines"]

Places = NDArray[np.int64]

_PIECE_BYTES: Final = 1 << 19
_PIECE_RECORDS: Final = 512
_RECORD: Final = "record"
_MAY_BE_BLANK: Final = np.isin(np.arange(256), [ord(sign) for sign in " \t\r"])


@dataclass(frozen=True, slots=True)
class Piece:
    """Some records behind each other.

    Args:
        first: number of the first.
        values: the object of each; None where it is rejected.
        rejects: `RejectReason` and detail of the rejected ones, by their place in `values`.
    """

    first: int
    values: Sequence[dict[str, Any] | None]
    rejects: dict[int, tuple[str, str]]


class BlockRecords(Protocol):
    """Records of a block, numbered from 0."""

    def __len__(self) -> int: ...

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """The records from `start` on and before `stop`, decoded."""

    def record(self, number: int, value: dict[str, Any] | None) -> RawRecord:
        """A record with its place and its bytes; `value` is what a piece gave for it."""

    def again(self, number: int) -> RawRecord:
        """An accepted record, decoded again where it was let go."""

    def line_numbers(self, numbers: Places) -> Places:
        """The line of each of some records, from 1."""

    def digests(self) -> pl.Series:
        """The sha256 of each record's bytes, hex digits."""


class LineRecords:
    """Records on lines of a text.

    Args:
        file: name of the file, without its folder.
        first_line: number of the text's first line, from 1.
        lines: the text.
        places: which of its lines are meant, none of them blank.
    """

    def __init__(self, file: str, first_line: int, lines: Lines, places: Places) -> None:
        self._file = file
        self._first_line = first_line
        self._lines = lines
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """The records from `start` on and before `stop`, decoded."""
        ends = self._lines.ends[self._places]
        while start < stop:
            begin = int(self._lines.starts[self._places[start]])
            end = int(np.searchsorted(ends, begin + _PIECE_BYTES, side="right"))
            end = max(start + 1, min(end, stop))
            yield Piece(start, *decode_joined(self._text(self._places[start:end])))
            start = end

    def record(self, number: int, value: dict[str, Any] | None) -> RawRecord:
        """A record with its place and its bytes."""
        place = int(self._places[number])
        return RawRecord(self._file, self._first_line + place, self._lines.line(place), value)

    def again(self, number: int) -> RawRecord:
        """An accepted record, decoded again."""
        found = self.record(number, None)
        return self.record(number, decode_object(found.raw))

    def line_numbers(self, numbers: Places) -> Places:
        """The line of each of some records, from 1."""
        return self._first_line + self._places[numbers]

    def digests(self) -> pl.Series:
        """The sha256 of each record's bytes, hex digits."""
        lines, places = self._lines, self._places
        return _digests(bytes_between(lines.data, lines.starts[places], lines.ends[places]))

    def _text(self, places: Places) -> bytes | memoryview:
        """The lines at `places`, each with a line end."""
        starts, ends, data = self._lines.starts[places], self._lines.ends[places], self._lines.data
        if (starts[1:] == ends[:-1] + 1).all() and ends[-1] < len(data) and data[ends[-1]] == ord("\n"):
            return data[starts[0] : ends[-1] + 1]
        return b"\n".join([*self._lines.at(places), b""])


class ListRecords:
    """Records that were decoded where they were read.

    Args:
        records: the records.
    """

    def __init__(self, records: Sequence[RawRecord]) -> None:
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """The records from `start` on and before `stop`."""
        for first in range(start, stop, _PIECE_RECORDS):
            records = self._records[first : min(first + _PIECE_RECORDS, stop)]
            rejects = {place: one.reject for place, one in enumerate(records) if one.reject is not None}
            yield Piece(first, [one.value for one in records], rejects)

    def record(self, number: int, value: dict[str, Any] | None) -> RawRecord:
        """A record; it has its value already."""
        del value
        return self._records[number]

    def again(self, number: int) -> RawRecord:
        """A record."""
        return self._records[number]

    def line_numbers(self, numbers: Places) -> Places:
        """The line of each of some records, from 1."""
        return np.array([one.line for one in self._records], dtype=np.int64)[numbers]

    def digests(self) -> pl.Series:
        """The sha256 of each record's bytes, hex digits."""
        return _digests(pl.Series([one.raw for one in self._records], dtype=pl.Binary))


def spoken_lines(lines: Lines, is_wanted: NDArray[np.bool_]) -> Places:
    """Places of the wanted lines that are not blank.

    Args:
        lines: the lines.
        is_wanted: whether each is wanted. [N] bool.
    """
    is_spoken = is_wanted & (lines.ends > lines.starts)
    places = np.flatnonzero(is_spoken)
    signs = np.frombuffer(lines.data, dtype=np.uint8)
    for place in places[_MAY_BE_BLANK[signs[lines.starts[places]]]].tolist():
        is_spoken[place] = bool(lines.line(place).strip(b" \t\r"))
    return np.flatnonzero(is_spoken)


def _digests(records: pl.Series) -> pl.Series:
    return records.to_frame(_RECORD).select(sha256_of(pl.col(_RECORD))).to_series()
