"""The texts of the rows to export: found by their ids, read once, and put in the order of the rows.

ids of all text files ──join──► which rows of which file are wanted ──by pieces──► prompts, completions, tools
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from feedback.export.plan import Places
from feedback.export.runs import indices
from feedback.export.text_files import TextPiece, TextTable, read_column, read_piece, text_pieces
from feedback.stage import counted
from schemas.errors import CorruptionError
from schemas.messages import MESSAGES

__all__ = ["TEXT_COLUMNS", "TextChunk", "find_texts", "id_keys", "read_texts"]

TEXT_COLUMNS: Final = ("prompt", "completion", "tools")
"""What a chunk of texts gives; `tools` only where a row has some."""

_LEAST_CHUNK, _MOST_CHUNK = 16_000_000, 64_000_000
_CHUNKS: Final = 64
"""Every chunk adds a piece to each row group, so there are not many more than this."""


@dataclass(frozen=True, slots=True)
class TextChunk:
    """Some pieces of a table's files, few enough for memory, and what is wanted of them.

    Args:
        pieces: the pieces.
        completions: columns of completions.
        wanted_rows: the wanted row of each place, counted through the pieces. [N]
        wanted_columns: which of `completions` each place wants. [N]
        places: the places, ascending. [N]
    """

    pieces: tuple[TextPiece, ...]
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
    order: list[Places] = []
    taken: list[pa.RecordBatch] = []
    base = 0
    for piece in chunk.pieces:
        places = np.flatnonzero((chunk.wanted_rows >= base) & (chunk.wanted_rows < base + piece.rows))
        columns = chunk.wanted_columns[places]
        batch = read_piece(piece, ("prompt", *chunk.completions, "tools"))
        taken.append(_taken(batch, chunk.completions, chunk.wanted_rows[places] - base, columns))
        order.append(places)
        base += piece.rows
    texts = _in_order(taken, order)
    names = [name for name in TEXT_COLUMNS if name != "tools" or texts.column(name).null_count < texts.num_rows]
    return texts.select(names)


def _taken(batch: pa.RecordBatch, completions: Sequence[str], rows: Places, columns: Places) -> pa.RecordBatch:
    """The texts of some rows of a piece, each with the completion that its column holds."""
    has_tools = "tools" in batch.schema.names
    sides = [np.flatnonzero(columns == number) for number in range(len(completions))]
    completion = [batch.column(name).take(indices(rows[side])) for name, side in zip(completions, sides, strict=True)]
    arrays = {
        "prompt": batch.column("prompt").take(indices(rows)),
        "completion": _merged(completion, sides),
        "tools": batch.column("tools").take(indices(rows)) if has_tools else pa.nulls(len(rows), pa.string()),
    }
    kinds = (MESSAGES, MESSAGES, pa.string())
    typed = [array.cast(kind) for array, kind in zip(arrays.values(), kinds, strict=True)]
    return pa.RecordBatch.from_arrays(typed, names=list(arrays))


def _in_order(batches: Sequence[pa.RecordBatch], order: Sequence[Places]) -> pa.RecordBatch:
    """All rows; `order` says at which place each stands."""
    columns = zip(*(batch.columns for batch in batches), strict=True)
    return pa.RecordBatch.from_arrays([_merged(list(column), order) for column in columns], names=list(TEXT_COLUMNS))


def _merged(arrays: Sequence[pa.Array], order: Sequence[Places]) -> pa.Array:
    """The values of all arrays; `order` says at which place each stands."""
    if len(arrays) == 1:
        return arrays[0]
    return pa.concat_arrays(arrays).take(indices(np.argsort(np.concatenate(order))))


def _read_ids(table: TextTable) -> pl.DataFrame:
    """The ids of all files, and the number of each row, counted through them."""
    return read_column(table.paths, table.id_column).select(*id_keys(table.id_column)).with_row_index("row")


def _chunks(table: TextTable, found: pl.DataFrame) -> Iterator[TextChunk]:
    """The wanted rows, found in this order, a few pieces at a time."""
    rows = found["row"].cast(pl.Int64).to_numpy(writable=True)
    pieces: list[TextPiece] = []
    first = start = base = 0
    all_pieces = list(text_pieces(table.paths))
    limit = min(max(sum(one.size for one in all_pieces) // _CHUNKS, _LEAST_CHUNK), _MOST_CHUNK)
    for piece in all_pieces:
        until = int(np.searchsorted(rows, piece.first + piece.rows))
        if until == start:
            continue
        if pieces and sum(one.size for one in pieces) + piece.size > limit:
            yield _chunk(table, found[first:start], rows[first:start], pieces)
            pieces, first, base = [], start, 0
        rows[start:until] += base - piece.first
        pieces.append(piece)
        start, base = until, base + piece.rows
    if pieces:
        yield _chunk(table, found[first:], rows[first:], pieces)


def _chunk(table: TextTable, found: pl.DataFrame, rows: Places, pieces: Sequence[TextPiece]) -> TextChunk:
    places = found["place"].to_numpy()
    order = np.argsort(places)
    return TextChunk(
        pieces=tuple(pieces),
        completions=tuple(table.completions.values()),
        wanted_rows=rows[order],
        wanted_columns=found["column"].to_numpy()[order],
        places=places[order],
    )
