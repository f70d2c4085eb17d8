"""Ids of rows and of their records: by the id that the source gave, and by the record's bytes where it gave none.

    columns ─► what the source says of a record with an id ──────┐
    digest ──► the same with all that a record without one found ┴─► event_id, pair_id, source_record_id

`raw_sha256` is of the record's own bytes always, so that the line that a row came from can be found by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.hashing import ids_of_texts
from feedback.ingest.draft_columns import DraftKind

__all__ = ["IDS", "have_ids", "row_ids"]

IDS: Final = frozenset({"event_id", "pair_id", "source_record_id", "raw_sha256"})
"""The columns that are made here."""

_BETWEEN: Final = "\x1f"
_NULL: Final = "\x00"
_SAID: Final = (
    *("op", "event_ts", "updated_ts", "conversation_id", "message_id", "model_id", "model_a", "model_b"),
    *("prompt_hash", "completion_hash", "response_a_hash", "response_b_hash", "tools", "signal", "raw_value"),
    *("margin", "score_a", "score_b", "presented_first", "reason_codes", "comment", "lang", "consent"),
)
"""Columns whose values come from the source."""


def have_ids(given: pl.Series) -> NDArray[np.bool_]:
    """Which records the source gave an id; an empty text is none. [N]."""
    has_id: NDArray[np.bool_] = (given.str.len_bytes().fill_null(0) > 0).to_numpy()
    return has_id


def row_ids(
    kind: DraftKind,
    columns: Mapping[str, pa.Array],
    given: pa.Array | pl.Series | None,
    digests: pl.Series,
    source: str,
    *,
    known: pl.Series | None = None,
    repeats: Mapping[int, int] | None = None,
) -> dict[str, pl.Series]:
    """The ids of rows and of their records, by the names of their columns.

    A record with an id is known by it, and what the source says in it is its revision. One without is known by its
    bytes and by what it found elsewhere, which are its revision too.

    Args:
        kind: events or pairs.
        columns: all but the ids. [N] each.
        given: the ids that the source gave; None where it gave none. [N].
        digests: the sha256 of the bytes of each one's record, hex digits. [N] string.
        source: name of the source.
        known: the same of records without an id with what they found; None where they found nothing. [N] string.
        repeats: how many rows of the same record with the same id stand before one, by its place.
    """
    rows = len(digests)
    own_ids = pl.Series([None], dtype=pl.String).new_from_index(0, rows) if given is None else pl.Series(given)
    raw = digests if known is None else known
    said = raw if own_ids.null_count() == rows else _revisions(columns)
    own, has_id = pl.col("own"), pl.col("own").str.len_bytes() > 0
    record_id = pl.when(has_id).then(own).otherwise(pl.lit("sha256:") + pl.col("raw").str.head(32))
    if repeats:
        numbers = pl.Series([""]).new_from_index(0, rows)
        numbers = numbers.scatter(list(repeats), [f"#{number}" for number in repeats.values()])
        record_id += numbers
    frame = pl.DataFrame({"own": own_ids.cast(pl.String), "raw": raw, "said": said}).with_columns(id=record_id)
    revision = pl.when(has_id).then(pl.col("said")).otherwise(pl.col("raw"))
    return {
        kind.schema.names[0]: frame.select(ids_of_texts(source, pl.col("id"), revision)).to_series(),
        "source_record_id": frame["id"],
        "raw_sha256": digests,
    }


def _revisions(columns: Mapping[str, pa.Array]) -> pl.Series:
    """What the source says in each record, as one text: two revisions of a record differ in it. [N] string.

    Whatever else stands in a record's bytes does not count: fields that nobody reads and that change by themselves,
    such as when a user was last seen, the order of keys, white space, the kind of file. Nor does what is made here,
    such as the label that a map gives.

    Args:
        columns: of the table, all but the ids.
    """
    frame = pl.DataFrame({name: pl.Series(columns[name]) for name in _SAID if name in columns})
    parts = [
        pl.lit(_NULL) if columns[name].null_count == len(frame) else _as_text(name, kind).fill_null(_NULL)
        for name, kind in frame.schema.items()
    ]
    return frame.select(pl.concat_str(parts, separator=_BETWEEN)).to_series()


def _as_text(name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(kind, pl.List):
        return column.list.join(_BETWEEN)
    if isinstance(kind, pl.Datetime):
        column = column.to_physical()
    return column if kind == pl.String else column.cast(pl.String)
