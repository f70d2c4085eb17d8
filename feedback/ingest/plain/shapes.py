"""Which shapes the plain records of a file have, and the types of their fields, as a sample tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa

from feedback.formats import Format
from feedback.formats.plain import EACH, ITEM, MESSAGE_LIST, PlainRecords, schema_steps, steps_of

__all__ = ["choose_shapes", "joined_schema", "plain_schema"]

Record = dict[str, Any]

_MESSAGE_LIST: Final = MESSAGE_LIST[0]
_PYTHON: Final = {pa.string(): str, pa.bool_(): bool, pa.int64(): int, pa.float64(): float}


def choose_shapes(source_format: Format, sample: Sequence[Record]) -> tuple[PlainRecords, ...]:
    """Of events and of pairs the shape that most records of a sample could have, with the names that these have.

    A kind that none of the records could be of has none; the kind of more records is first.
    """
    counts = [sum(_may_be(record, shape) for record in sample) for shape in source_format.plain]
    best: dict[str, int] = {}
    for place, shape in enumerate(source_format.plain):
        if counts[place] > counts[best.get(shape.kind, place)] or shape.kind not in best:
            best[shape.kind] = place
    chosen = sorted(best.values(), key=counts.__getitem__, reverse=True)
    return tuple(_named(source_format.plain[place], sample) for place in chosen if counts[place])


def plain_schema(shapes: Sequence[PlainRecords], sample: Sequence[Record]) -> pa.Schema:
    """The types that the fields of plain records have, as far as a sample tells.

    Args:
        shapes: what is plain; where two say something of one field, the first is right.
        sample: some records of the file.
    """
    types: dict[tuple[str, ...], pa.DataType] = {}
    for shape in reversed(shapes):
        joined = None if shape.joined is None else shape.joined.into
        types |= {steps: kind for steps, kind in _types(shape, sample).items() if steps[0] != joined}
    return pa.schema(_nested(types))


def joined_schema(shape: PlainRecords, sample: Sequence[Record]) -> pa.Schema:
    """The same of the objects that the records find in another file; there are some in the sample."""
    types = _types(shape, sample)
    joined = None if shape.joined is None else shape.joined.into
    return pa.schema(_nested({steps[1:]: kind for steps, kind in types.items() if steps[0] == joined}))


def _types(shape: PlainRecords, sample: Sequence[Record]) -> dict[tuple[str, ...], pa.DataType]:
    """The type of every field, by its keys, those of items behind the list that they are in."""
    types = {path: _type_of(path, choice, sample, shape) for path, choice in shape.types.items()}
    for turns in shape.turns.values():
        if turns.made is None and shape.threads is None:
            messages = _MESSAGE_LIST if turns.named is None else turns.named.kind
            types[turns.path] = pa.string() if turns.role else messages
    within = () if shape.items is None else (*schema_steps(shape.items.path), EACH)
    by_steps = {schema_steps(path): kind for path, kind in types.items()}
    return {(*within, *steps[1:]) if steps[0] == ITEM else steps: kind for steps, kind in by_steps.items()}


def _named(shape: PlainRecords, sample: Sequence[Record]) -> PlainRecords:
    """The shape with one name for each field that may have several."""
    if not shape.names:
        return shape
    names = {
        path: next((name for name in choice if any(_value_at(one, name) is not None for one in sample)), choice[0])
        for path, choice in shape.names.items()
    }
    return replace(
        shape,
        turns={what: replace(turns, path=names.get(turns.path, turns.path)) for what, turns in shape.turns.items()},
        types={names.get(path, path): choice for path, choice in shape.types.items()},
        names={path: (name,) for path, name in names.items()},
        absent=shape.absent.union(*shape.names.values()).difference(names.values()),
    )


def _may_be(record: Record, shape: PlainRecords) -> bool:
    """Whether a record has all that a shape needs."""
    for turns in shape.turns.values() if shape.threads is None else ():
        names = shape.names.get(turns.path, (turns.path,))
        if shape.joined is not None and steps_of(turns.path)[0] == shape.joined.into:
            continue
        value = next((found for name in names if (found := _found_at(record, name, shape)) is not None), None)
        if value is None or (turns.made is None and not isinstance(value, str if turns.role else list)):
            return False
    return all(_has_type(_found_at(record, path, shape), shape.types.get(path, ())) for path in shape.needs)


def _has_type(value: Any, choice: Sequence[pa.DataType]) -> bool:
    """Whether a value is there, and of one of some types; of any where there are none."""
    return value is not None and (not choice or any(_PYTHON.get(one, list) is type(value) for one in choice))


def _found_at(record: Record, path: str, shape: PlainRecords) -> Any:
    """The value at a path; of items that of the first one that has it."""
    if shape.items is None or steps_of(path)[0] != ITEM:
        return _value_at(record, path)
    items = _value_at(record, shape.items.path)
    values = (_value_at({ITEM: one}, path) for one in (items if isinstance(items, list) else ()))
    return next((value for value in values if value is not None), None)


def _value_at(record: Record, path: str) -> Any:
    value: Any = record
    for step in steps_of(path):
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        else:
            is_there = isinstance(value, list) and -len(value) <= step < len(value)
            value = value[step] if is_there else None
    return value


def _type_of(path: str, choice: Sequence[pa.DataType], sample: Sequence[Record], shape: PlainRecords) -> pa.DataType:
    """The type of the field's first value, if it is one that it may have; else the first of these."""
    if len(choice) == 1:
        return choice[0]
    for record in sample:
        value = _found_at(record, path, shape)
        if value is not None:
            return next((one for one in choice if _PYTHON[one] is type(value)), choice[0])
    return choice[0]


def _nested(types: Mapping[tuple[str, ...], pa.DataType]) -> list[pa.Field]:
    """Fields with the objects and lists that they lie in."""
    parts: dict[str, dict[tuple[str, ...], pa.DataType]] = {}
    for path, kind in types.items():
        parts.setdefault(path[0], {})[path[1:]] = kind
    return [pa.field(name, _kind_of(inner)) for name, inner in parts.items()]


def _kind_of(inner: Mapping[tuple[str, ...], pa.DataType]) -> pa.DataType:
    if () in inner:
        return inner[()]
    if next(iter(inner))[0] == EACH:
        return pa.list_(_kind_of({path[1:]: kind for path, kind in inner.items()}))
    return pa.struct(_nested(inner))
