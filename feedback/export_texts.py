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

from feedback.export_plan import Places
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
    """Some row groups of a text file and what is wanted of them.

    Args:
        path: the file.
        start: number of the first row.
        rows: how many rows there are.
        completions: columns of completions.
        wanted_rows: the wanted row of each place, from `start`. [N]
        wanted_columns: which of `completions` each place wants. [N]
        places: the places, ascending. [N]
    """

    path: Path
    start: int
    rows: int
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
            found = found.sort("place", "file", "row").unique("place", keep="first", maintain_order=True)
        wanted = wanted.join(found.select("place"), on="place", how="anti")
        for (file,), part in found.partition_by("file", as_dict=True).items():
            chunks += _chunks(table.paths[file], tuple(table.completions.values()), part)
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
    known = pq.read_schema(chunk.path).names
    columns = ["prompt", *chunk.completions, *(["tools"] if "tools" in known else [])]
    frame = pl.scan_parquet(chunk.path).slice(chunk.start, chunk.rows).select(columns).collect()
    completions = pl.concat([frame[name].alias("completion") for name in chunk.completions])
    arrays = {
        "prompt": _taken_messages(frame["prompt"], chunk.wanted_rows),
        "completion": _taken_messages(completions, chunk.wanted_rows + chunk.wanted_columns * frame.height),
    }
    if "tools" in columns:
        tools = frame["tools"].gather(chunk.wanted_rows)
        if tools.null_count() < tools.len():
            arrays["tools"] = _plain_text(tools)
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def _read_ids(table: TextTable) -> pl.DataFrame:
    frames = [
        pl.scan_parquet(path)
        .select(*id_keys(table.id_column))
        .with_row_index("row")
        .with_columns(pl.lit(number, dtype=pl.UInt32).alias("file"))
        for number, path in enumerate(table.paths)
    ]
    return pl.concat(frames).collect()


def _chunks(path: Path, completions: tuple[str, ...], found: pl.DataFrame) -> Iterator[TextChunk]:
    """The wanted rows of one file, a few row groups at a time."""
    ordered = found.sort("row")
    rows = ordered["row"].cast(pl.Int64).to_numpy()
    for start, count in _row_ranges(path):
        low, high = np.searchsorted(rows, (start, start + count)).tolist()
        if low < high:
            part = ordered[low:high].sort("place")
            yield TextChunk(
                path=path,
                start=start,
                rows=count,
                completions=completions,
                wanted_rows=part["row"].cast(pl.Int64).to_numpy() - start,
                wanted_columns=part["column"].to_numpy(),
                places=part["place"].to_numpy(),
            )


def _row_ranges(path: Path) -> Iterator[tuple[int, int]]:
    """First row and number of rows of runs of row groups that fit into memory together."""
    metadata = pq.read_metadata(path)
    start = count = size = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        if count and size + group.total_byte_size > _CHUNK_BYTES:
            yield start, count
            start, count, size = start + count, 0, 0
        count += group.num_rows
        size += group.total_byte_size
    yield start, count


def _taken_messages(messages: pl.Series, rows: Places) -> pa.Array:
    """The messages of these rows as an Arrow array of `schemas.messages.MESSAGES`."""
    lengths = messages.list.len().fill_null(0).cast(pl.Int64).to_numpy()
    flat = messages.explode(empty_as_null=False, keep_nulls=False).struct
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
