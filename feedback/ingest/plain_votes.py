"""Plain records become events column by column: one text asked, one text answered, one vote.

What is plain is decided here, narrowly: every value of the type that the format wants, nothing blank, no field beyond
those of `PlainVotes`. All other records, the faulty ones among them, go the way of drafts, which says what is wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from xxhash import xxh3_128_digest

from feedback.formats.drafts import PlainVotes
from feedback.hashing import exact_text, turn_digests
from feedback.ingest.draft_tables import event_id_head
from feedback.ingest.event_time import EPOCH_SECONDS, read_time
from feedback.ingest.rater_key import rater_key
from feedback.records.json_columns import Lines
from schemas.errors import RecordRejectedError
from schemas.events import FEEDBACK_EVENT
from schemas.messages import MESSAGES

__all__ = ["find_plain", "plain_events", "plain_schema"]

Record = dict[str, Any]
Places = NDArray[np.int64]

_OWN: Final = ("prompt", "completion", "label")
_MICROSECONDS: Final = 1_000_000
_BLANK: Final = "".join(sign for sign in map(chr, range(0x3001)) if sign.isspace())
"""White space as Python sees it, which is a little more than polars does."""
_MAY_BEGIN_BLANK: Final = np.isin(np.arange(256), [*range(9, 14), *range(28, 33), 0xC2, 0xE1, 0xE2, 0xE3])
"""First bytes of white space, in UTF-8."""
_TEXTS: Final = ("comment", "lang")
_TIME: Final = pl.Datetime("us", "UTC")
_FIRST_SECOND, _LAST_SECOND = EPOCH_SECONDS
_UTC_TEXT: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{3}|\.[0-9]{6})?(Z|\+00:00)$"
)
_FIRST_TIME, _LAST_TIME = (datetime.fromtimestamp(seconds, UTC) for seconds in EPOCH_SECONDS)
_RETURN: Final = ord("\r")
_LAST_ASCII: Final = 127
_CUT_OFF: Final = np.isin(np.arange(256), [9, 10, 11, 12, 13, 28, 29, 30, 31, 32])
"""ASCII characters that `str.rstrip` cuts."""


def plain_schema(votes: PlainVotes, sample: Sequence[Record]) -> pa.Schema:
    """The types that the fields of plain records have, as far as a sample tells.

    Args:
        votes: what the format calls plain.
        sample: some records of the file.
    """
    label = pa.string() if isinstance(next(iter(votes.labels)), str) else pa.bool_()
    types = dict.fromkeys(votes.fields.values(), pa.string()) | {votes.fields["label"]: label}
    for field in (votes.record_id, votes.rater, *_id_fields(votes)):
        types[field] = _type_of(field, sample, {int: pa.int64()})
    types[votes.event_time] = _type_of(votes.event_time, sample, {int: pa.int64(), float: pa.float64()})
    return pa.schema(list(types.items()))


def find_plain(table: pa.Table, votes: PlainVotes, read: frozenset[str]) -> Places:
    """Rows of the table that are plain.

    Args:
        table: records of the types of `plain_schema`, perhaps with other fields.
        votes: what the format calls plain.
        read: all fields that the format reads; those beyond the plain ones must be null.
    """
    prompt, completion, label = (votes.fields[name] for name in _OWN)
    ids = (votes.record_id, votes.rater, *_id_fields(votes))
    plain = {*votes.fields.values(), *ids, votes.event_time}
    others = [name for name in table.column_names if name in read - plain]
    frame = pl.DataFrame(pl.from_arrow(table.select([*sorted(plain - {prompt, completion}), *others])))
    texts = [name for name in ids if frame.schema[name] == pl.String]
    is_plain = frame.select(
        pl.all_horizontal(
            pl.col(label).is_in(list(votes.labels)),
            *(_is_said(name) | pl.col(name).is_null() for name in texts),
            *(pl.col(name).is_null() for name in others),
        ).fill_null(value=False)
    ).to_series()
    is_plain = is_plain & _is_time(frame[votes.event_time])
    said = (_are_said(_text(table.column(name))) for name in (prompt, completion))
    return np.flatnonzero(np.logical_and.reduce([is_plain.to_numpy(), *said]))


def plain_events(table: pa.Table, lines: Lines, places: Places, votes: PlainVotes, source: str, key: bytes) -> pa.Table:
    """Rows of `schemas.events.FEEDBACK_EVENT` from plain records.

    Args:
        table: plain records.
        lines: the lines that they are on.
        places: which of the lines.
        votes: what the format calls plain.
        source: name of the source.
        key: key for user ids.
    """
    rows = table.num_rows
    sha256 = hashlib.sha256
    text = memoryview(lines.data)
    digests = [sha256(text[start:end]).digest() for start, end in lines.spans(places)]
    raw = _hex(digests, 32)
    prompts, completions = (_text(table.column(votes.fields[name])) for name in ("prompt", "completion"))
    names = [name for name in table.column_names if name not in (votes.fields["prompt"], votes.fields["completion"])]
    frame = pl.DataFrame(pl.from_arrow(table.select(names)))
    unnamed = pl.Series(raw).str.head(32)
    ids = frame[votes.record_id].cast(pl.String)
    ids = ids if not ids.null_count() else pl.select(pl.coalesce(ids, pl.lit("sha256:") + unnamed)).to_series()
    times, qualities = _times(frame[votes.event_time])
    labels = frame[votes.fields["label"]]
    values = list(votes.labels)
    columns: dict[str, pa.Array | pl.Series] = {
        "event_id": _event_ids(source, ids.to_list(), digests),
        "source": _repeated(source, rows),
        "source_record_id": ids,
        "raw_sha256": raw,
        "op": _repeated("create", rows),
        "event_ts": times,
        "ts_quality": qualities,
        "rater_key": _rater_keys(frame[votes.rater].cast(pl.String), key),
        "rater_kind": _repeated(votes.rater_kind, rows),
        "prompt": _turns("user", prompts),
        "completion": _turns("assistant", completions),
        "prompt_hash": _hex(_digests("user", prompts), 16),
        "completion_hash": _hex(_digests("assistant", completions), 16),
        "signal": _repeated(votes.signal, rows),
        "raw_value": labels.replace_strict(values, [json.dumps(one) for one in values], return_dtype=pl.String),
        "label": labels.replace_strict(values, list(votes.labels.values()), return_dtype=pl.Boolean),
    }
    for name, field in votes.fields.items():
        if name not in _OWN:
            column = frame[field].cast(pl.String)
            said = frame.select(pl.when(_is_said(field)).then(pl.col(field))).to_series() if name in _TEXTS else column
            columns[name] = said
    arrays = [_as_array(columns.get(field.name), field, rows) for field in FEEDBACK_EVENT]
    return pa.Table.from_arrays(arrays, schema=FEEDBACK_EVENT)


def _id_fields(votes: PlainVotes) -> list[str]:
    return [field for name, field in votes.fields.items() if name.endswith("_id")]


def _type_of(field: str, sample: Sequence[Record], types: Mapping[type, pa.DataType]) -> pa.DataType:
    """The type of the field's first value; text where there is none."""
    kinds = (type(one[field]) for one in sample if one.get(field) is not None)
    return types.get(next(kinds, str), pa.string())


