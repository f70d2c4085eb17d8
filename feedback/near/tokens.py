"""Flat texts as the kernels want them: UTF-8 without a copy, and the normalised form of those that are not ASCII.

What counts as a word, a token and a separator is said in `feedback.near.code_points`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.near.code_points import CodePoints, ascii_kinds, code_points, normalized

__all__ = ["FlatTexts", "Texts", "flat_texts"]

Texts: TypeAlias = "pa.Array | pa.ChunkedArray | pl.Series | Sequence[str]"
"""What holds texts: an Arrow string array, a polars column or a list."""


@dataclass(frozen=True)
class FlatTexts:
    """Texts beside their normalised forms.

    Args:
        text: UTF-8 of all texts. uint8.
        offsets: where each text begins, and the end. [N + 1] int64.
        chars: code points of each text. [N] int64.
        places: for each text its place among the normalised ones, -1 for ASCII. [N] int64.
        normal: UTF-8 of the normalised ones. uint8.
        ends: where each of those begins, and the end. [M + 1] int64.
    """

    text: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    chars: NDArray[np.int64]
    places: NDArray[np.int64]
    normal: NDArray[np.uint8]
    ends: NDArray[np.int64]

    @property
    def side(self) -> tuple[NDArray[Any], ...]:
        """As the kernel takes it."""
        return self.text, self.offsets, self.places, self.normal, self.ends

    @property
    def kinds(self) -> NDArray[np.uint8]:
        """Kinds of all code points that occur; the whole table only if it is needed."""
        return code_points().kinds if len(self.ends) > 1 else ascii_kinds()

    @property
    def longest(self) -> int:
        """Bytes of the longest text."""
        widths = np.diff(self.offsets), np.diff(self.ends)
        return max(int(width.max(initial=0)) for width in widths)

    @property
    def size(self) -> int:
        """Bytes that are read, an upper bound on the number of tokens."""
        return int(self.offsets[-1] - self.offsets[0]) + len(self.normal)


def flat_texts(texts: Texts) -> FlatTexts:
    """Texts ready for the kernels; a null counts as an empty text.

    Args:
        texts: N texts.
    """
    from feedback.records.byte_kernels import count_code_points

    text, offsets = _buffers(texts)
    chars = np.empty(len(offsets) - 1, np.int64)
    count_code_points(text, offsets, chars)
    rows = np.flatnonzero(chars != np.diff(offsets))
    places = np.full(len(chars), -1, np.int64)
    places[rows] = np.arange(len(rows))
    normal, ends = _normalized(text, offsets, rows)
    return FlatTexts(text=text, offsets=offsets, chars=chars, places=places, normal=normal, ends=ends)


def _buffers(texts: Texts) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """UTF-8 and offsets; only polars columns and lists are copied."""
    if not isinstance(texts, pa.Array | pa.ChunkedArray):
        # through polars: Arrow loads pandas before it looks at a list
        texts = pl.Series(texts, dtype=pl.String).to_arrow()
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if not pa.types.is_string(texts.type) and not pa.types.is_large_string(texts.type):
        texts = texts.cast(pa.large_string())
    width = np.int32 if pa.types.is_string(texts.type) else np.int64
    _, places, data = texts.buffers()
    if not len(texts):
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    offsets = np.frombuffer(places, width)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64, copy=False)
    return np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8), offsets


def _normalized(
    text: NDArray[np.uint8], offsets: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """UTF-8 of some texts after normalisation and where each begins: by the tables where they do, else by Python."""
    ends = np.zeros(len(rows) + 1, np.int64)
    if not len(rows):
        return np.empty(0, np.uint8), ends
    from feedback.near.utf8 import measure_texts, normalize_texts

    tables: CodePoints = code_points()
    sizes = np.empty(len(rows), np.int64)
    measure_texts(text, offsets, rows, tables.quick, tables.folds, tables.expansions, sizes)
    by_python = {}
    for number in np.flatnonzero(sizes < 0).tolist():
        raw = text[offsets[rows[number]] : offsets[rows[number] + 1]].tobytes()
        by_python[number] = np.frombuffer(normalized(raw.decode("utf-8")).encode("utf-8"), np.uint8)
        sizes[number] = len(by_python[number])
    np.cumsum(sizes, out=ends[1:])
    normal = np.empty(int(ends[-1]), np.uint8)
    by_tables = rows.copy()
    by_tables[list(by_python)] = -1
    normalize_texts(text, offsets, by_tables, tables.folds, tables.expansions, ends[:-1].copy(), normal)
    for number, data in by_python.items():
        normal[ends[number] : ends[number + 1]] = data
    return normal, ends
