"""Many JSON lines at once: decoded at C speed, and strictly where a line could be read in two ways.

msgspec reads what `strict_json` reads, with three differences: it keeps the last of two equal keys, nests without a
limit of ours, and says less about what is wrong. So a line whose keys, counted in its bytes, are not as many as in its
value, one with many brackets, and one that msgspec refuses are decoded again by `strict_json`, which has the last word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from feedback.records.strict_json import MAX_DEPTH, decode_object
from schemas.errors import RecordRejectedError

__all__ = ["decode_lines"]

_DECODE: Final = msgspec.json.Decoder().decode
_DECODE_LINES: Final = msgspec.json.Decoder().decode_lines
_QUOTE, _COLON, _BACKSLASH, _NEWLINE = (ord(sign) for sign in '":\\\n')
_OPEN: Final = ord("{")
_CLOSE: Final = ord("}")


def decode_lines(lines: Sequence[bytes]) -> tuple[list[dict[str, Any] | None], dict[int, tuple[str, str]]]:
    """The object of each line, and `RejectReason` and detail by place where it was rejected.

    >>> decode_lines([b'{"a": 1}'])
    ([{'a': 1}], {})

    Args:
        lines: JSON texts without line ends, none of them blank.
    """
    text = b"\n".join([*lines, b""])
    signs = np.frombuffer(text, dtype=np.uint8)
    ends = np.flatnonzero(signs == _NEWLINE)
    values = _decode_aligned(text, signs, ends)
    if values is None:
        values = [_decode_or_none(line) for line in lines]
    rejects: dict[int, tuple[str, str]] = {}
    for place in _suspects(signs, ends, values):
        try:
            values[place] = decode_object(lines[place])
        except RecordRejectedError as error:
            values[place] = None
            rejects[place] = (error.reason, error.detail)
    return values, rejects


def _decode_aligned(text: bytes, signs: NDArray[np.uint8], ends: NDArray[np.int64]) -> list[Any] | None:
    """The values of lines that each begin with `{` and end with `}`, or None where one does not, or is no JSON.

    Such lines hold one object each where there are as many objects as lines: none can begin on one and end on another.
    """
    begins = np.concatenate((np.zeros(min(len(ends), 1), np.int64), ends[:-1] + 1))
    if (ends <= begins).any() or (signs[begins] != _OPEN).any() or (signs[ends - 1] != _CLOSE).any():
        return None
    try:
        values: list[Any] = _DECODE_LINES(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return values if len(values) == len(ends) else None


def _decode_or_none(line: bytes) -> Any:
    try:
        return _DECODE(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _suspects(signs: NDArray[np.uint8], ends: NDArray[np.int64], values: list[Any]) -> list[int]:
    """Places of the lines that `strict_json` must see."""
    keys, brackets = _count_signs(signs, ends)
    named = np.fromiter((len(value) if type(value) is dict else -1 for value in values), np.int64, len(values))
    unlike = np.flatnonzero((keys != named) | (brackets > MAX_DEPTH))
    # Keys of inner objects count too; only their sum tells whether one is there twice.
    return [
        place
        for place in unlike.tolist()
        if named[place] < 0 or brackets[place] > MAX_DEPTH or _keys_in(values[place]) != keys[place]
    ]


def _count_signs(signs: NDArray[np.uint8], ends: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Keys and opening brackets of each line, counted in its bytes.

    A quote within a text is escaped, so a bare quote before a colon ends a key. Where white space stands between the
    two, or the key itself ends with a backslash, the count is too small, and the line becomes a suspect.
    """
    at_quote = np.flatnonzero(signs == _QUOTE)
    at_quote = at_quote[(at_quote > 0) & (at_quote < len(signs) - 1)]
    at_key = at_quote[(signs[at_quote + 1] == _COLON) & (signs[at_quote - 1] != _BACKSLASH)]
    at_bracket = np.flatnonzero((signs | 0x20) == _OPEN)
    return _per_line(at_key, ends), _per_line(at_bracket, ends)


def _per_line(places: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.diff(np.searchsorted(places, ends), prepend=0).astype(np.int64)


def _keys_in(value: Any) -> int:
    count = 0
    level = [value]
    while level:
        inner: list[Any] = []
        for item in level:
            if type(item) is dict:
                count += len(item)
                inner.extend(item.values())
            elif type(item) is list:
                inner.extend(item)
        level = [item for item in inner if type(item) in (dict, list)]
    return count