def _are_said(texts: pa.Array) -> NDArray[np.bool_]:
    """Which texts are not blank, decided by the first byte of nearly all."""
    offsets, signs = _offsets(texts), np.frombuffer(texts.buffers()[2] or b"\0", dtype=np.uint8)
    is_there = offsets[1:] > offsets[:-1]
    begins = np.minimum(offsets[:-1], len(signs) - 1)
    is_said = is_there & ~_MAY_BEGIN_BLANK[signs[begins]]
    for place in np.flatnonzero(is_there & ~is_said).tolist():
        is_said[place] = bool(texts[place].as_py().strip())
    return is_said


def _is_said(name: str) -> pl.Expr:
    """Where a text is not blank."""
    return pl.col(name).str.strip_chars(_BLANK).str.len_bytes() > 0


def _is_time(column: pl.Series) -> pl.Series:
    if column.dtype == pl.Int64:
        return column.is_between(int(_FIRST_SECOND), int(_LAST_SECOND)).fill_null(value=True)
    is_right = column.is_null() | _utc_times(column).is_between(_FIRST_TIME, _LAST_TIME).fill_null(value=False)
    others = np.flatnonzero(~is_right.to_numpy())
    if not len(others):
        return is_right
    return is_right.scatter(others, [_reads_as_time(value) for value in column[others].to_list()])


def _reads_as_time(value: Any) -> bool:
    try:
        read_time(value)
    except RecordRejectedError:
        return False
    return True


