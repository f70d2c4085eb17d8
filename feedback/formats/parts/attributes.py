"""Attributes of spans and events, however they were written down: nested, with dots in their keys, or as OTLP JSON.

    {"llm": {"model_name": "m"}}      {"llm.model_name": "m"}
    {"llm.input_messages.0.message.role": "user"}
    [{"key": "llm.model_name", "value": {"stringValue": "m"}}]

Source: opentelemetry-proto (common.proto in its JSON form) and the OpenInference specification.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

__all__ = ["find_attribute", "find_attributes", "others_of", "plain_attributes"]

_SCALARS: Final = ("stringValue", "string_value", "boolValue", "bool_value", "doubleValue", "double_value")
_MOST_ITEMS: Final = 100_000
"""Places of a list that is written with numbers in its keys; a larger number is a key."""
_MOST_KEYS: Final = 10_000
"""Keys that are remembered."""


def plain_attributes(value: Any) -> dict[str, Any]:
    """Attributes as an object: OTLP's list of keys and values becomes one, and anything else is no attributes.

    >>> plain_attributes([{"key": "a.b", "value": {"intValue": "1"}}])
    {'a.b': 1}
    """
    if isinstance(value, dict):
        return value
    if not isinstance(value, list):
        return {}
    pairs = [one for one in value if isinstance(one, dict) and isinstance(one.get("key"), str)]
    return {one["key"]: _plain(one.get("value")) for one in pairs}


def find_attribute(attributes: Mapping[str, Any], name: str) -> Any:
    """The value of the attribute `name`, or None where there is none.

    What lies under keys that begin with the name and a dot is put together.

    >>> find_attribute({"a.b.0.c": "x", "a.b.1.c": "y"}, "a.b"), find_attribute({"a": {"b.c": 1}}, "a.b.c")
    ([{'c': 'x'}, {'c': 'y'}], 1)
    """
    value = attributes.get(name)
    if value is not None:
        return value
    for head, rest in _heads(name):
        below = attributes.get(head)
        # Nearly always there is none, and asking what is a mapping takes longer than finding that out.
        if below is not None and isinstance(below, Mapping):
            found = find_attribute(below, rest)
            if found is not None:
                return found
    start = f"{name}."
    if start not in "\n".join(attributes):
        # Most attributes that are sought and not there: no key needs to be looked at.
        return None
    below = {key[len(start) :]: value for key, value in attributes.items() if key.startswith(start)}
    return _nested(below) if below else None


def find_attributes(attributes: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """What `find_attribute` gives for each of several names, with one search through the attributes.

    >>> find_attributes({"a.b": 1, "a.c.0": "x"}, ("a.b", "a.c", "a.d"))
    {'a.b': 1, 'a.c': ['x'], 'a.d': None}
    """
    plan = _plan(tuple(attributes), names)
    if plan is None:
        return {name: find_attribute(attributes, name) for name in names}
    found: dict[str, Any] = {}
    for name, below, rows in plan:
        value = attributes.get(name)
        if value is None and rows is not None:
            value = [
                {outer: {inner: attributes[key] for inner, key in inners} for outer, inners in row} for row in rows
            ]
        elif value is None and below:
            value = _nested({rest: attributes[key] for rest, key in below})
        found[name] = value
    return found


@lru_cache(maxsize=1 << 16)
def others_of(key: str, names: tuple[str, ...]) -> tuple[bool, tuple[str, ...]]:
    """Whether what stands under a key may hold one of some names, and those of which it may be a part.

    >>> others_of("llm", ("llm.model_name",)), others_of("llm.model_name.0", ("llm.model_name", "a"))
    ((True, ()), (False, ('llm.model_name',)))
    """
    around = any(name.startswith(f"{key}.") for name in names)
    return around, tuple(name for name in names if key.startswith(f"{name}."))


_Parts = tuple[str, str, str] | None
"""A key of the form `0.word.word`, as those of messages are, parted; None of any other."""


_Pairs = tuple[tuple[str, str], ...]
_Plan = tuple[tuple[str, _Pairs, tuple[tuple[tuple[str, _Pairs], ...], ...] | None], ...]
"""For each name the keys below it, behind what is left of them, and the messages that these make, if they make some."""


@lru_cache(maxsize=1024)
def _plan(keys: tuple[str, ...], names: tuple[str, ...]) -> _Plan | None:
    """Where attributes with such keys have their values: many spans have the same. None where some lie in objects."""
    heads, places = _sought(names)
    if not heads.isdisjoint(keys):
        return None
    below: dict[str, list[tuple[str, _Parts, Any]]] = {name: [] for name in names}
    for key in keys:
        for name, rest, parts in places[key]:
            below[name].append((rest, parts, key))
    plan = []
    for name, found in below.items():
        rows = _rows(found) if found else None
        told = tuple(tuple((outer, tuple(inners.items())) for outer, inners in row.items()) for row in rows or ())
        plan.append((name, tuple((rest, key) for rest, _, key in found), None if rows is None else told))
    return tuple(plan)


class _Places(dict[str, tuple[tuple[str, str, _Parts], ...]]):
    """For a key the names that it lies below, each with what stands behind it; told once for all records."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def __missing__(self, key: str) -> tuple[tuple[str, str, _Parts], ...]:
        found = tuple(
            (name, key[len(name) + 1 :], _parts(key[len(name) + 1 :]))
            for name in self._names
            if key.startswith(f"{name}.")
        )
        if len(self) < _MOST_KEYS:
            self[key] = found
        return found


