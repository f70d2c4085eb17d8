"""Plain records become events column by column: one text asked, one text answered, one vote.

What is plain is decided here, narrowly: every value of the type that the format wants, nothing blank, no field beyond
those of `PlainVotes`. All other records, the faulty ones among them, go the way of drafts, which says what is wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from xxhash import xxh3_128_digest

from feedback.formats.drafts import PlainVotes
from feedback.hashing import exact_text, turn_digests
from feedback.ingest.draft_tables import event_id_head
from feedback.ingest.event_time import EPOCH_SECONDS, read_time
from feedback.ingest.rater_key import rater_key
from schemas.errors import RecordRejectedError
from schemas.events import FEEDBACK_EVENT, TIMESTAMP
from schemas.messages import MESSAGES

__all__ = ["find_plain", "plain_events", "plain_schema"]

Record = dict[str, Any]
Places = NDArray[np.int64]

_OWN: Final = ("prompt", "completion", "label")
_MICROSECONDS: Final = 1_000_000
_BLANK: Final = r"^[\s\v\x1c-\x1f\x85\p{Z}]*$"
_FIRST_SECOND, _LAST_SECOND = EPOCH_SECONDS
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
    prompt, completion, label = (table.column(votes.fields[name]) for name in _OWN)
    ids = (votes.record_id, votes.rater, *_id_fields(votes))
    checks = [_is_said(prompt), _is_said(completion)]
    checks.append(pc.is_in(label, value_set=pa.array(list(votes.labels), label.type)))
    checks += [
        pc.fill_null(_is_said(table.column(name)), True) for name in ids if table.column(name).type == pa.string()
    ]
    plain = {*votes.fields.values(), *ids, votes.event_time}
    checks += [pc.is_null(table.column(name)) for name in table.column_names if name in read - plain]
    is_plain = np.ones(table.num_rows, dtype=np.bool_)
    for check in checks:
        is_plain &= pc.fill_null(check, False).combine_chunks().to_numpy(zero_copy_only=False)
    is_plain[is_plain] = _is_time(table.column(votes.event_time).filter(pa.array(is_plain)))
    return np.flatnonzero(is_plain)


def plain_events(table: pa.Table, lines: Sequence[bytes], votes: PlainVotes, source: str, key: bytes) -> pa.Table:
    """Rows of `schemas.events.FEEDBACK_EVENT` from plain records.

    Args:
        table: plain records.
        lines: their bytes.
        votes: what the format calls plain.
        source: name of the source.
        key: key for user ids.
    """
    rows = table.num_rows
    sha256 = hashlib.sha256
    digests = [sha256(line).digest() for line in lines]
    raw = _hex(digests, 32)
    ids = _text(table.column(votes.record_id))
    if ids.null_count:
        unnamed = pc.binary_join_element_wise("sha256:", pc.utf8_slice_codeunits(raw, 0, 32), "")
        ids = pc.coalesce(ids, unnamed)
    prompts, completions = (_text(table.column(votes.fields[name])) for name in ("prompt", "completion"))
    labels = table.column(votes.fields["label"]).combine_chunks()
    place = pc.index_in(labels, value_set=pa.array(list(votes.labels), labels.type))
    times, qualities = _times(table.column(votes.event_time).combine_chunks())
    columns: dict[str, pa.Array] = {
        "event_id": _event_ids(source, ids, digests),
        "source": _repeated(source, rows),
        "source_record_id": ids,
        "raw_sha256": raw,
        "op": _repeated("create", rows),
        "event_ts": times,
        "ts_quality": qualities,
        "rater_key": _rater_keys(_text(table.column(votes.rater)), key),
        "rater_kind": _repeated(votes.rater_kind, rows),
        "prompt": _turns("user", prompts),
        "completion": _turns("assistant", completions),
        "prompt_hash": _hex(turn_digests("user", _exact(prompts)), 16),
        "completion_hash": _hex(turn_digests("assistant", _exact(completions)), 16),
        "signal": _repeated(votes.signal, rows),
        "raw_value": pa.array([json.dumps(label, ensure_ascii=False) for label in votes.labels]).take(place),
        "label": pa.array(list(votes.labels.values()), pa.bool_()).take(place),
    }
    for name, field in votes.fields.items():
        if name not in _OWN:
            text = _text(table.column(field))
            columns[name] = text if name.endswith("_id") else pc.if_else(_is_said(text), text, None)
    arrays = [columns[field.name] if field.name in columns else _empty(field, rows) for field in FEEDBACK_EVENT]
    return pa.Table.from_arrays(arrays, schema=FEEDBACK_EVENT)


def _id_fields(votes: PlainVotes) -> list[str]:
    return [field for name, field in votes.fields.items() if name.endswith("_id")]


def _type_of(field: str, sample: Sequence[Record], types: Mapping[type, pa.DataType]) -> pa.DataType:
    """The type of the field's first value; text where there is none."""
    kinds = (type(one[field]) for one in sample if one.get(field) is not None)
    return types.get(next(kinds, str), pa.string())


