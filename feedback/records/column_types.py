"""Columns of a query that JSON has no form for: refused as a whole, since the query can be written without them."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from schemas.errors import InputError

__all__ = ["refuse_columns"]


def refuse_columns(schema: pa.Schema, where: str, reasons: Mapping[str, str | None] | None = None) -> None:
    """Pass if every column of `schema` has a form in JSON.

    Args:
        schema: the columns of the query.
        where: name of the database, for the error.
        reasons: by name, why a column cannot be read although its type could.

    Raises:
        InputError: a column has not.
    """
    found = {field.name: (reasons or {}).get(field.name) or _why(field.type) for field in schema}
    refused = [f"{name!r} ({why})" for name, why in found.items() if why is not None]
    if refused:
        raise InputError(
            f"JSON has no form for the column{'s' if len(refused) > 1 else ''} {', '.join(refused)}",
            where=where,
            todo="Leave such a column out of the query, or CAST it AS TEXT",
        )


def _why(kind: pa.DataType) -> str | None:
    if isinstance(kind, pa.OpaqueType):
        return None if kind.type_name == "numeric" else str(kind.type_name)
    if isinstance(kind, pa.BaseExtensionType):
        return None
    if pa.types.is_nested(kind) and not pa.types.is_union(kind):
        inner = (_why(kind.field(place).type) for place in range(kind.num_fields))
        return next((why for why in inner if why is not None), None)
    is_binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    if is_binary or pa.types.is_binary_view(kind):
        return "bytes"
    if pa.types.is_interval(kind) or pa.types.is_duration(kind):
        return "interval"
    return "union" if pa.types.is_union(kind) else None
