"""Cells that hold texts as JSON, for many records at once: lists, the turns that two of them make, and words."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.formats.parts.field_columns import stripped
from feedback.records.json_columns import Lines, read_columns

__all__ = ["answered_turns", "listed", "placed", "text_lists", "word_cells"]

_CELL: Final = "cell"
_WORDS: Final = pl.Struct({"is_read": pl.Boolean, "tags": pl.List(pl.String), "text": pl.String})
_WORD_FIELDS: Final = pa.schema([("tags", pa.list_(pa.string())), ("text", pa.string())])
_QUOTE: Final = ord('"')
_LISTS: Final = pl.List(pl.String)
_TURNS: Final = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))


def text_lists(path: str) -> pl.Expr:
    """The list of texts that a text holds as JSON; null where it holds anything else.

    >>> pl.select(cell=pl.Series(['["a", "b"]', '["a", null]', "a"])).select(text_lists("cell")).to_series().to_list()
    [['a', 'b'], None, None]

    Args:
        path: the field.
    """
    return pl.col(path).map_batches(_read_lists, return_dtype=_LISTS)


def word_cells(path: str) -> pl.Expr:
    """What a text holds that is the JSON of an object with words about a judgement: `is_read`, `tags` and `text`.

    Blank words and a blank text are left out.

    Args:
        path: the field.
    """
    return pl.col(path).map_batches(_read_words, return_dtype=_WORDS)


def answered_turns(asked: str, answered: str) -> pl.Expr:
    """The turns of a conversation behind its first question; null where not each question has an answer.

    >>> frame = pl.select(asked=pl.Series([["q", "p"], ["q"]]), answered=pl.Series([["a", "b"], []], dtype=_LISTS))
    >>> frame.select(answered_turns("asked", "answered")).to_series().list.eval(pl.element().struct[1]).to_list()
    [['a', 'p', 'b'], None]

    Args:
        asked: a list of what the user said.
        answered: a list of what the assistant said.
    """
    return pl.struct(pl.col(asked).alias("asked"), pl.col(answered).alias("answered")).map_batches(
        _turns, return_dtype=_TURNS
    )


def _read_lists(cells: pl.Series) -> pl.Series:
    """The lists; null where a cell holds anything but a list of texts."""
    from feedback.records.byte_kernels import count_bytes
    from feedback.records.text_kernels import read_text_lists  # loads numba

    packed = cells.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    signs = np.frombuffer(packed.buffers()[2] or b"", dtype=np.uint8)
    offsets = np.frombuffer(packed.buffers()[1] or bytes(8), dtype=np.int64)[packed.offset :][: len(cells) + 1]
    out = np.empty(len(signs), dtype=np.uint8)
    ends = np.zeros(count_bytes(signs, 0, _QUOTE) // 2 + 1, dtype=np.int64)
    counts = np.empty(len(cells), dtype=np.int64)
    read_text_lists(signs, offsets, out, ends[1:], counts)
    is_list = counts >= 0
    starts = np.concatenate(([0], np.cumsum(counts[is_list])))
    ends = ends[: starts[-1] + 1]
    texts = pa.LargeStringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(out[: ends[-1]]))
    rows = np.full(len(cells), -1)
    rows[is_list] = np.arange(len(starts) - 1)
    return placed(listed(texts, starts, _LISTS), rows)


def _read_words(cells: pl.Series) -> pl.Series:
    """The words of each cell, read as a line of its own."""
    text = pl.when(~pl.col(_CELL).str.contains("\n", literal=True)).then(pl.col(_CELL)).fill_null("") + "\n"
    packed = cells.alias(_CELL).to_frame().select(text).to_series().rechunk()
    packed = packed.to_arrow(compat_level=pl.CompatLevel.oldest())
    offsets = np.frombuffer(packed.buffers()[1] or bytes(8), dtype=np.int64)
    lines = Lines(memoryview(packed.buffers()[2] or b""), offsets[: len(cells)], offsets[1 : len(cells) + 1] - 1)
    tags, said = pl.col("tags"), pl.col("text")
    is_said = stripped(pl.element()).str.len_bytes() > 0
    told = pl.struct(
        (tags.is_null() | tags.list.eval(pl.element().is_not_null()).list.all()).alias("is_read"),
        tags.list.eval(pl.element().filter(is_said)).fill_null(pl.lit([], pl.List(pl.String))).alias("tags"),
        pl.when(stripped(said).str.len_bytes() > 0).then(said).alias("text"),
    )
    rows, found, count = np.full(len(cells), -1), [pl.Series(dtype=_WORDS)], 0
    for places, table in read_columns(lines, _WORD_FIELDS):
        rows[places] = np.arange(count, count + len(places))
        frame = pl.DataFrame(pl.from_arrow(table.select(["tags", "text"])))
        found.append(frame.select(told).to_series().cast(_WORDS))
        count += len(places)
    return placed(pl.concat(found), rows)


def _turns(both: pl.Series) -> pl.Series:
    asked, answered = both.struct.field("asked"), both.struct.field("answered")
    lengths = asked.list.len()
    is_whole = ((lengths == answered.list.len()) & (lengths > 0)).fill_null(value=False)
    counts = lengths.filter(is_whole).cast(pl.Int64).to_numpy()
    said = pl.concat([one.filter(is_whole).explode(empty_as_null=False) for one in (answered, asked)])
    # Question and answer in turn, without the first question of each.
    order = np.stack((np.arange(len(said) // 2, len(said)), np.arange(len(said) // 2)), axis=1).reshape(-1)
    is_behind = np.ones(len(order), dtype=np.bool_)
    is_behind[2 * (np.cumsum(counts) - counts)] = False
    order = order[is_behind]
    is_answer = pl.Series(order < len(said) // 2)
    turns = pl.DataFrame({"role": is_answer, "content": said.gather(pl.Series(order))}).with_columns(
        pl.when("role").then(pl.lit("assistant")).otherwise(pl.lit("user")).alias("role")
    )
    starts = np.concatenate(([0], np.cumsum(2 * counts - 1)))
    rows = np.full(len(both), -1)
    rows[is_whole.to_numpy()] = np.arange(len(counts))
    values = turns.to_struct().to_arrow(compat_level=pl.CompatLevel.newest())
    return placed(listed(values, starts, _TURNS), rows)


def listed(values: pa.Array, starts: NDArray[np.int64], kind: pl.List) -> pl.Series:
    """The values in lists, each from its start to the next one's."""
    offsets = pa.Array.from_buffers(pa.int64(), len(starts), [None, pa.py_buffer(starts)])
    return pl.Series(pa.LargeListArray.from_arrays(offsets, values), dtype=kind)


def placed(values: pl.Series, rows: NDArray[np.int64]) -> pl.Series:
    """For each row the value with its number; null for -1."""
    if len(values) == len(rows) and (rows == np.arange(len(rows))).all():
        return values
    with_null = pl.concat([values, pl.Series([None], dtype=values.dtype)])
    return with_null.gather(pl.Series(np.where(rows < 0, len(values), rows)))
