"""What a map says of the values of many records: it is asked once for every different value.

A whole number among floats is a float in a column, while a map may name `1` and not `1.0`. So of such a float both are
asked, and where they say different things the record is for the way of records that are read one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import polars as pl

__all__ = ["ask_once", "meant"]

_FIRST, _ANSWER = "the first", "the answer"
_EXACT: Final = 2**53
"""From here on not every whole number is a float."""


def ask_once(values: pl.DataFrame, ask: Callable[[tuple[Any, ...]], tuple[Any, ...]], kind: pl.Struct) -> pl.Series:
    """The answer for each row of values.

    Args:
        values: columns of texts, numbers and booleans. [N].
        ask: gives the fields of an answer for one row.
        kind: type of an answer.

    Returns:
        [N] of `kind`.
    """
    # Equal floats may have different signs, so it is their bits that are told apart.
    bits = [
        pl.Series(name, column.fill_null(np.nan).to_numpy().view(np.int64)) if column.dtype == pl.Float64 else column
        for name, column in values.to_dict().items()
    ]
    keys = pl.DataFrame(bits)
    firsts = keys.with_row_index(_FIRST).unique(keys.columns, keep="first", maintain_order=True)
    answers = [ask(row) for row in values[firsts[_FIRST]].iter_rows()]
    told = firsts.drop(_FIRST).with_columns(pl.DataFrame(answers, schema=dict(kind), orient="row").to_struct(_ANSWER))
    return keys.join(told, on=keys.columns, how="left", nulls_equal=True, maintain_order="left")[_ANSWER]


def meant(value: Any) -> Iterator[Any]:
    """What a value of a column may have been in JSON; None where that cannot be told.

    >>> list(meant(1.0)), list(meant("up"))
    ([1.0, 1], ['up'])
    """
    yield value
    if isinstance(value, float) and value.is_integer():
        # Of larger ones, and of a zero with a sign, it cannot be told: such values must not be depended on.
        yield int(value) if abs(value) < _EXACT and str(value) != "-0.0" else None
