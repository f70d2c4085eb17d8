"""The columns of the rows and pairs to export that are not text: ids, label, weight, and the votes counted."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from feedback.export.plan import Places
from feedback.sole_rater import sole_raters
from schemas.datasets import PREFERENCE, UNPAIRED_PREFERENCE

__all__ = ["PAIR_COLUMNS", "ROW_COLUMNS", "export_pairs", "export_rows"]

_PLAIN_COLUMNS: Final = ("row_id", "label", "weight", "origin", "source", "split")

ROW_COLUMNS: Final = (*_PLAIN_COLUMNS, "group_id", "votes", "other_event_ids")
"""What is read of `schemas.datasets.CANDIDATE`."""

_PAIR: Final = ("row_id", "weight", "origin", "source", "source_event_ids", "split")

PAIR_COLUMNS: Final = (*_PAIR, "group_id", "rater_key")
"""What is read of `schemas.datasets.PAIR_CANDIDATE`."""

_HEX: Final = np.array([f"{byte:02x}".encode() for byte in range(256)]).view(np.uint16)
_PLAIN: Final = pl.CompatLevel.oldest()


def export_rows(candidates: pl.DataFrame, order: Places, *, with_raters: bool = False) -> pa.RecordBatch:
    """The columns of `schemas.datasets.UNPAIRED_PREFERENCE` that hold no text.

    Args:
        candidates: rows with `ROW_COLUMNS`.
        order: numbers of the rows, in the wanted order. [N]
        with_raters: whether `rater_key` is one of them.
    """
    taken = candidates.select(_PLAIN_COLUMNS)[pl.Series(order)]
    arrays = {name: _typed(taken[name], name) for name in _PLAIN_COLUMNS}
    arrays["group_id"] = _hex_text(candidates["group_id"][pl.Series(order)])
    if with_raters:
        arrays["rater_key"] = _hex_text(sole_raters(candidates["votes"])[pl.Series(order)])
    arrays |= _votes(candidates["votes"], order)
    arrays["source_event_ids"] = _with_others(arrays["source_event_ids"], candidates["other_event_ids"], order)
    names = [name for name in UNPAIRED_PREFERENCE.names if name in arrays]
    return pa.RecordBatch.from_arrays([arrays[name] for name in names], names=names)


def export_pairs(candidates: pl.DataFrame, order: Places, *, with_raters: bool = False) -> pa.RecordBatch:
    """The columns of `schemas.datasets.PREFERENCE` that hold no text.

    Args:
        candidates: pairs with `PAIR_COLUMNS`.
        order: numbers of the pairs, in the wanted order. [N]
        with_raters: whether `rater_key` is one of them.
    """
    taken = candidates[pl.Series(order)]
    arrays = {name: taken[name].to_arrow(compat_level=_PLAIN).cast(PREFERENCE.field(name).type) for name in _PAIR}
    keys = ("group_id", "rater_key") if with_raters else ("group_id",)
    arrays |= {name: _hex_text(taken[name]) for name in keys}
    names = [name for name in PREFERENCE.names if name in arrays]
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


def _with_others(ids: pa.Array, others: pl.Series, order: Places) -> pa.Array:
    """The ids of the votes of each row, and behind them those of its other events; `ids` where no row has any.

    Args:
        ids: of the votes of the rows, in the wanted order. [N] lists.
        others: of the other events of all candidates.
        order: see `export_rows`. [N]
    """
    places = np.flatnonzero(others.is_not_null().to_numpy()[order])
    if not places.size:
        return ids
    pairs = {"votes": pl.Series(ids.take(pl.Series(places).to_arrow())), "others": others[pl.Series(order[places])]}
    joined = pl.DataFrame(pairs).select(pl.concat_list("votes", "others")).to_series()
    taken = np.arange(len(ids))
    taken[places] = len(ids) + np.arange(places.size)
    both = pa.concat_arrays([ids, joined.to_arrow(compat_level=_PLAIN).cast(ids.type)])
    return both.take(pl.Series(taken).to_arrow())


def _typed(column: pl.Series, name: str) -> pa.Array:
    return column.to_arrow(compat_level=_PLAIN).cast(UNPAIRED_PREFERENCE.field(name).type)


def _hex_text(keys: pl.Series) -> pa.Array:
    """Keys as 16 hex digits each; null where there is none."""
    digits = _HEX[keys.fill_null(0).to_numpy().astype(">u8").view(np.uint8)]
    offsets = np.arange(keys.len() + 1, dtype=np.int32) * 16
    texts = pa.StringArray.from_buffers(keys.len(), pa.py_buffer(offsets), pa.py_buffer(digits))
    if not keys.null_count():
        return texts
    return pc.if_else(keys.is_null().to_arrow(), pa.scalar(None, pa.string()), texts)
