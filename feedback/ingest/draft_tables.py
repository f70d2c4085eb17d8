"""Drafts become rows: ids, hashes, times and keyed raters are worked out here, and a raw user id ends here.

A row is a tuple in the order of its Arrow schema, so that a batch of rows is turned round into columns at C speed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from feedback.formats.drafts import EventDraft, PairDraft
from feedback.hashing import messages_hash, stable_id
from feedback.ingest.event_time import read_time
from feedback.ingest.rater_key import rater_key
from schemas.errors import RecordRejectedError
from schemas.reasons import RejectReason

__all__ = ["Row", "draft_row", "rows_to_table"]

Row = tuple[Any, ...]
"""Values in the order of an Arrow schema."""


def draft_row(draft: EventDraft | PairDraft, source: str, raw_sha256: str, place: int, key: bytes) -> Row:
    """The row of one draft, in the order of its schema.

    Args:
        draft: an event or a pair.
        source: name of the source.
        raw_sha256: sha256 of the record's bytes, the record's id where the source has none.
        place: which draft of its record with the same id it is, from 0.
        key: key for user ids.

    Raises:
        RecordRejectedError: a time cannot be read, or a margin is negative.
    """
    record_id = draft.record_id or f"sha256:{raw_sha256[:32]}"
    if place:
        record_id = f"{record_id}#{place}"
    ids = (stable_id(source, record_id, raw_sha256), source, record_id, raw_sha256)
    rater = None if draft.rater is None else rater_key(draft.rater, key)
    return _event_row(draft, ids, rater) if isinstance(draft, EventDraft) else _pair_row(draft, ids, rater)


def rows_to_table(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """A table of `schema` from rows in its order."""
    if not rows:
        return pa.Table.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)
    columns = list(zip(*rows, strict=True))
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _event_row(draft: EventDraft, ids: tuple[str, str, str, str], rater: str | None) -> Row:
    event_ts, quality = read_time(draft.event_time)
    updated_ts: datetime | None = None
    if draft.updated_time is not None:
        updated_ts, updated_quality = read_time(draft.updated_time)
        quality = updated_quality if quality == "missing" else max(quality, updated_quality)
    return (
        *ids,
        draft.op,
        event_ts,
        updated_ts,
        quality,
        rater,
        draft.rater_kind,
        draft.conversation_id,
        draft.message_id,
        draft.model_id,
        draft.prompt,
        draft.completion,
        draft.tools,
        messages_hash(draft.prompt),
        messages_hash(draft.completion),
        draft.signal,
        _as_json(draft.raw_value),
        draft.label,
        draft.strength,
        draft.reason_codes,
        draft.comment,
        draft.lang,
        draft.consent,
        draft.flags,
    )


def _pair_row(draft: PairDraft, ids: tuple[str, str, str, str], rater: str | None) -> Row:
    if draft.margin is not None and draft.margin < 0:
        raise RecordRejectedError(RejectReason.RULE_VIOLATION, f"the margin is {draft.margin}; expected 0 or more")
    event_ts, quality = read_time(draft.event_time)
    prompt_hash = messages_hash(draft.prompt)
    return (
        ids[0],
        prompt_hash,
        *ids[1:],
        draft.prompt,
        draft.response_a,
        draft.response_b,
        draft.tools,
        prompt_hash,
        messages_hash(draft.response_a),
        messages_hash(draft.response_b),
        draft.outcome,
        _as_json(draft.raw_value),
        draft.margin,
        draft.score_a,
        draft.score_b,
        draft.presented_first,
        rater,
        draft.rater_kind,
        draft.model_a,
        draft.model_b,
        event_ts,
        quality,
        draft.flags,
    )


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
