"""The columns of the rows to export that are not text: ids, label, weight, and the votes counted."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from feedback.export.plan import Places
from schemas.datasets import UNPAIRED_PREFERENCE

__all__ = ["ROW_COLUMNS", "export_rows"]

_PLAIN_COLUMNS: Final = ("row_id", "label", "weight", "origin", "source", "split")

ROW_COLUMNS: Final = (*_PLAIN_COLUMNS, "group_id", "votes")
"""What is read of `schemas.datasets.CANDIDATE`."""

_HEX: Final = np.array([f"{byte:02x}".encode() for byte in range(256)]).view(np.uint16)
_PLAIN: Final = pl.CompatLevel.oldest()


def export_rows(candidates: pl.DataFrame, order: Places) -> pa.RecordBatch:
    """The columns of `schemas.datasets.UNPAIRED_PREFERENCE` that hold no text.

    Args:
        candidates: rows with `ROW_COLUMNS`.
        order: numbers of the rows, in the wanted order. [N]
    """
    taken = candidates.select(_PLAIN_COLUMNS)[pl.Series(order)]
    arrays = {name: _typed(taken[name], name) for name in _PLAIN_COLUMNS}
    arrays["group_id"] = _hex_text(candidates["group_id"].to_numpy()[order])
    arrays |= _votes(candidates["votes"], order)
    names = [name for name in UNPAIRED_PREFERENCE.names if name in arrays]
    return pa.RecordBatch.from_arrays([arrays[name] for name in names], names=names)


def _votes(votes: pl.Series, order: Places) -> dict[str, pa.Array]:
    """How many votes of each row went up and down, and their ids in order."""
    lengths = votes.list.len().fill_null(0).cast(pl.Int64).to_numpy()
    flat = votes.explode(empty_as_null=False, keep_nulls=False).struct
    taken = lengths[order]
    offsets = np.concatenate(([0], np.cumsum(taken)))
    rows = np.repeat(np.arange(order.size), taken)
    places = np.repeat((np.cumsum(lengths) - lengths)[order] - offsets[:-1], taken) + np.arange(offsets[-1])
    ups = np.concatenate(([0], np.cumsum(flat.field("label").to_numpy()[places], dtype=np.int64)))
    up = ups[offsets[1:]] - ups[offsets[:-1]]
    ids = flat.field("event_id").gather(places)
    shared = np.flatnonzero(taken[rows] > 1)
    if shared.size:
        # Rows with one vote, most of all, need no sorting.
        ranked = pl.DataFrame({"row": rows[shared], "event_id": ids.gather(shared)})
        sorted_places = np.arange(ids.len())
        sorted_places[shared] = shared[ranked.select(pl.arg_sort_by("row", "event_id")).to_series().to_numpy()]
        ids = ids.gather(sorted_places)
    return {
        "source_event_ids": pa.ListArray.from_arrays(
            pl.Series(offsets, dtype=pl.Int32).to_arrow(), _typed(ids, "row_id")
        ),
        "n_up": pl.Series(up, dtype=pl.Int64).to_arrow(),
        "n_down": pl.Series(taken - up, dtype=pl.Int64).to_arrow(),
    }


def _typed(column: pl.Series, name: str) -> pa.Array:
    return column.to_arrow(compat_level=_PLAIN).cast(UNPAIRED_PREFERENCE.field(name).type)


def _hex_text(keys: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> pa.Array:
    """Keys as 16 hex digits each."""
    digits = _HEX[keys.astype(">u8").view(np.uint8)]
    offsets = np.arange(keys.size + 1, dtype=np.int32) * 16
    return pa.StringArray.from_buffers(keys.size, pa.py_buffer(offsets), pa.py_buffer(digits))
