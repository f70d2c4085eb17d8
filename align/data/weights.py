"""Weights of rows by a table in the config: by a segment, a rater or whatever column a dataset has, and by label.

    [[weights]]
    column = "segment"
    value = "enterprise"
    label = "undesirable"
    weight = 2.0

How averse to loss people are differs between them, and the study of KTO leaves open how; a lambda for each segment, or
less weight for a rater who is often wrong, is said here. A row's weight is its own times that of every rule that fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from align.config import WeightRule
from align.data.json_columns import has_json
from schemas.errors import InputError

__all__ = ["weigh_rows"]

_ASKED_FOR: Final = {"rater_key": "export.raters=true"}
"""Columns that a curated dataset has only where its config asks for them."""


def weigh_rows(table: pa.Table, rules: Sequence[WeightRule], *, where: str, must_fit: bool) -> pa.Table:
    """The table with the weight of each row multiplied by those of the rules that fit it.

    Args:
        table: labelled answers or pairs; a column `weight` is what the rows weigh before, 1 where there is none.
        rules: of the config.
        where: what the table is, for errors.
        must_fit: whether every rule must fit a row, as those of a training split must; else one whose column is not
            there fits none.

    Raises:
        InputError: a rule names a column that the table lacks, a label though the rows are pairs, or fits no row.
    """
    if not rules:
        return table
    weights = _own_weights(table, where)
    for number, rule in enumerate(rules):
        if not must_fit and rule.column not in table.column_names:
            continue
        fits = _fits(table, rule, f"{where}, weights[{number}]")
        if must_fit and not pc.any(fits).as_py():
            raise InputError(
                "a rule fits no row",
                where=f"{where}, weights[{number}]",
                received=rule.value,
                expected=_some_values(table[rule.column]),
                todo="Correct it, or leave it out",
            )
        weights = pc.if_else(fits, pc.multiply(weights, rule.weight), weights)
    kept = table.drop_columns(["weight"]) if "weight" in table.column_names else table
    return kept.append_column("weight", weights)


def _own_weights(table: pa.Table, where: str) -> pa.ChunkedArray:
    if "weight" not in table.column_names:
        return pa.chunked_array([pa.repeat(pa.scalar(1.0), table.num_rows)])
    column = table["weight"]
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_null(column.type)):
        raise InputError(
            "column 'weight' is not a number", where=where, received=str(column.type), expected="a column of numbers"
        )
    return pc.fill_null(column.cast(pa.float64()), 1.0)


def _fits(table: pa.Table, rule: WeightRule, where: str) -> pa.ChunkedArray:
    if rule.column not in table.column_names:
        raise InputError(
            "a rule names a column that the rows do not have",
            where=where,
            received=rule.column,
            expected=f"one of {', '.join(sorted(table.column_names))}",
            todo=f"Curate with: --set {_ASKED_FOR[rule.column]}" if rule.column in _ASKED_FOR else None,
        )
    column = table[rule.column]
    if pa.types.is_nested(column.type) or has_json(column.type):
        raise InputError("a rule names a column that holds no single values", where=where, received=rule.column)
    fits = pc.fill_null(pc.equal(column.cast(pa.string()), rule.value), False)
    if rule.label == "both":
        return fits
    if "label" not in table.column_names:
        raise InputError(
            "a rule names a label, and pairs have none", where=where, received=rule.label, expected="label = 'both'"
        )
    is_meant = table["label"] if rule.label == "desirable" else pc.invert(table["label"])
    return pc.and_(fits, pc.fill_null(is_meant, False))


def _some_values(column: pa.ChunkedArray) -> str:
    """The values of a column, the first ten of them, for errors."""
    found = sorted(str(value) for value in pc.unique(column).to_pylist() if value is not None)
    return f"one of {', '.join(found[:10])}" + (", ..." if len(found) > 10 else "")
