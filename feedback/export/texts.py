"""The texts of the rows to export: found by their ids, read once, and put in the order of the rows.

    ids of all text files ──join──► which rows of which file are wanted ──file by file──► prompts, completions, tools

Text moves as flat columns (roles and contents beside each other): that is many times faster than as lists of structs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from feedback.export.plan import Places
from feedback.stage import counted
from schemas.errors import CorruptionError
from schemas.messages import MESSAGES

__all__ = ["TEXT_COLUMNS", "TextChunk", "TextTable", "find_texts", "id_keys", "read_texts"]

TEXT_COLUMNS: Final = ("prompt", "completion", "tools")
"""What a chunk of texts gives; `tools` only where a row has some."""

_CHUNK_BYTES: Final = 64_000_000
_PLAIN: Final = pl.CompatLevel.oldest()


@dataclass(frozen=True, slots=True)
class TextTable:
    """Parquet files that hold text: the column of ids, and for each `text_side` the column of its completion."""

    paths: tuple[Path, ...]
    id_column: str
    completions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TextChunk:
    """Some row groups of a table's files, few enough for memory, and what is wanted of them.

    Args:
        pieces: file, number of the first row, and number of rows, of each piece; the rows of a chunk follow each other.
        completions: columns of completions.
        wanted_rows: the wanted row of each place. [N]
        wanted_columns: which of `completions` each place wants. [N]
        places: the places, ascending. [N]
    """

    pieces: tuple[tuple[Path, int, int], ...]
    completions: tuple[str, ...]
    wanted_rows: Places
    wanted_columns: Places
    places: Places


def id_keys(column: str) -> list[pl.Expr]:
    """Both halves of an id of 32 hex digits as keys, named `high` and `low`; null where it is none."""
    text = pl.col(column).str
    return [
        text.head(16).str.to_integer(base=16, dtype=pl.UInt64, strict=False).alias("high"),
        text.slice(16).str.to_integer(base=16, dtype=pl.UInt64, strict=False).alias("low"),
    ]


def find_texts(texts: Sequence[TextTable], wanted: pl.DataFrame) -> list[TextChunk]:
    """Where the wanted texts lie.

    Args:
        texts: the tables of texts.
        wanted: `high`, `low`, `text_side` and `place` of every row.

    Raises:
        CorruptionError: a text is in none of the tables.
    """
    chunks: list[TextChunk] = []
    for table in texts:
        sides = pl.DataFrame(
            {"text_side": list(table.completions), "column": range(len(table.completions))},
            schema={"text_side": wanted.schema["text_side"], "column": pl.Int64},
        )
        asked = wanted.join(sides, on="text_side").drop("text_side")
        if not asked.height or not table.paths:
            continue
        # Two keys in the join cost twice the time of one and a look at the other.
        found = asked.join(_read_ids(table), on="high").filter(pl.col("low") == pl.col("low_right"))
        if found["place"].n_unique() < found.height:
            # The same record may have been ingested twice; its text is the same.
            found = found.sort("place", "row").unique("place", keep="first", maintain_order=True)
        wanted = wanted.join(found.select("place"), on="place", how="anti")
        chunks += _chunks(table, found.sort("row"))
    if wanted.height:
        first = wanted.sort("place").row(0, named=True)
        raise CorruptionError(
            f"the text of {counted(wanted.height, 'row')} is missing, "
            f"the first with text_id {first['high']:016x}{first['low']:016x}",
            where="export",
            todo="Curate again from the raw files",
        )
    return chunks


def read_texts(chunk: TextChunk) -> pa.RecordBatch:
    """Columns `prompt`, `completion` and, where a row has some, `tools`, in the order of the chunk's places."""
    frame = pl.concat([_read_piece(chunk, *piece) for piece in chunk.pieces])
    completions = pl.concat([frame[name].alias("completion") for name in chunk.completions])
    arrays = {
        "prompt": _taken_messages(frame["prompt"], chunk.wanted_rows),
        "completion": _taken_messages(completions, chunk.wanted_rows + chunk.wanted_columns * frame.height),
    }
    tools = frame["tools"].gather(chunk.wanted_rows)
    if tools.null_count() < tools.len():
        arrays["tools"] = _plain_text(tools)
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def _read_ids(table: TextTable) -> pl.DataFrame:
    """The ids of all files, and the number of each row, counted through them."""
    ids = pl.scan_parquet(list(table.paths), glob=False).select(*id_keys(table.id_column))
    return ids.with_row_index("row").collect()