@lru_cache(maxsize=64)
def _sought(names: tuple[str, ...]) -> tuple[frozenset[str], _Places]:
    """All that stands before a dot in the names, and which keys lie below them."""
    parts = [name.split(".") for name in names]
    heads = {".".join(one[:end]) for one in parts for end in range(1, len(one))}
    return frozenset(heads), _Places(names)


def _parts(rest: str) -> _Parts:
    parts = rest.split(".")
    if len(parts) != 3 or not (parts[1].isidentifier() and parts[2].isidentifier()):
        return None
    return parts[0], parts[1], parts[2]


def _rows(values: list[tuple[str, _Parts, Any]]) -> list[Any] | None:
    """What `_nested` makes of keys that are all of the form `0.word.word`, as those of messages are; else None."""
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for _, parts, value in values:
        if parts is None:
            return None
        place, outer, inner = parts
        row = rows.get(place)
        if row is None:
            rows[place] = {outer: {inner: value}}
        elif outer in row:
            row[outer][inner] = value
        else:
            row[outer] = {inner: value}
    return [rows[key] for key in sorted(rows, key=int)] if _are_places(rows) else None


@lru_cache(maxsize=256)
def _heads(name: str) -> tuple[tuple[str, str], ...]:
    """A name parted at each dot, the last one first."""
    parts = name.split(".")
    return tuple((".".join(parts[:at]), ".".join(parts[at:])) for at in range(len(parts) - 1, 0, -1))


def _nested(flat: Mapping[str, Any]) -> Any:
    """Values under keys with dots as objects and lists; a key that is both a value and a beginning keeps the latter."""
    groups: dict[str, dict[str, Any]] = {}
    made: dict[str, Any] = {}
    for key, value in flat.items():
        head, dot, rest = key.partition(".")
        if not dot:
            made[head] = value
        elif head in groups:
            groups[head][rest] = value
        else:
            groups[head] = {rest: value}
    for head, group in groups.items():
        made[head] = _nested(group)
    return [made[key] for key in sorted(made, key=int)] if _are_places(made) else made


def _are_places(keys: Mapping[str, Any]) -> bool:
    for key in keys:
        if not (key.isascii() and key.isdigit() and int(key) < _MOST_ITEMS):
            return False
    return bool(keys)


def _plain(value: Any) -> Any:
    """A value of OTLP, which says its type in its key."""
    if not isinstance(value, dict):
        return value
    for key in _SCALARS:
        if key in value:
            return value[key]
    number = value.get("intValue", value.get("int_value"))
    if number is not None:
        # 64 bits are more than a JSON number holds, so they come as text.
        return int(number) if isinstance(number, int) or (isinstance(number, str) and _is_whole(number)) else number
    items = value.get("arrayValue", value.get("array_value"))
    if isinstance(items, dict):
        return [_plain(one) for one in items.get("values") or ()]
    pairs = value.get("kvlistValue", value.get("kvlist_value"))
    return plain_attributes(pairs.get("values")) if isinstance(pairs, dict) else None


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isascii() and text.removeprefix("-").isdigit()
