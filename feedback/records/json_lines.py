"""Many JSON lines at once: decoded at C speed, and strictly where a line could be read in two ways.

msgspec reads what `strict_json` reads, with four differences: it keeps the last of two equal keys, nests without a
limit of ours, takes whole numbers of any length, and says less about what is wrong. So a line in which a key may
occur twice in an object, a deep one, one with a long number, and one that msgspec refuses are decoded again by
`strict_json`, which has the last word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from feedback.records.strict_json import MAX_DEPTH, MAX_DIGITS, decode_object
from schemas.errors import RecordRejectedError

__all__ = ["decode_joined", "decode_lines", "decode_texts", "long_numbers", "suspects"]

_DECODE: Final = msgspec.json.Decoder().decode
_DECODE_LINES: Final = msgspec.json.Decoder().decode_lines
_NEWLINE, _OPEN, _CLOSE = (ord(sign) for sign in "\n{}")
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
    begins = np.concatenate((np.zeros(min(len(ends), 1), np.int64), ends[:-1] + 1))
    is_object = np.fromiter((type(value) is dict for value in values), np.bool_, len(values))
    odd: list[int] = np.flatnonzero(suspects(signs, begins, ends) | ~is_object).tolist()
    return odd


def suspects(signs: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether `strict_json` must see a line, as far as its bytes tell. [N] bool.

    Args:
        signs: the bytes of the text. [B] uint8.
        begins: the first byte of each line. [N].
        ends: the byte behind each. [N].
    """
    from feedback.records.json_scan import find_ambiguous  # loads numba

    is_odd = np.empty(len(ends), np.uint8)
    find_ambiguous(signs, begins, ends, MAX_DEPTH, is_odd)
    found: NDArray[np.bool_] = (is_odd != 0) | long_numbers(signs, ends)
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
        for place in np.flatnonzero(found).tolist():
            start = int(ends[place - 1]) if place else 0
            found[place] = _has_long_number(signs[start : int(ends[place])])
    return found


def _has_long_number(signs: NDArray[np.uint8]) -> bool:
    """Whether more digits stand in a row than `strict_json` takes; lists of numbers only look as if."""
    others = np.flatnonzero((signs < ord("0")) | (signs > ord("9")))
    gaps = np.diff(np.concatenate(([-1], others, [len(signs)]))) - 1
    # A sign counts as a digit there.
    return bool(gaps.max() >= MAX_DIGITS)
