"""What a dataset's shards do not hold and its folder `stages` does: the raters, models and times behind its rows."""

from __future__ import annotations

from typing import Final

import polars as pl
import pyarrow as pa

from feedback.engine import read_rows
from feedback.stage import CANDIDATE_TYPES
from schemas.error_text import first_line
from schemas.errors import CorruptionError
from schemas.paths import AnyPath, path_of

__all__ = ["with_history"]

_FROM_STAGES: Final = (
    "prompt_chars",
    "cluster_id",
    "rater_key",
    "rater_kind",
    "model_id",
    "event_ts",
    "votes",
    "capped_rater",
)


def with_history(rows: pl.DataFrame, folder: AnyPath) -> tuple[pl.DataFrame, bool]:
    """Rows with their raters, models and times, and whether these were found; if not, the rows are as they were.

    They are found where the table of the last stage is there, holds these columns and is of these very rows.

    Args:
        rows: those of the dataset, see `feedback.dataset.read_curated`.
        folder: the dataset's folder.

    Raises:
        CorruptionError: the table is there and cannot be read.
    """
    tables = sorted(path_of(folder, name="folder").glob("stages/rebalance/kept-*.*"))
    if not tables:
        return rows, False
    try:
        known = pl.concat([read_rows(table, ["row_id", *_FROM_STAGES]) for table in tables])
    except (KeyError, pl.exceptions.ColumnNotFoundError):
        return rows, False  # a dataset of an earlier version
    except (OSError, pa.ArrowInvalid, pl.exceptions.PolarsError) as error:
        raise CorruptionError(
            f"the table of the last stage cannot be read ({first_line(error)})",
            where=tables[0].parent,
            todo="Remove the folder stages: the shards are then read alone, without raters, models and times",
        ) from error
    if any(known.schema[name] != CANDIDATE_TYPES[name] for name in _FROM_STAGES):
        return rows, False  # a dataset of an earlier version
    if not rows.join(known, on="row_id", how="anti").is_empty() or known["row_id"].is_duplicated().any():
        return rows, False
    joined = rows.drop(_FROM_STAGES).join(known, on="row_id", how="left", maintain_order="left")
    return joined.select(pl.col(name).cast(kind) for name, kind in CANDIDATE_TYPES.items()), True
