"""Columns whose rows have values of several types, such as texts and lists of turns: each row's own value.

JSON files are read here, line by line. `datasets` keeps a column of several types as JSON texts and a text that is
JSON itself as it stands, so that `42` may be a text or a number; and it settles types by the first ten million bytes,
so that later on lists turn into texts. Here a column is of JSON, of the Arrow type `arrow.json`, if its values are not
single ones of one type, and then each of them is written as JSON. Parquet that `datasets` wrote has such columns too.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa

from schemas.errors import InputError

__all__ = ["has_json", "own_records", "read_json"]


def read_json(files: Sequence[Path]) -> pa.Table:
    """The records of JSON files as one table, in their order; what a record does not have is null.

    Args:
        files: JSON lines, or JSON files that hold one list of records.

    Raises:
        InputError: a file is not JSON, or a record is no object.
    """
    columns: dict[str, list[Any]] = {}
    count = 0
    for file in files:
        for record in _records_of(file):
            for name in record:
                if name not in columns:
                    columns[name] = [None] * count
            for name, values in columns.items():
                values.append(record.get(name))
            count += 1
    return pa.table({name: _column(columns.pop(name), name, files) for name in [*columns]})


def has_json(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are JSON texts, or hold some."""
    if isinstance(kind, pa.JsonType):
        return True
    return any(has_json(kind.field(place).type) for place in range(kind.num_fields))


def own_records(table: pa.Table, *, where: str) -> Iterator[dict[str, Any]]:
    """The rows of a table, with values in the place of JSON texts; a column of texts keeps them, JSON or not.

    Arrow gives each object in a column of objects the keys of all, with nulls; those keys are left out again.

    Args:
        table: any columns.
        where: what the table is, for errors.

    Raises:
        InputError: a column of JSON holds something else.
    """
    nested = {
        field.name: field.type for field in table.schema if pa.types.is_nested(field.type) or has_json(field.type)
    }
    place = 0
    for batch in table.to_batches(max_chunksize=1024):
        for record in batch.to_pylist():
            for name, kind in nested.items():
                try:
                    record[name] = _value(record[name], kind)
                except ValueError as error:
                    at = f"{where}, row {place}, column {name!r}"
                    raise InputError("not JSON", where=at, received=record[name], expected="JSON") from error
            yield record
            place += 1


def _records_of(file: Path) -> Iterator[dict[str, Any]]:
    with fsspec.open(str(file), "rb", compression="infer") as stream:
        content = stream.read().removeprefix(codecs.BOM_UTF8)
    if content.lstrip().startswith(b"["):
        for place, record in enumerate(_parsed(content, file.name)):
            yield _checked(record, f"{file.name}, record {place}")
        return
    for number, line in enumerate(content.splitlines(), start=1):
        if line.strip():
            where = f"{file.name} line {number}"
            yield _checked(_parsed(line, where), where)


def _parsed(content: bytes, where: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"the dataset cannot be read ({error})",
            where=where,
            expected="JSON lines, or a JSON list of records",
        ) from error


def _checked(record: Any, where: str) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise InputError(
            "a record is no object", where=where, received=record, expected="an object with columns as keys"
        )
    return record


def _column(values: list[Any], name: str, files: Sequence[Path]) -> pa.Array:
    if not any(isinstance(value, list | dict) for value in values):
        try:
            return pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # of several types
            pass
        except UnicodeError as error:
            raise _half_character(name, files) from error
    texts = (None if value is None else json.dumps(value, ensure_ascii=False) for value in values)
    try:
        stored = pa.array(texts, pa.large_string())
    except UnicodeError as error:
        raise _half_character(name, files) from error
    return pa.ExtensionArray.from_storage(pa.json_(pa.large_string()), stored)


def _half_character(name: str, files: Sequence[Path]) -> InputError:
    where = f"{files[0].parent}, column {name!r}"
    return InputError("a text holds half of a surrogate pair, which is not a character", where=where)


def _value(stored: Any, kind: pa.DataType) -> Any:
    """What is stored with every JSON text in it read."""
    if stored is None:
        return None
    if isinstance(kind, pa.JsonType):
        return json.loads(stored)
    if pa.types.is_struct(kind):
        return {field.name: _value(stored[field.name], field.type) for field in kind if stored[field.name] is not None}
    if isinstance(stored, list) and not pa.types.is_map(kind):
        return [_value(item, kind.value_type) for item in stored]
    return stored
