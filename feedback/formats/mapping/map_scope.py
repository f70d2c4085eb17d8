"""What the paths of a map can reach beside the record itself: the items of a list one by one, the way up a tree.

    record ─► [[each]], one inside the other ─► [tree] ─► scopes, one for each draft

A scope is the record with further names in it. What another file has is there already: `feedback.ingest` places it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feedback.formats.mapping.map_config import MapConfig, MapEach, MapTree
from feedback.formats.mapping.paths import Steps, find_value, json_of_text, parse_path
from feedback.formats.parts.fields import need, reject, shown
from schemas.reasons import RejectReason

__all__ = ["Scope", "Scopes"]


@dataclass(frozen=True, slots=True)
class Scope:
    """What the paths of one draft start from.

    Args:
        values: the record, and the further names of the map.
        place: which items of the lists it is of, by number, or by key in an object, with a slash before each; empty
            where the map names no list.
    """

    values: Mapping[str, Any]
    place: str = ""


class Scopes:
    """The tables `[[each]]` and `[tree]` of a map, ready to read records.

    Args:
        config: the map.
        where: its file, for errors.

    Raises:
        ConfigError: a path that cannot be read.
    """

    def __init__(self, config: MapConfig, where: Path) -> None:
        self._lists = [_List(one, where) for one in config.each]
        self._tree = None if config.tree is None else _Tree(config.tree, where)
        self.item = config.each[-1].name if config.each else None

    def of(self, record: dict[str, Any]) -> Iterator[Scope]:
        """The scope of each draft of a record.

        Raises:
            RecordRejectedError: a list or a tree is not there or not whole, or no item is to be read.
        """
        if not self._lists and self._tree is None:
            yield Scope(record)
            return
        is_read = False
        for scope in self._items(Scope(record), self._lists):
            is_read = True
            yield scope if self._tree is None else Scope(self._tree.climb(scope.values), scope.place)
        if not is_read:
            reject(RejectReason.NO_JUDGEMENT, f"no item of the list at {self._lists[-1].path!r} is to be read")

    def _items(self, scope: Scope, lists: Sequence[_List]) -> Iterator[Scope]:
        if not lists:
            yield scope
            return
        for inner in lists[0].items(scope):
            yield from self._items(inner, lists[1:])


class _List:
    """One table `[[each]]`."""

    def __init__(self, config: MapEach, where: Path) -> None:
        self.path = config.list
        self._steps = parse_path(config.list, where)
        self._only = None if config.only is None else parse_path(config.only, where)
        self._name = config.name

    def items(self, scope: Scope) -> Iterator[Scope]:
        """The scope of each item that is to be read."""
        found = _container(scope.values, self._steps, self.path)
        keys = list(found) if isinstance(found, dict) else None
        items = list(found.values()) if isinstance(found, dict) else found
        for place, item in enumerate(items):
            values = {
                **scope.values,
                self._name: item,
                f"{self._name}_before": items[:place],
                f"{self._name}_place": place,
                f"{self._name}_key": None if keys is None else keys[place],
            }
            if self._only is None or find_value(values, self._only) is not None:
                yield Scope(values, f"{scope.place}/{place if keys is None else _escaped(keys[place])}")


def _escaped(key: str) -> str:
    """A key without slashes, as JSON pointers write it, so that no two items have one place."""
    return key.replace("~", "~0").replace("/", "~1")


class _Tree:
    """The table `[tree]`."""

    def __init__(self, config: MapTree, where: Path) -> None:
        self._config = config
        self._nodes = parse_path(config.nodes, where)
        self._rated = parse_path(config.rated, where)
        self._parent = parse_path(config.parent, where)
        self._id = parse_path(config.id, where)
        self._only = None if config.only is None else parse_path(config.only, where)

    def climb(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """`values` with the way from the root down to the rated message."""
        nodes = self._by_id(_container(values, self._nodes, self._config.nodes))
        rated = need({self._config.rated: find_value(values, self._rated)}, self._config.rated)
        way: list[Any] = []
        seen: set[str] = set()
        place: str | None = _id(rated)
        while place is not None:
            if place in seen:
                reject(RejectReason.BROKEN_THREAD, f"message {shown(place)} is its own ancestor")
            if place not in nodes:
                what = "parent of a message" if seen else "rated message"
                reject(RejectReason.BROKEN_THREAD, f"the {what}, {shown(place)}, is not at {self._config.nodes!r}")
            seen.add(place)
            if self._only is None or find_value(nodes[place], self._only) is not None:
                way.append(nodes[place])
            elif len(seen) == 1:
                reject(RejectReason.BROKEN_THREAD, f"the rated message has nothing at {self._config.only!r}")
            above = find_value(nodes[place], self._parent)
            place = None if above is None or str(above) in self._config.roots else _id(above)
        return {**values, self._config.name: way[::-1]}

    def _by_id(self, nodes: list[Any] | dict[str, Any]) -> dict[str, Any]:
        if isinstance(nodes, dict):
            return nodes
        found: dict[str, Any] = {}
        for node in nodes:
            name = find_value(node, self._id)
            if name is None:
                continue
            if found.setdefault(_id(name), node) != node:
                reject(RejectReason.BROKEN_THREAD, f"two messages at {self._config.nodes!r} have the id {shown(name)}")
        return found


def _id(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        reject(RejectReason.WRONG_TYPE, f"the id of a message is {shown(value)}; expected text or a whole number")
    return str(value)


def _container(values: Mapping[str, Any], steps: Steps, path: str) -> list[Any] | dict[str, Any]:
    """The list or object at a path, also where it stands there as the text of JSON."""
    value = need({path: find_value(values, steps)}, path)
    if isinstance(value, str):
        value = json_of_text(value, f"the text at {path!r}")
    if not isinstance(value, list | dict):
        reject(RejectReason.WRONG_TYPE, f"field {path!r} is {shown(value)}; expected a list or an object")
    return value
