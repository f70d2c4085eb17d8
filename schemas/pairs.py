"""The table of preference pairs: two answers to one prompt, and which of them was preferred."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from schemas.events import TIMESTAMP
from schemas.messages import MESSAGES

__all__ = ["OUTCOMES", "PREFERENCE_PAIR"]

OUTCOMES: Final = ("a", "b", "tie", "both_bad", "abstain")

_TEXT: Final = pa.string()


def _required(name: str, kind: pa.DataType = _TEXT) -> pa.Field:
    return pa.field(name, kind, nullable=False)


PREFERENCE_PAIR: Final = pa.schema(
    [
        _required("pair_id"),
        _required("group_id"),
        _required("source"),
        _required("source_record_id"),
        _required("raw_sha256"),
        _required("prompt", MESSAGES),
        _required("response_a", MESSAGES),
        _required("response_b", MESSAGES),
        pa.field("tools", _TEXT),
        _required("prompt_hash"),
        _required("response_a_hash"),
        _required("response_b_hash"),
        _required("outcome"),
        _required("raw_value"),
        pa.field("margin", pa.float64()),
        pa.field("score_a", pa.float64()),
        pa.field("score_b", pa.float64()),
        pa.field("presented_first", _TEXT),
        pa.field("rater_key", _TEXT),
        _required("rater_kind"),
        pa.field("conversation_id", _TEXT),
        pa.field("model_a", _TEXT),
        pa.field("model_b", _TEXT),
        pa.field("event_ts", TIMESTAMP),
        _required("ts_quality"),
        _required("flags", pa.list_(_TEXT)),
    ]
)
"""`group_id` = the prompt's hash; `margin` >= 0 in the source's own units; `presented_first` is `a`, `b` or null;
`conversation_id` is null where the source names no conversation."""
