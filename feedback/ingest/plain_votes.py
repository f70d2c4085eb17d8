"""Plain records become events column by column: one text asked, one text answered, one vote.

What is plain is decided here, narrowly: every value of the type that the format wants, nothing blank, no field beyond
those of `PlainVotes`. All other records, the faulty ones among them, go the way of drafts, which says what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.formats.drafts import PlainVotes
from feedback.hashing import ids_of_texts, sha256_of
from feedback.ingest.arrow_columns import (
    as_field,
    bytes_between,
    gathered,
    one_chunk,
    one_turn_each,
    repeated,
    text_offsets,
)
from feedback.ingest.plain_times import Times, read_times
from feedback.ingest.rater_key import rater_keys
from feedback.ingest.turn_hashes import turn_hashes
from feedback.records.json_columns import Lines
from schemas.events import FEEDBACK_EVENT

__all__ = ["Plain", "find_plain", "plain_events", "plain_schema"]

Record = dict[str, Any]
Places = NDArray[np.int64]

_OWN: Final = ("prompt", "completion", "label")
_BLANK: Final = "".join(sign for sign in map(chr, range(0x3001)) if sign.isspace())
"""White space as Python sees it, which is a little more than polars does."""
_MAY_BEGIN_BLANK: Final = np.isin(np.arange(256), [*range(9, 14), *range(28, 33), 0xC2, 0xE1, 0xE2, 0xE3])
"""First bytes of white space, in UTF-8."""
_TEXTS: Final = ("comment", "lang")
_RECORD: Final = "record"


@dataclass(frozen=True, slots=True)
class Plain:
    """The plain records among those of a table.

    Args:
        rows: which rows of the table they are. [N].
        table: the records. [N].
        times: when each vote was given. [N].
    """

    rows: Places
    table: pa.Table
    times: Times


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


def find_plain(table: pa.Table, votes: PlainVotes, read: frozenset[str]) -> Plain:
    """The plain records among those of a table.

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
    times = read_times(frame[votes.event_time])
    is_plain = frame.select(
        pl.all_horizontal(
            times.is_read,
            pl.col(label).is_in(list(votes.labels)),
            *(_is_said(name) | pl.col(name).is_null() for name in texts),
            *(pl.col(name).is_null() for name in others),
        ).fill_null(value=False)
    ).to_series()
    said = (_are_said(_text(table.column(name))) for name in (prompt, completion))
    rows = np.flatnonzero(np.logical_and.reduce([is_plain.to_numpy(), *said]))
    if len(rows) == table.num_rows:
        return Plain(rows, table, times)
    chosen = gathered(table, rows) if len(rows) else table.slice(0, 0)
    return Plain(rows, chosen, times.at(pl.Series(rows)))


def plain_events(plain: Plain, lines: Lines, places: Places, votes: PlainVotes, source: str, key: bytes) -> pa.Table:
    """Rows of `schemas.events.FEEDBACK_EVENT` from plain records.

    Args:
        plain: the records.
        lines: the lines that they are on.
        places: which of the lines.
        votes: what the format calls plain.
        source: name of the source.
        key: key for user ids.
    """
    table = plain.table
    rows = table.num_rows
    prompts, completions = (_text(table.column(votes.fields[name])) for name in ("prompt", "completion"))
    told = _told(plain, lines, places, votes, source)
    columns: dict[str, pa.Array | pl.Series] = {
        **{name: told[name] for name in told.columns},
        "source": repeated(source, rows),
        "op": repeated("create", rows),
        "event_ts": plain.times.when,
        "ts_quality": plain.times.quality,
        "rater_key": rater_keys(told["rater_key"], key),
        "rater_kind": repeated(votes.rater_kind, rows),
        "prompt": one_turn_each("user", prompts),
        "completion": one_turn_each("assistant", completions),
        "prompt_hash": turn_hashes("user", prompts),
        "completion_hash": turn_hashes("assistant", completions),
        "signal": repeated(votes.signal, rows),
    }
    arrays = [as_field(columns.get(field.name), field, rows) for field in FEEDBACK_EVENT]
    return pa.Table.from_arrays(arrays, schema=FEEDBACK_EVENT)


def _told(plain: Plain, lines: Lines, places: Places, votes: PlainVotes, source: str) -> pl.DataFrame:
    """The columns that follow from the narrow fields of a record and its bytes; `rater_key` is the raw id still."""
    names = [
        name for name in plain.table.column_names if name not in (votes.fields["prompt"], votes.fields["completion"])
    ]
    records = bytes_between(lines.data, lines.starts[places], lines.ends[places])
    frame = pl.DataFrame(pl.from_arrow(plain.table.select(names))).select(
        raw_sha256=records.to_frame(_RECORD).select(sha256_of(pl.col(_RECORD))).to_series(),
        source_record_id=pl.col(votes.record_id).cast(pl.String),
        rater_key=pl.col(votes.rater).cast(pl.String),
        label=pl.col(votes.fields["label"]),
        **{name: _said(name, field) for name, field in votes.fields.items() if name not in _OWN},
    )
    raw, own = pl.col("raw_sha256"), pl.col("source_record_id")
    record_id = (
        pl.coalesce(own, pl.lit("sha256:") + raw.str.head(32)) if frame["source_record_id"].null_count() else own
    )
    values = list(votes.labels)
    return frame.with_columns(
        event_id=ids_of_texts(source, record_id, raw),
        source_record_id=record_id,
        raw_value=pl.col("label").replace_strict(values, [json.dumps(one) for one in values], return_dtype=pl.String),
        label=pl.col("label").replace_strict(values, list(votes.labels.values()), return_dtype=pl.Boolean),
    )


def _said(name: str, field: str) -> pl.Expr:
    """A field as it is copied: blank comments and languages are none."""
    return pl.when(_is_said(field)).then(pl.col(field)) if name in _TEXTS else pl.col(field).cast(pl.String)


def _id_fields(votes: PlainVotes) -> list[str]:
    return [field for name, field in votes.fields.items() if name.endswith("_id")]


def _type_of(field: str, sample: Sequence[Record], types: Mapping[type, pa.DataType]) -> pa.DataType:
    """The type of the field's first value; text where there is none."""
    kinds = (type(one[field]) for one in sample if one.get(field) is not None)
    return types.get(next(kinds, str), pa.string())


def _are_said(texts: pa.Array) -> NDArray[np.bool_]:
    """Which texts are not blank, decided by the first byte of nearly all."""
    offsets, signs = text_offsets(texts), np.frombuffer(texts.buffers()[2] or b"\0", dtype=np.uint8)
    is_there = offsets[1:] > offsets[:-1]
    begins = np.minimum(offsets[:-1], len(signs) - 1)
    is_said = is_there & ~_MAY_BEGIN_BLANK[signs[begins]]
    for place in np.flatnonzero(is_there & ~is_said).tolist():
        is_said[place] = bool(texts[place].as_py().strip())
    return is_said


def _is_said(name: str) -> pl.Expr:
    """Where a text is not blank."""
    return pl.col(name).str.strip_chars(_BLANK).str.len_bytes() > 0


def _text(column: pa.ChunkedArray) -> pa.Array:
    array = one_chunk(column)
    return array if array.type == pa.string() else array.cast(pa.string())
