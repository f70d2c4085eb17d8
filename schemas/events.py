"""The table of feedback events: one row for each thumb, rating or flag that somebody gave an answer."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from schemas.messages import MESSAGES

__all__ = ["FEEDBACK_EVENT", "OPERATIONS", "RATER_KINDS", "TIMESTAMP", "TIME_QUALITIES"]

TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
OPERATIONS: Final = ("create", "update", "retract")
RATER_KINDS: Final = ("end_user", "annotator", "llm_judge", "code", "unknown")
TIME_QUALITIES: Final = ("exact", "naive", "missing")
"""`naive`: the source gave a local time without a zone; it is read as UTC and marked, never trusted silently."""

_TEXT: Final = pa.string()


def _required(name: str, kind: pa.DataType = _TEXT) -> pa.Field:
    return pa.field(name, kind, nullable=False)


FEEDBACK_EVENT: Final = pa.schema(
    [
        _required("event_id"),
        _required("source"),
        _required("source_record_id"),
        _required("raw_sha256"),
        _required("op"),
        pa.field("event_ts", TIMESTAMP),
        pa.field("updated_ts", TIMESTAMP),
        _required("ts_quality"),
        pa.field("rater_key", _TEXT),
        _required("rater_kind"),
        pa.field("conversation_id", _TEXT),
        pa.field("message_id", _TEXT),
        pa.field("model_id", _TEXT),
        _required("prompt", MESSAGES),
        _required("completion", MESSAGES),
        pa.field("tools", _TEXT),
        _required("prompt_hash"),
        _required("completion_hash"),
        _required("signal"),
        _required("raw_value"),
        pa.field("label", pa.bool_()),
        pa.field("strength", pa.float64()),
        _required("reason_codes", pa.list_(_TEXT)),
        pa.field("comment", _TEXT),
        pa.field("lang", _TEXT),
        pa.field("consent", pa.bool_()),
        _required("flags", pa.list_(_TEXT)),
    ]
)
"""Append-only. `event_id` = hash of source, record id and revision; `raw_sha256` is of the record's own bytes, whatever
it was joined with; `rater_key` = keyed hash, never the raw id; `label` is null where the feedback is neutral, retracted
or unmapped; `raw_value` is the value as it came, as JSON; `tools` is JSON too."""
