"""One field of many JSON lines, without objects of all the others, and as strictly as if they were read.

msgspec passes over what it is not asked for and still sees whether it is JSON. It does not see there what is no UTF-8,
and numbers that are infinite; so of such a text, of lines that `json_lines` would look at twice, and of those in which
the field lies in anything but objects, the whole object is read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from feedback.records.json_columns import Lines, is_utf8
from feedback.records.json_lines import decode_lines, suspects

__all__ = ["read_fields"]

Places = NDArray[np.int64]

_OPEN, _CLOSE = (ord(sign) for sign in "{}")
_AT_ONCE: Final = 256
"""Whole objects that live at once."""
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def read_fields(
    lines: Lines, places: Places, keys: Sequence[str], find: Callable[[dict[str, Any]], Any]
) -> tuple[list[Any], dict[int, tuple[str, str]]]:
    """The value under `keys` on each of some lines, None where there is none; `RejectReason` and detail by place.

    Args:
        lines: the lines.
        places: which of them; none is blank. [N].
        keys: a key, and those within the object that it holds.
        find: gives the value of an object that was read as a whole.
    """
    decode = _decoder(tuple(keys))
    values: list[Any] = [None] * len(places)
    is_odd = _are_odd(lines, places)
    rows = None if is_odd.any() or len(places) < len(lines) else _all_rows(decode, lines)
    for place, row in enumerate(rows or ()):
        values[place] = _leaf(row, keys)
    for place in np.flatnonzero(~is_odd).tolist() if rows is None else ():
        try:
            values[place] = _leaf(decode.decode(lines.line(int(places[place]))), keys)
        except _UNREADABLE:
            is_odd[place] = True
    odd = np.flatnonzero(is_odd)
    rejects: dict[int, tuple[str, str]] = {}
    for start in range(0, len(odd), _AT_ONCE):
        numbers = odd[start : start + _AT_ONCE]
        objects, refused = decode_lines([line.strip(b" \t\r") for line in lines.at(places[numbers])])
        for number, one in zip(numbers.tolist(), objects, strict=True):
            values[number] = None if one is None else find(one)
        rejects |= {int(numbers[at]): one for at, one in refused.items()}
    return values, rejects


def _are_odd(lines: Lines, places: Places) -> NDArray[np.bool_]:
    """Which lines must be read as a whole, as far as their bytes tell."""
    if not len(places):
        return np.zeros(0, dtype=np.bool_)
    signs = np.frombuffer(lines.data, dtype=np.uint8)
    starts, ends = lines.starts[places], lines.ends[places]
    is_odd = suspects(signs, starts, ends)
    is_odd |= (signs[starts] != _OPEN) | (signs[ends - 1] != _CLOSE)
    if not is_utf8(lines.data):
        is_odd |= ~np.fromiter((is_utf8(lines.line(place)) for place in places.tolist()), np.bool_, len(places))
    return is_odd


def _all_rows(decode: msgspec.json.Decoder[Any], lines: Lines) -> list[Any] | None:
    """The rows of all lines at once; None where one of them is not as wanted."""
    try:
        rows: list[Any] = decode.decode_lines(lines.data)
    except _UNREADABLE:
        return None
    return rows if len(rows) == len(lines) else None


def _leaf(row: Any, keys: Sequence[str]) -> Any:
    for _ in keys:
        if row is None:
            return None
        row = row.field
    return row


@lru_cache(maxsize=32)
def _decoder(keys: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """What reads an object into a row with its one `field`, which holds another row or the value."""
    kind: Any = Any
    for key in reversed(keys):
        field = kind if kind is Any else kind | None
        kind = msgspec.defstruct("Row", [("field", field, None)], rename={"field": key}, gc=False)
    return msgspec.json.Decoder(kind)
