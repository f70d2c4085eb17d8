"""Every path of some records, with the kinds of its values and, where they are few and short, the values."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from feedback.formats.mapping.mapped_values import json_text
from feedback.formats.mapping.paths import Steps, path_text
from feedback.formats.sniffing.shape import is_personal, kind_of

__all__ = ["MOST_VALUES", "SeenPath", "note_value", "seen_paths"]

MOST_VALUES: Final = 12
"""Different values beyond which a field is no label with a word for each."""

_MOST_PATHS: Final = 300
_MOST_DEPTH: Final = 6
_MOST_ITEMS: Final = 50
_MOST_CHARS: Final = 24
_JSON_BEGINS: Final = ("{", "[")


@dataclass(slots=True)
class SeenPath:
    """A path and what was found there.

    Args:
        steps: the path; 0 stands for every item of a list of objects.
        kinds: how often a value of each kind was there.
        values: how often each value was there, as a map names it; None once they are too many or too long for labels.
        numbers: the least and the greatest number.
        role_keys: for a list of messages, the keys of speaker and text.
        in_text: whether it lies within, or is, JSON in a text.
    """

    steps: Steps
    kinds: Counter[str] = field(default_factory=Counter)
    values: Counter[str] | None = field(default_factory=Counter)
    numbers: tuple[float, float] | None = None
    role_keys: tuple[str, str] | None = None
    in_text: bool = False

    @property
    def name(self) -> str:
        """The last key of the path."""
        return next((step for step in reversed(self.steps) if isinstance(step, str)), "")

    @property
    def text(self) -> str:
        """The path as a map writes it."""
        return path_text(self.steps)

    @property
    def is_messages(self) -> bool:
        """Whether messages were found there, or one."""
        return self.role_keys is not None

    @property
    def is_scalar(self) -> bool:
        """Whether it holds neither objects nor lists."""
        return not {"object", "list"} & set(self.kinds) and bool(set(self.kinds) - {"null"})

    @property
    def list_steps(self) -> Steps | None:
        """The path of the outermost list of objects that it goes through."""
        return self.steps[: self.steps.index(0)] if 0 in self.steps[:-1] or self.steps[-1:] == (0,) else None


_ROLE_KEYS: Final = ("role", "from", "speaker", "author", "sender")
_TEXT_KEYS: Final = ("content", "value", "text", "message", "body")


def seen_paths(records: Iterable[dict[str, Any]]) -> list[SeenPath]:
    """The paths of the records, in the order in which they first come, outer ones first."""
    found: dict[Steps, SeenPath] = {}
    for record in records:
        for steps, value, in_text in _walk(record, (), in_text=False):
            if steps not in found and len(found) >= _MOST_PATHS:
                continue
            note_value(found.setdefault(steps, SeenPath(steps)), value, in_text=in_text)
    return list(found.values())


def note_value(seen: SeenPath, value: Any, *, in_text: bool = False) -> None:
    """Note in `seen` that `value` was found there, within JSON in a text or not."""
    seen.in_text = seen.in_text or in_text
    seen.kinds[kind_of(value)] += 1
    seen.role_keys = seen.role_keys or _message_keys(value if isinstance(value, list) else [value])
    number = _number_or_none(value)
    if number is not None:
        low, high = seen.numbers or (number, number)
        seen.numbers = min(low, number), max(high, number)
    if seen.values is None:
        return
    named = None if isinstance(value, dict | list) else json_text(value)
    if named is None or len(named) > _MOST_CHARS or is_personal(seen.name, named):
        seen.values = None
        return
    seen.values[named] += 1
    if len(seen.values) > MOST_VALUES:
        seen.values = None


def _walk(value: Any, steps: Steps, *, in_text: bool) -> Iterator[tuple[Steps, Any, bool]]:
    if steps:
        yield steps, value, in_text
    if len(steps) >= _MOST_DEPTH:
        return
    if isinstance(value, str) and value[:1] in _JSON_BEGINS:
        inner = _json_or_none(value)
        if isinstance(inner, dict | list):
            yield from _inside(inner, steps, in_text=True)
            return
    yield from _inside(value, steps, in_text=in_text)


def _inside(value: Any, steps: Steps, *, in_text: bool) -> Iterator[tuple[Steps, Any, bool]]:
    if in_text and isinstance(value, list) and _message_keys(value) is not None:
        yield steps, value, True
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(item, (*steps, str(key)), in_text=in_text)
    elif isinstance(value, list):
        for item in value[:_MOST_ITEMS]:
            if isinstance(item, dict):
                yield from _inside(item, (*steps, 0), in_text=in_text)


def _message_keys(items: list[Any]) -> tuple[str, str] | None:
    if not items or not all(isinstance(item, dict) for item in items):
        return None
    role = next((key for key in _ROLE_KEYS if all(isinstance(item.get(key), str) for item in items)), None)
    text = next((key for key in _TEXT_KEYS if all(isinstance(item.get(key), str | list) for item in items)), None)
    return None if role is None or text is None else (role, text)


def _number_or_none(value: Any) -> float | None:
    """The number that a value is, also as the text that a table gives."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _json_or_none(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