def _is_said(column: Any) -> Any:
    """Where a text is not blank, in the wider sense of Python: what it calls blank is looked at more closely."""
    return pc.invert(pc.or_(pc.equal(pc.binary_length(column), 0), pc.match_substring_regex(column, _BLANK)))


def _is_time(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    if column.type == pa.int64():
        seconds = column.combine_chunks().fill_null(int(_FIRST_SECOND)).to_numpy(zero_copy_only=False)
        return (seconds >= _FIRST_SECOND) & (seconds <= _LAST_SECOND)
    return np.array([_reads_as_time(value) for value in column.to_pylist()], dtype=np.bool_)


def _reads_as_time(value: Any) -> bool:
    try:
        read_time(value)
    except RecordRejectedError:
        return False
    return True


def _times(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    if column.type == pa.int64():
        times = pc.multiply(column, _MICROSECONDS).cast(TIMESTAMP)
        return times, pc.if_else(pc.is_null(column), "missing", "exact")
    read = [read_time(value) for value in column.to_pylist()]
    return pa.array([when for when, _ in read], TIMESTAMP), pa.array([quality for _, quality in read], pa.string())


def _text(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    return array if array.type == pa.string() else array.cast(pa.string())


def _rater_keys(names: pa.Array, key: bytes) -> pa.Array:
    coded = names.dictionary_encode()
    keyed = [None if name is None else rater_key(name, key) for name in coded.dictionary.to_pylist()]
    return pa.array(keyed, pa.string()).take(coded.indices)


def _event_ids(source: str, ids: pa.Array, digests: Sequence[bytes]) -> pa.Array:
    """`event_id` of each record; the loop is that function with its constant parts taken out."""
    head = event_id_head(source)
    names = ids.to_pylist()
    made = [
        xxh3_128_digest(b"%b%d:%b" % (head, len(name), name) + digest)
        for name, digest in zip((name.encode("utf-8") for name in names), digests, strict=True)
    ]
    return _hex(made, 16)


def _exact(texts: pa.Array) -> list[bytes]:
    """`exact_text` of each text: its own bytes where they are exact already, which nearly all are."""
    offsets = np.frombuffer(texts.buffers()[1], dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    # Not a memoryview: its slices are objects that the garbage collector walks through again and again.
    data = bytes(texts.buffers()[2] or b"")
    signs = np.frombuffer(data, dtype=np.uint8)
    exact = [data[begin:end] for begin, end in pairwise(offsets.tolist())]
    is_inexact = _CUT_OFF[signs[np.maximum(offsets[1:] - 1, 0)]]
    if int(signs.max(initial=0)) > _LAST_ASCII:
        is_inexact |= ~pc.string_is_ascii(texts).to_numpy(zero_copy_only=False)
    if (signs == _RETURN).any():
        at = np.searchsorted(np.flatnonzero(signs == _RETURN), offsets)
        is_inexact |= at[1:] > at[:-1]
    for place in np.flatnonzero(is_inexact).tolist():
        exact[place] = exact_text(exact[place].decode("utf-8")).encode("utf-8")
    return exact


def _hex(digests: Sequence[bytes], size: int) -> pa.Array:
    """Digests of `size` bytes each as hex digits. [N] string."""
    offsets = np.arange(len(digests) + 1, dtype=np.int32) * np.int32(2 * size)
    return pa.StringArray.from_buffers(
        len(digests), pa.py_buffer(offsets), pa.py_buffer(b"".join(digests).hex().encode("ascii"))
    )


def _turns(role: str, texts: pa.Array) -> pa.Array:
    turns = pa.StructArray.from_arrays([_repeated(role, len(texts)), texts], fields=list(MESSAGES.value_type))
    return pa.ListArray.from_arrays(pa.array(np.arange(len(texts) + 1, dtype=np.int32)), turns, type=MESSAGES)


def _repeated(value: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(value), count)


def _empty(field: pa.Field, count: int) -> pa.Array:
    if pa.types.is_list(field.type):
        return pa.ListArray.from_arrays(
            pa.repeat(pa.scalar(0, pa.int32()), count + 1), pa.array([], pa.string()), type=field.type
        )
    return pa.nulls(count, field.type)
