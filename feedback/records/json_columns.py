"""Many JSON lines at once, as columns: for records of known fields, each of one type.

Arrow's reader is as strict as `strict_json` about keys that occur twice, types, numbers and surrogates. It differs in
four things, and lines where they could matter are left out: NaN and infinities, whole numbers without end, nesting
without end, and two objects on one line. Where it refuses a block, msgspec finds the lines that are no JSON or have
another type, and if that is not all, the block is parted until the refused lines stand alone; or what nobody reads is
passed over, which Arrow then does not look into, so that `json_scan` must. What is left out here is for `json_lines`,
which says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.json
from numpy.typing import NDArray

from feedback.records.json_lines import long_numbers, suspects
from feedback.records.strict_json import MAX_DEPTH

__all__ = ["Lines", "is_utf8", "read_columns", "split_lines"]

Places = NDArray[np.int64]
_Others = Literal["infer", "ignore"]

_NEWLINE, _RETURN, _OPEN, _CLOSE = (ord(sign) for sign in "\n\r{}")
_PYTHON: Final = {pa.string(): str, pa.int64(): int, pa.float64(): float, pa.bool_(): bool}
"""What msgspec takes for values of a type; so does Arrow, but for a whole number where a float is wanted."""
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_CASE: Final = np.uint8(0x20)
_ALONE: Final = 24
_PARTS: Final = 8


@dataclass(frozen=True, slots=True)
class Lines:
    """A block of text and where its lines are.

    Args:
        data: the text.
        starts: first byte of each line. [N].
        ends: byte behind the last one of each line, without its line end. [N].
    """

    data: bytes | memoryview
    starts: Places
    ends: Places

    def __len__(self) -> int:
        return len(self.starts)

    def line(self, place: int) -> bytes:
        """The bytes of one line."""
        return bytes(self.data[self.starts[place] : self.ends[place]])

    def at(self, places: Places) -> list[bytes]:
        """The bytes of several lines."""
        data = self.data
        spans = zip(self.starts[places].tolist(), self.ends[places].tolist(), strict=True)
        return [bytes(data[start:end]) for start, end in spans]


def split_lines(data: bytes | memoryview) -> Lines:
    r"""The lines of `data`; the last one may lack its line end.

    >>> lines = split_lines(b"a\r\nb")
    >>> [lines.line(place) for place in range(len(lines))]
    [b'a', b'b']
    """
    from feedback.records.byte_kernels import count_bytes, find_newlines

    signs = np.frombuffer(data, dtype=np.uint8)
    ends = np.empty(count_bytes(signs, 0, _NEWLINE), dtype=np.int64)
    find_newlines(signs, ends)
    if len(signs) and signs[-1] != _NEWLINE:
        ends = np.append(ends, len(signs))
    starts = np.concatenate((np.zeros(min(len(ends), 1), np.int64), ends[:-1] + 1))
    if count_bytes(signs, 0, _RETURN):
        ends = ends.copy()
        while len(returned := np.flatnonzero((ends > starts) & (signs[np.maximum(ends - 1, 0)] == _RETURN))):
            ends[returned] -= 1
    return Lines(data, starts, ends)


def is_utf8(text: bytes | memoryview) -> bool:
    """Whether `text` is UTF-8, without making a text of it, which takes four times its room."""
    span = np.array([0, len(text)], dtype=np.int64)
    whole = pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, pa.py_buffer(span), pa.py_buffer(text)])
    try:
        whole.cast(pa.large_string())
    except pa.ArrowInvalid:
        return False
    return True


def read_columns(
    lines: Lines, schema: pa.Schema, seen: Sequence[str] | None = None
) -> Iterator[tuple[Places, pa.Table]]:
    """Tables of the lines that hold one object each, whose fields have the types of `schema`.

    Args:
        lines: the lines.
        schema: types of the fields that are known. A field that a line lacks is null; others are added, each with the
            type that Arrow finds for it.
        seen: keys of other fields that are read, at any depth. Where fields under all other keys have no one type, they
            are passed over, and lines with one of these keys are not read. None: no field is passed over.

    Yields:
        Places of lines, and a table with a row for each. Lines of no table were not read.
    """
    yield from _read(lines, _candidates(lines), schema, seen)


def _candidates(lines: Lines) -> Places:
    from feedback.records.byte_kernels import count_between, count_bytes

    signs = np.frombuffer(lines.data, dtype=np.uint8)
    if not len(lines):
        return np.zeros(0, np.int64)
    last = len(signs) - 1
    is_object = (
        (lines.ends > lines.starts)
        & (signs[np.minimum(lines.starts, last)] == _OPEN)
        & (signs[np.maximum(lines.ends - 1, 0)] == _CLOSE)
    )
    # The bit 0x20 is all that tells `[` from `{`. Each object has one: one that is too deep leaves too many for all.
    if count_bytes(signs, _CASE, _OPEN) >= MAX_DEPTH + np.count_nonzero(is_object):
        counts = np.empty(len(lines), dtype=np.int64)
        count_between(signs, lines.starts, lines.ends, _CASE, _OPEN, counts)
        is_object &= counts <= MAX_DEPTH
    return np.flatnonzero(is_object & ~long_numbers(signs, lines.ends))


def _read(
    lines: Lines,
    places: Places,
    schema: pa.Schema,
    seen: Sequence[str] | None,
    *,
    is_sifted: bool = False,
    others: _Others = "infer",
) -> Iterator[tuple[Places, pa.Table]]:
    if not len(places):
        return
    table = _parse(_text(lines, places), len(places), schema, others)
    if table is not None:
        yield from _finite(places, table)
        return
    sound = places if is_sifted else _sift(lines, places, schema)
    # Where all lines are sound, it is other fields that have no one type.
    if seen is not None and others == "infer" and len(sound) == len(places):
        yield from _read(lines, _clear(lines, sound, seen), schema, seen, is_sifted=True, others="ignore")
    elif not is_sifted:
        yield from _read(lines, sound, schema, seen, is_sifted=True)
    elif len(places) > _ALONE:
        for part in np.array_split(places, _PARTS):
            yield from _read(lines, part, schema, seen, is_sifted=True, others=others)


def _clear(lines: Lines, places: Places, seen: Sequence[str]) -> Places:
    """The places of lines in which a field can be passed over: none of some keys, and nothing of two readings."""
    from feedback.records.line_kernels import count_in_lines  # loads numba

    signs = np.frombuffer(lines.data, dtype=np.uint8)
    is_clear = ~suspects(signs, lines.starts[places], lines.ends[places])
    for key in seen:
        counts = np.zeros(len(lines), dtype=np.int64)
        # A key that is written otherwise has an escape, and is of two readings.
        count_in_lines(signs, lines.ends, np.frombuffer(f'"{key}"'.encode(), dtype=np.uint8), counts)
        is_clear &= counts[places] == 0
    return places[is_clear]


def _finite(places: Places, table: pa.Table) -> Iterator[tuple[Places, pa.Table]]:
    """The rows without NaN and infinities, which Arrow reads although they are no JSON."""
    may_be_infinite = [one for one in table.columns if pa.types.is_floating(one.type) or pa.types.is_nested(one.type)]
    if not may_be_infinite:
        yield places, table
        return
    # By polars: pyarrow.compute loads pandas before it fills nulls.
    is_finite = np.ones(len(places), dtype=np.bool_)
    for column in may_be_infinite:
        if pa.types.is_floating(column.type):
            is_finite &= _finite_numbers(column).to_numpy()
        elif not all(_is_finite(chunk) for chunk in column.chunks):
            is_finite &= ~pl.Series(column.is_valid()).to_numpy()
    if is_finite.all():
        yield places, table
    elif is_finite.any():
        yield places[is_finite], table.filter(pl.Series(is_finite).to_arrow())


def _is_finite(array: pa.Array) -> bool:
    """Whether no number in `array`, however deep, is NaN or infinite."""
    if pa.types.is_struct(array.type):
        return all(_is_finite(array.field(number)) for number in range(array.type.num_fields))
    if pa.types.is_list(array.type):
        return _is_finite(array.values)
    return not pa.types.is_floating(array.type) or bool(_finite_numbers(array).all())


def _finite_numbers(numbers: pa.Array | pa.ChunkedArray) -> pl.Series:
    """Which numbers are finite; an absent one is."""
    if numbers.null_count == len(numbers):
        return pl.Series([True]).new_from_index(0, len(numbers))
    return pl.Series(numbers).is_finite().fill_null(value=True)


def _sift(lines: Lines, places: Places, schema: pa.Schema) -> Places:
    """The places of lines that are JSON and have the right types, as far as msgspec can tell."""
    decoder = msgspec.json.Decoder(_row_type(list(schema)))
    with suppress(*_UNREADABLE):
        if len(decoder.decode_lines(_text(lines, places))) == len(places):
            return places
    sound = []
    for place, line in zip(places.tolist(), lines.at(places), strict=True):
        try:
            decoder.decode(line)
        except _UNREADABLE:
            continue
        sound.append(place)
    return np.array(sound, dtype=np.int64)


def _row_type(fields: Sequence[pa.Field]) -> Any:
    """The class of objects with these fields, each of which may be absent or null."""
    types = [(f"field_{number}", _python_type(field.type) | None, None) for number, field in enumerate(fields)]
    names = {f"field_{number}": field.name for number, field in enumerate(fields)}
    return msgspec.defstruct("Row", types, rename=names, gc=False)


def _python_type(kind: pa.DataType) -> Any:
    if pa.types.is_struct(kind):
        return _row_type([kind.field(number) for number in range(kind.num_fields)])
    if pa.types.is_list(kind):
        return list.__class_getitem__(_python_type(kind.value_type) | None)
    return _PYTHON[kind]


def _text(lines: Lines, places: Places) -> bytes | memoryview:
    if len(places) == len(lines):
        return lines.data
    first, last = int(places[0]), int(places[-1])
    if last - first + 1 == len(places):
        return lines.data[lines.starts[first] : lines.ends[last]]
    return b"\n".join(lines.at(places))


def _parse(text: bytes | memoryview, rows: int, schema: pa.Schema, others: _Others) -> pa.Table | None:
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(text),
            # One block: whoever asks for columns brings blocks, and has other threads to run.
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(text) + 1),
            parse_options=pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior=others),
        )
        # Of lists whose items are null, Arrow 26 makes arrays that reach beyond their values.
        table.validate()
        if not is_utf8(text):
            return None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError):
        return None
    return table.combine_chunks() if table.num_rows == rows else None