def _times(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Times in UTC, and how far each can be trusted."""
    quality = pl.select(pl.when(column.is_null()).then(pl.lit("missing")).otherwise(pl.lit("exact"))).to_series()
    if column.dtype == pl.Int64:
        return (column * _MICROSECONDS).cast(_TIME), quality
    times = _utc_times(column)
    others = np.flatnonzero((times.is_null() & column.is_not_null()).to_numpy())
    if not len(others):
        return times, quality
    read = [read_time(value) for value in column[others].to_list()]
    return (
        times.scatter(others, pl.Series([when for when, _ in read], dtype=_TIME)),
        quality.scatter(others, [one for _, one in read]),
    )


def _utc_times(column: pl.Series) -> pl.Series:
    """The times that are written in the commonest way, all at once; null where one is written otherwise."""
    if column.dtype != pl.String:
        return pl.repeat(None, len(column), dtype=_TIME, eager=True)
    text = pl.when(column.str.contains(_UTC_TEXT)).then(column.str.replace("+00:00", "Z", literal=True))
    return (
        pl.select(text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", strict=False))
        .to_series()
        .dt.replace_time_zone("UTC")
    )


def _text(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    return array if array.type == pa.string() else array.cast(pa.string())


def _rater_keys(names: pl.Series, key: bytes) -> pl.Series:
    distinct = names.unique().drop_nulls()
    keyed = pl.Series([rater_key(name, key) for name in distinct.to_list()], dtype=pl.String)
    return names.replace_strict(distinct, keyed, default=None, return_dtype=pl.String)


def _event_ids(source: str, ids: Sequence[str], digests: Sequence[bytes]) -> pa.Array:
    """`event_id` of each record; the loop is that function with its constant parts taken out."""
    head = event_id_head(source)
    made = [
        xxh3_128_digest(b"%b%d:%b" % (head, len(name), name) + digest)
        for name, digest in zip((name.encode("utf-8") for name in ids), digests, strict=True)
    ]
    return _hex(made, 16)


def _digests(role: str, texts: pa.Array) -> list[bytes]:
    """The digest of `messages_hash` of each text as one turn: of its own bytes where they are exact already."""
    offsets = _offsets(texts)
    data = memoryview(texts.buffers()[2] or b"")
    signs = np.frombuffer(data, dtype=np.uint8)
    digests = turn_digests(role, (data[begin:end] for begin, end in pairwise(offsets.tolist())))
    is_inexact = _CUT_OFF[signs[np.maximum(offsets[1:] - 1, 0)]]
    if int(signs.max(initial=0)) > _LAST_ASCII:
        is_inexact |= ~pc.string_is_ascii(texts).to_numpy(zero_copy_only=False)
    if (signs == _RETURN).any():
        at = np.searchsorted(np.flatnonzero(signs == _RETURN), offsets)
        is_inexact |= at[1:] > at[:-1]
    places = np.flatnonzero(is_inexact).tolist()
    exact = (exact_text(texts[place].as_py()).encode("utf-8") for place in places)
    for place, digest in zip(places, turn_digests(role, exact), strict=True):
        digests[place] = digest
    return digests


def _offsets(texts: pa.Array) -> NDArray[np.int32]:
    if not len(texts):
        return np.zeros(1, dtype=np.int32)
    return np.frombuffer(texts.buffers()[1], dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]


def _hex(digests: Sequence[bytes], size: int) -> pa.Array:
    """Digests of `size` bytes each as hex digits. [N] string."""
    offsets = np.arange(len(digests) + 1, dtype=np.int32) * np.int32(2 * size)
    return pa.StringArray.from_buffers(
        len(digests), pa.py_buffer(offsets), pa.py_buffer(b"".join(digests).hex().encode("ascii"))
    )


def _turns(role: str, texts: pa.Array) -> pa.Array:
    turns = pa.StructArray.from_arrays([_repeated(role, len(texts)), texts], fields=list(MESSAGES.value_type))
    return pa.ListArray.from_arrays(_indices(np.arange(len(texts) + 1, dtype=np.int32)), turns, type=MESSAGES)


def _repeated(value: str, count: int) -> pa.Array:
    return _arrow(pl.repeat(value, count, dtype=pl.String, eager=True), pa.string())


def _as_array(column: pa.Array | pl.Series | None, field: pa.Field, count: int) -> pa.Array:
    if isinstance(column, pl.Series):
        return _arrow(column, field.type)
    if column is not None:
        return column
    if pa.types.is_list(field.type):
        offsets = _indices(np.zeros(count + 1, dtype=np.int32))
        return pa.ListArray.from_arrays(offsets, pa.nulls(0, pa.string()), type=field.type)
    return pa.nulls(count, field.type)


def _indices(values: NDArray[np.int32]) -> pa.Array:
    return pa.Array.from_buffers(pa.int32(), len(values), [None, pa.py_buffer(values)])


def _arrow(column: pl.Series, kind: pa.DataType) -> pa.Array:
    # Through polars, since Arrow loads pandas before it looks at a list or an array that is not its own.
    return column.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(kind)
