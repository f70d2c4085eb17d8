"""Splits that a column of the rows names, where the names of files do not.

One file, or a folder whose files all count as `train`, may hold every split, with a column `split` that says which row
is of which. Rows for a test that are trained on would make every figure of the test too good, so the column is heeded,
and a dataset whose column and files contradict each other is refused. Where no row or file is of `test`, those of
`validation` are.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from align.data.json_columns import has_json
from schemas.datasets import SPLITS
from schemas.errors import InputError

__all__ = ["files_of", "rows_of"]

_COLUMN: Final = "split"
_KNOWN: Final = (*SPLITS, "validation")


def files_of(split: str, splits: Collection[str]) -> str:
    """The split of files in which the rows of a split are looked for: `train` where that is all there is.

    Those of `test` are in `validation` where no file is of `test`.

    Args:
        split: whose rows are wanted.
        splits: those that files are named by.
    """
    return "train" if set(splits) == {"train"} else _named(split, splits)


def rows_of(table: pa.Table, split: str, *, is_whole: bool, where: Path) -> pa.Table | None:
    """The rows of a split; none where a dataset that is all `train` has no column that says otherwise.

    Args:
        table: the rows of the files of `files_of`.
        split: whose rows are wanted; of files that are named by splits, the split of these files.
        is_whole: whether the table is the whole dataset, so that its column decides.
        where: the dataset, for errors.

    Raises:
        InputError: the column holds something else than splits, or files of one split hold rows of another.
    """
    if _COLUMN not in table.column_names or table[_COLUMN].null_count == table.num_rows:
        return table if split == "train" or not is_whole else None
    column = table[_COLUMN]
    is_single = not pa.types.is_nested(column.type) and not has_json(column.type)
    column = column.cast(pa.string()) if is_single else pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    found: list[Any] = column.unique().to_pylist()
    if is_whole:
        _refuse_unknown(found, where)
        return table.filter(pc.equal(column, _named(split, found)))
    strays = sorted({*_KNOWN} & {*found} - {split})
    if strays:
        raise InputError(
            f"files of the split {split!r} hold rows of another",
            where=f"{where}, column {_COLUMN!r}",
            received=strays,
            expected=split,
            todo="Move those rows into files of their split, or correct or remove the column",
        )
    return table


def _named(split: str, known: Collection[Any]) -> str:
    return "validation" if split == "test" and "test" not in known and "validation" in known else split


def _refuse_unknown(found: Collection[Any], where: Path) -> None:
    unknown = [value for value in found if value not in _KNOWN]
    if unknown:
        raise InputError(
            "the column does not say which split each row is of",
            where=f"{where}, column {_COLUMN!r}",
            received=unknown[0],
            expected=f"{', '.join(_KNOWN[:-1])} or {_KNOWN[-1]} in every row",
            todo="Correct it, or rename the column if it means something else",
        )
