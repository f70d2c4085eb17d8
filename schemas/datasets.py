"""The tables on the way from events to a dataset: candidates under curation, and the two curated dataset types.

feedback_event, preference_pair ──convert──► CANDIDATE (keys only) ──stages──► export ──► UNPAIRED_PREFERENCE
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from schemas.events import TIMESTAMP
from schemas.messages import MESSAGES

__all__ = ["CANDIDATE", "ORIGINS", "PREFERENCE", "SPLITS", "UNPAIRED_PREFERENCE"]

ORIGINS: Final = ("thumb", "pair", "score")
SPLITS: Final = ("train", "test")

_TEXT: Final = pa.string()
_VOTE: Final = pa.struct(
    [
        pa.field("event_id", _TEXT, nullable=False),
        pa.field("rater_key", _TEXT),
        pa.field("event_ts", TIMESTAMP),
        pa.field("label", pa.bool_(), nullable=False),
    ]
)


def _required(name: str, kind: pa.DataType = _TEXT) -> pa.Field:
    return pa.field(name, kind, nullable=False)


CANDIDATE: Final = pa.schema(
    [
        _required("row_id"),
        _required("text_id"),
        _required("text_side"),
        _required("source"),
        _required("origin"),
        _required("prompt_hash"),
        _required("completion_hash"),
        _required("prompt_key"),
        _required("completion_key"),
        _required("group_id"),
        _required("label", pa.bool_()),
        _required("weight", pa.float64()),
        pa.field("rater_key", _TEXT),
        _required("rater_kind"),
        pa.field("model_id", _TEXT),
        pa.field("event_ts", TIMESTAMP),
        _required("prompt_chars", pa.int64()),
        _required("completion_chars", pa.int64()),
        _required("votes", pa.list_(_VOTE)),
        pa.field("split", _TEXT),
    ]
)
"""One labelled answer under curation, without its text: curation decides on keys, and `export` joins text once.

`text_id` and `text_side` (completion, a or b) say where the text lies; `prompt_hash` and `completion_hash` identify it
exactly, `prompt_key` and `completion_key` after normalisation; `group_id` is the cluster of prompts that stays on one
side of a split; `votes` are all judgements that this row stands for; `split` is null until the stage `split`."""

UNPAIRED_PREFERENCE: Final = pa.schema(
    [
        _required("row_id"),
        _required("prompt", MESSAGES),
        _required("completion", MESSAGES),
        _required("label", pa.bool_()),
        _required("weight", pa.float64()),
        _required("group_id"),
        _required("origin"),
        _required("source"),
        pa.field("tools", _TEXT),
        _required("source_event_ids", pa.list_(_TEXT)),
        _required("n_up", pa.int64()),
        _required("n_down", pa.int64()),
        _required("split"),
    ]
)
"""The curated table. `prompt`, `completion`, `label` are TRL's `unpaired_preference`; `weight` > 0 multiplies the row's
loss and already holds a lambda where `rebalance` reweighted; `n_up` and `n_down` count the votes behind the label."""

PREFERENCE: Final = pa.schema(
    [
        _required("row_id"),
        _required("prompt", MESSAGES),
        _required("chosen", MESSAGES),
        _required("rejected", MESSAGES),
        _required("weight", pa.float64()),
        _required("group_id"),
        _required("source"),
        pa.field("tools", _TEXT),
        _required("source_event_ids", pa.list_(_TEXT)),
        _required("split"),
    ]
)
"""Pairs with an explicit prompt: TRL's `preference` with our columns beside it."""
