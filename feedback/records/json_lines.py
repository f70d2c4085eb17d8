"""Many JSON lines at once: decoded at C speed, and strictly where a line could be read in two ways.

msgspec reads what `strict_json` reads, with four differences: it keeps the last of two equal keys, nests without a
limit of ours, takes whole numbers of any length, and says less about what is wrong. So a line whose keys, counted in
its bytes, are not as many as in its value, a deep one, one with a long number, and one that msgspec refuses are decoded
again by `strict_json`, which has the last word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from feedback.records.strict_json import MAX_DEPTH, MAX_DIGITS, decode_object
from schemas.errors import RecordRejectedError

__all__ = ["decode_joined", "decode_lines", "decode_texts", "long_numbers"]

_DECODE: Final = msgspec.json.Decoder().decode
_DECODE_LINES: Final = msgspec.json.Decoder().decode_lines
_NEWLINE, _OPEN, _CLOSE = (ord(sign) for sign in "\n{}")
_NESTED: Final = frozenset({dict, list})
_STRIDE: Final = MAX_DIGITS // 4


def decode_lines(lines: Sequence[bytes]) -> tuple[list[dict[str, Any] | None], dict[int, tuple[str, str]]]:
    """The object of each line, and `RejectReason` and detail by place where it was rejected.

    >>> decode_lines([b'{"a": 1}'])
    ([{'a': 1}], {})

    Args:
        lines: JSON texts without line ends, none of them blank.
    """
    return decode_joined(b"\n".join([*lines, b""]))


def decode_joined(text: bytes | memoryview) -> tuple[list[dict[str, Any] | None], dict[int, tuple[str, str]]]:
    r"""What `decode_lines` gives, of lines that stand behind each other, each with a line end; none of them blank.

    >>> decode_joined(b'{"a": 1}\n')
    ([{'a': 1}], {})
    """
    signs = np.frombuffer(text, dtype=np.uint8)
    ends = np.flatnonzero(signs == _NEWLINE)
    begins = np.concatenate((np.zeros(min(len(ends), 1), np.int64), ends[:-1] + 1))
    values = _decode_aligned(text, signs, begins, ends)
    lines = _Spans(text, begins, ends)
    if values is None:
        values = [_decode_or_none(lines[place]) for place in range(len(ends))]
    return values, _decode_strictly(lines, _suspects(signs, ends, values), values)


def decode_texts(texts: Sequence[bytes]) -> tuple[list[dict[str, Any] | None], dict[int, tuple[str, str]]]:
    r"""What `decode_lines` gives, of texts that may each span lines.

    >>> decode_texts([b'{"a":\n1}'])
    ([{'a': 1}], {})
    """
    values = [_decode_or_none(text) for text in texts]
    # Between values a line end is white space; within a text it is an error, which decoding has seen.
    signs = np.frombuffer(b"\n".join([*(text.replace(b"\n", b" ") for text in texts), b""]), dtype=np.uint8)
    return values, _decode_strictly(texts, _suspects(signs, np.flatnonzero(signs == _NEWLINE), values), values)


class _Spans:
    """Pieces of a text, each copied only where it is asked for."""

    def __init__(self, text: bytes | memoryview, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        self._text = text
        self._begins = begins
        self._ends = ends

    def __getitem__(self, place: int) -> bytes:
        return bytes(self._text[self._begins[place] : self._ends[place]])


def _decode_strictly(
    texts: Sequence[bytes] | _Spans, places: Sequence[int], values: list[dict[str, Any] | None]
) -> dict[int, tuple[str, str]]:
    """Decode those of `texts` that `strict_json` must see into `values`; reason and detail of what it refuses."""
    rejects: dict[int, tuple[str, str]] = {}
    for place in places:
        try:
            values[place] = decode_object(texts[place])
        except RecordRejectedError as error:
            values[place] = None
            rejects[place] = (error.reason, error.detail)
    return rejects


def _decode_aligned(
    text: bytes | memoryview, signs: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64]
) -> list[Any] | None:
    """The values of lines that each begin with `{` and end with `}`, or None where one does not, or is no JSON.

    Such lines hold one object each where there are as many objects as lines: none can begin on one and end on another.
    """
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
    from feedback.records.byte_kernels import count_keys  # loads numba

    keys, brackets = np.empty(len(ends), np.int64), np.empty(len(ends), np.int64)
    count_keys(signs, ends, keys, brackets)
    is_odd = _too_deep(signs, ends, brackets) | long_numbers(signs, ends)
    named = np.fromiter((len(value) if type(value) is dict else -1 for value in values), np.int64, len(values))
    # No line has more keys than are counted in its bytes, so where the sums agree, each line does.
    if (named >= 0).all() and _keys_in_all(values) == keys.sum():
        odd: list[int] = np.flatnonzero(is_odd).tolist()
        return odd
    unlike = np.flatnonzero((keys != named) | is_odd)
    # Keys of inner objects count too; only their sum tells whether one is there twice.
    return [
        place
        for place in unlike.tolist()
        if named[place] < 0 or is_odd[place] or _keys_in_all([values[place]]) != keys[place]
    ]


def _too_deep(signs: NDArray[np.uint8], ends: NDArray[np.int64], brackets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a line nests deeper than `strict_json` takes; only those with so many brackets are looked at."""
    found = brackets > MAX_DEPTH
    places = np.flatnonzero(found)
    if len(places):
        from feedback.records.json_scan import measure_depths  # loads numba

        depths = np.empty(len(places), dtype=np.int64)
        measure_depths(signs, np.concatenate((np.zeros(1, np.int64), ends + 1))[places], ends[places], depths)
        found[places] = depths > MAX_DEPTH
    return found


def long_numbers(signs: NDArray[np.uint8], ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a line may hold a number of more digits than `strict_json` takes.

    Args:
        signs: the bytes of the text. [B] uint8.
        ends: the byte behind each line. [N].

    Returns:
        [N] bool; False only where there is none.
    """
    # Of so many digits in a row, some four at equal distances are digits too, which is quick to see and rarely chance.
    is_digit = (signs[::_STRIDE] >= ord("0")) & (signs[::_STRIDE] <= ord("9"))
    in_row = is_digit[:-3] & is_digit[1:-2] & is_digit[2:-1] & is_digit[3:]
    found = np.zeros(len(ends), dtype=np.bool_)
    if in_row.any():
        at = np.searchsorted(ends, np.flatnonzero(in_row) * _STRIDE, side="right")
        found[at[at < len(ends)]] = True
    return found


def _keys_in_all(values: list[Any]) -> int:
    """Keys of all objects in `values`, inner ones too."""
    count = 0
    while values:
        objects = [value for value in values if type(value) is dict]
        lists = [value for value in values if type(value) is list]
        count += sum(map(len, objects))
        values = [item for one in objects for item in one.values() if type(item) in _NESTED]
        values += [item for one in lists for item in one if type(item) in _NESTED]
    return count
