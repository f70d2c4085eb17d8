"""Rows of Arrow batches, whoever made them: Parquet and Arrow files, and databases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from feedback.records.json_rows import RejectedRow
from feedback.records.strict_json import decode_json
from schemas.errors import InputError, RecordRejectedError
from schemas.reasons import RejectReason

__all__ = ["arrow_rows"]

_NO_VALUE: Final = (UnicodeDecodeError, OverflowError, ValueError, KeyError)


def arrow_rows(
    batches: Iterable[pa.RecordBatch], file: str, *, json_columns: frozenset[str] = frozenset()
) -> Iterator[dict[str, Any] | RejectedRow]:
    """Column and value of each row; a row with a value that cannot be had is rejected alone.

    Columns of the type JSON, and decimals that were sent as text, become what they say.

    Args:
        batches: the batches, all of one schema.
        file: name for errors.
        json_columns: text columns that hold JSON, where the type does not say so.

    Raises:
        InputError: two columns have one name.
    """
    for batch in batches:
        names = batch.schema.names
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise InputError(
                "columns have the same name", where=file, received=twice, todo="Give each its own, in SQL with AS"
            )
        plain = _without_nanoseconds(batch)
        readers = {
            name: reader
            for name, kind in zip(names, plain.schema.types, strict=True)
            if (reader := _decode_json_text if name in json_columns else _reader_of(kind)) is not None
        }
        for row in _values(plain):
            yield _decoded(row, readers) if readers and isinstance(row, dict) else row


def _values(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | RejectedRow]:
    try:
        rows = batch.to_pylist(maps_as_pydicts="strict")
    except _NO_VALUE:
        for place in range(batch.num_rows):
            yield _one_row(batch.slice(place, 1))
    else:
        yield from rows


def _one_row(row: pa.RecordBatch) -> dict[str, Any] | RejectedRow:
    made: dict[str, Any] = {}
    for name, column in zip(row.schema.names, row.columns, strict=True):
        try:
            made[name] = column.to_pylist(maps_as_pydicts="strict")[0]
        except UnicodeDecodeError:
            return RejectedRow(RejectReason.INVALID_UTF8, f"a text in the column {name!r} is not UTF-8")
        except KeyError:
            return RejectedRow(RejectReason.DUPLICATE_KEY, f"a key occurs twice in the map in the column {name!r}")
        except (OverflowError, ValueError):
            detail = f"the time in the column {name!r} is none that can be read, for example infinity"
            return RejectedRow(RejectReason.BAD_TIME, detail)
    return made


def _decoded(row: dict[str, Any], readers: dict[str, Callable[[Any], Any]]) -> dict[str, Any] | RejectedRow:
    try:
        changed = {name: read(row[name]) for name, read in readers.items() if row[name] is not None}
    except RecordRejectedError as error:
        return RejectedRow(error.reason, error.detail)
    return {**row, **changed}


def _without_nanoseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """`batch` with times in microseconds at most, which is what Python and ISO 8601 texts hold."""
    fields = [
        field.with_type(pa.timestamp("us", field.type.tz))
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns"
        else field.with_type(pa.time64("us"))
        if pa.types.is_time64(field.type) and field.type.unit == "ns"
        else field
        for field in batch.schema
    ]
    schema = pa.schema(fields)
    return batch if schema.equals(batch.schema) else batch.cast(schema, safe=False)


def _reader_of(kind: pa.DataType) -> Callable[[Any], Any] | None:
    """What makes a value of an Arrow type that travels as text the value that it says; None for all others."""
    if isinstance(kind, pa.JsonType):
        return _decode_json_text
    if isinstance(kind, pa.OpaqueType) and kind.type_name == "numeric":
        return Decimal
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = _reader_of(kind.value_type)
        if inner is not None:
            return lambda values: [None if value is None else inner(value) for value in values]
    return None


def _decode_json_text(text: str) -> Any:
    return decode_json(text.encode("utf-8"))
