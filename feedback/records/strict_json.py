"""One JSON record from bytes, strictly: whatever two readers could understand differently is refused, with its reason.

`json` alone takes duplicate keys, NaN, numbers that become infinite and halves of surrogate pairs. Here they are
rejections, so that what is trained on is what everybody else reads in the same file.
"""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

from schemas.errors import RecordRejectedError
from schemas.reasons import RejectReason

__all__ = ["MAX_DEPTH", "MAX_DIGITS", "decode_json", "decode_object"]

MAX_DEPTH: Final = 200
"""Deepest nesting that is read. Fixed here, because the interpreter's own limit differs between versions."""

MAX_DIGITS: Final = 300
"""Longest whole number: anything longer is no float, and no id or count."""


def decode_object(raw: bytes) -> dict[str, Any]:
    """The object that `raw` holds.

    Raises:
        RecordRejectedError: it is not UTF-8, not JSON, ambiguous, too deep, or not an object.
    """
    value = decode_json(raw)
    if not isinstance(value, dict):
        raise RecordRejectedError(RejectReason.NOT_AN_OBJECT, f"the record is a {_kind(value)}, not an object")
    return value


def decode_json(raw: bytes) -> Any:
    """The JSON value that `raw` holds.

    >>> decode_json(b'{"label": "up"}')
    {'label': 'up'}

    Raises:
        RecordRejectedError: it is not UTF-8, not JSON, ambiguous or too deep.
    """
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise RecordRejectedError(RejectReason.INVALID_UTF8, f"byte {error.start} is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise RecordRejectedError(RejectReason.INVALID_JSON, f"{error.msg} at character {error.pos}") from error
    except RecursionError as error:
        raise RecordRejectedError(RejectReason.TOO_DEEP, f"nested deeper than {MAX_DEPTH} levels") from error
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _is_too_deep(value):
        raise RecordRejectedError(RejectReason.TOO_DEEP, f"nested deeper than {MAX_DEPTH} levels")
    if b"\\ud" in raw or b"\\uD" in raw:
        _refuse_lone_surrogates(value)
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise RecordRejectedError(RejectReason.DUPLICATE_KEY, f"key {twice[:60]!r} occurs twice in one object")
    return made


def _refuse_constant(text: str) -> NoReturn:
    raise RecordRejectedError(RejectReason.NON_FINITE_NUMBER, f"{text} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise RecordRejectedError(RejectReason.NON_FINITE_NUMBER, f"the number {text[:40]} is too large for a float")
    return number


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise RecordRejectedError(
            RejectReason.NON_FINITE_NUMBER, f"the number {text[:20]}... has {len(text)} digits, too large for a float"
        )
    return int(text)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique_keys, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_integer
)


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        level = inner
        if not level:
            return False
    return any(isinstance(item, dict | list) for item in level)


def _refuse_lone_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        detail = f"the text holds {error.object[error.start]!a}, half of a surrogate pair"
        raise RecordRejectedError(RejectReason.LONE_SURROGATE, detail) from error


def _kind(value: Any) -> str:
    names = {list: "list", str: "text", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
