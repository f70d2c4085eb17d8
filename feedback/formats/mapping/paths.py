"""Paths into a record: keys with dots between them, places in lists, and text on the way read as JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from feedback.formats.parts.fields import reject, shown
from feedback.records.strict_json import decode_json
from schemas.errors import ConfigError, RecordRejectedError
from schemas.reasons import RejectReason

__all__ = ["Steps", "find_value", "json_of_text", "parse_path", "path_text"]

Steps = tuple[str | int, ...]
"""The steps of a path: keys of objects and places in lists."""

_STEP: Final = re.compile(r"""(?:^|\.)([^.\[\]"]+)|\[(-?\d+)\]|\["((?:[^"\\]|\\.)+)"\]""")
_ESCAPED: Final = re.compile(r"\\(.)")
_PLAIN: Final = re.compile(r"""[^.\[\]"]+""")


def parse_path(path: str, where: object) -> Steps:
    r"""The steps of a path.

    >>> parse_path('choices[0].message["a.b"]', "map.toml")
    ('choices', 0, 'message', 'a.b')

    Args:
        path: keys with dots between them, `[n]` for a place in a list, from its end where n is negative, and `["key"]`
            for a key with signs in it; a quote within is `\"` and a backslash `\\`.
        where: the map file, for the error.

    Raises:
        ConfigError: it is not a path.
    """
    steps: list[str | int] = []
    end = 0
    while end < len(path) and (match := _STEP.match(path, end)):
        key, place, quoted = match.groups()
        steps.append(int(place) if place is not None else key or _ESCAPED.sub(r"\1", quoted))
        end = match.end()
    if not steps or end != len(path):
        raise ConfigError(
            "a path of the map cannot be read", where=where, received=path, expected='a.b, a[0] or a["key.with.dots"]'
        )
    return tuple(steps)


def path_text(steps: Sequence[str | int]) -> str:
    r"""The text that `parse_path` reads as `steps`.

    >>> path_text(("choices", 0, "a.b"))
    'choices[0]["a.b"]'
    """
    made = ""
    for step in steps:
        if isinstance(step, int):
            made += f"[{step}]"
        elif _PLAIN.fullmatch(step):
            made += f".{step}" if made else step
        else:
            quoted = step.replace("\\", "\\\\").replace('"', '\\"')
            made += f'["{quoted}"]'
    return made


def find_value(record: Any, steps: Sequence[str | int]) -> Any:
    """The value at a path, or None where there is none; text on the way is read as JSON.

    Raises:
        RecordRejectedError: text on the way is not JSON.
    """
    value = record
    for step in steps:
        if type(value) is dict and type(step) is str:
            value = value.get(step)
            continue
        if isinstance(value, str):
            value = json_of_text(value, f"the text before {step!r} in a mapped path")
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value


def json_of_text(text: str, what: str) -> Any:
    """The JSON value that a text of a record holds, read as strictly as the record itself.

    Args:
        text: the text.
        what: what it is, for the rejection.

    Raises:
        RecordRejectedError: it is not JSON, or ambiguous.
    """
    try:
        return decode_json(text.encode("utf-8", "surrogatepass"))
    except RecordRejectedError as error:
        if error.reason != RejectReason.INVALID_JSON:
            raise
        return reject(RejectReason.INVALID_JSON, f"{what} is {shown(text)}; expected JSON")