def _chunks(table: TextTable, found: pl.DataFrame) -> Iterator[TextChunk]:
    """The wanted rows, found in this order, a few row groups at a time."""
    rows = found["row"].cast(pl.Int64).to_numpy(writable=True)
    pieces: list[tuple[Path, int, int]] = []
    first = start = base = size = 0
    for path, row, count, first_of_group, group_bytes in _row_groups(table.paths):
        until = int(np.searchsorted(rows, first_of_group + count))
        if until == start:
            continue
        if pieces and size + group_bytes > _CHUNK_BYTES:
            yield _chunk(table, found[first:start], rows[first:start], pieces)
            pieces, first, base, size = [], start, 0, 0
        rows[start:until] += base - first_of_group
        pieces.append((path, row, count))
        start, base, size = until, base + count, size + group_bytes
    if pieces:
        yield _chunk(table, found[first:], rows[first:], pieces)


def _chunk(table: TextTable, found: pl.DataFrame, rows: Places, pieces: Sequence[tuple[Path, int, int]]) -> TextChunk:
    places = found["place"].to_numpy()
    order = np.argsort(places)
    return TextChunk(
        pieces=tuple(_joined(pieces)),
        completions=tuple(table.completions.values()),
        wanted_rows=rows[order],
        wanted_columns=found["column"].to_numpy()[order],
        places=places[order],
    )


def _joined(pieces: Sequence[tuple[Path, int, int]]) -> Iterator[tuple[Path, int, int]]:
    """The pieces, those that follow each other in one file as one."""
    path, start, count = pieces[0]
    for other, row, rows in pieces[1:]:
        if (other, row) != (path, start + count):
            yield path, start, count
            path, start, count = other, row, 0
        count += rows
    yield path, start, count


def _row_groups(paths: Sequence[Path]) -> Iterator[tuple[Path, int, int, int, int]]:
    """Of every row group its file, its first row there, its rows, its first row through all files, and its bytes."""
    total = 0
    for path in paths:
        metadata = pq.read_metadata(path)
        row = 0
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            yield path, row, group.num_rows, total, group.total_byte_size
            row, total = row + group.num_rows, total + group.num_rows


def _read_piece(chunk: TextChunk, path: Path, start: int, rows: int) -> pl.DataFrame:
    file = pl.scan_parquet(path)
    has_tools = "tools" in file.collect_schema().names()
    tools = pl.col("tools") if has_tools else pl.lit(None, dtype=pl.String).alias("tools")
    return file.slice(start, rows).select("prompt", *chunk.completions, tools).collect()


def _taken_messages(messages: pl.Series, rows: Places) -> pa.Array:
    """The messages of these rows as an Arrow array of `schemas.messages.MESSAGES`."""
    lengths = messages.list.len().fill_null(0).cast(pl.Int64).to_numpy()
    flat = messages.rechunk().explode(empty_as_null=False, keep_nulls=False).struct
    taken = lengths[rows]
    offsets = np.concatenate(([0], np.cumsum(taken)))
    places = rows
    if not (lengths == 1).all():
        starts = np.cumsum(lengths) - lengths
        places = np.repeat(starts[rows] - offsets[:-1], taken) + np.arange(offsets[-1])
    turn = MESSAGES.value_type
    texts = [_plain_text(flat.field(one.name).gather(places)) for one in turn]
    turns = pa.StructArray.from_arrays(texts, fields=list(turn))
    return pa.ListArray.from_arrays(pl.Series(offsets, dtype=pl.Int32).to_arrow(), turns, type=MESSAGES)


def _plain_text(texts: pl.Series) -> pa.Array:
    """Texts after each other in memory of their own, so that what they were read from can be freed."""
    return texts.to_arrow(compat_level=_PLAIN).cast(pa.string())
