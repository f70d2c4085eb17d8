"""The tables on the way from events to a dataset: candidates under curation, and the two curated dataset types.

feedback_event, preference_pair ──convert──► CANDIDATE (keys only) ──stages──► export ──► UNPAIRED_PREFERENCE
                                                  └──pairs──► PAIR_CANDIDATE ──► export ──► PREFERENCE
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from schemas.events import TIMESTAMP
from schemas.messages import MESSAGES

__all__ = [
    "CANDIDATE",
    "OPTIONAL_COLUMNS",
    "ORIGINS",
    "PAIR_CANDIDATE",
    "PREFERENCE",
    "SPLITS",
    "UNPAIRED_PREFERENCE",
]

ORIGINS: Final = ("thumb", "pair", "score")
SPLITS: Final = ("train", "test")
OPTIONAL_COLUMNS: Final = ("tools", "rater_key")
"""Columns of the curated tables that a dataset may lack: where no row has tools, where raters were not asked for."""

_TEXT: Final = pa.string()
_KEY: Final = pa.uint64()
_VOTE: Final = pa.struct(
    [
        pa.field("event_id", _TEXT, nullable=False),
        pa.field("rater_key", _KEY),
        pa.field("event_ts", TIMESTAMP),
        pa.field("label", pa.bool_(), nullable=False),
    ]
)


def _required(name: str, kind: pa.DataType = _TEXT) -> pa.Field:
    return pa.field(name, kind, nullable=False)


CANDIDATE: Final = pa.schema(
    [
        _required("row_id"),
        _required("row_key", _KEY),
        _required("text_id"),
        _required("text_side"),
        _required("source"),
        _required("origin"),
        _required("prompt_hash", _KEY),
        _required("completion_hash", _KEY),
        _required("prompt_key", _KEY),
        _required("completion_key", _KEY),
        _required("group_id", _KEY),
        _required("cluster_id", _KEY),
        _required("label", pa.bool_()),
        _required("weight", pa.float64()),
        pa.field("rater_key", _KEY),
        _required("rater_kind"),
        pa.field("model_id", _TEXT),
        pa.field("event_ts", TIMESTAMP),
        _required("prompt_chars", pa.int64()),
        _required("completion_chars", pa.int64()),
        _required("votes", pa.list_(_VOTE)),
        pa.field("other_event_ids", pa.list_(_TEXT)),
        pa.field("capped_rater", _KEY),
        pa.field("split", _TEXT),
    ]
)
"""One labelled answer under curation, without its text: curation decides on keys, and `export` joins text once.

`row_key` is the first 16 digits of `row_id` as a number: rows are sorted by it. `text_id` and `text_side` (completion,
a or b) say where the text lies; `prompt_hash` and `completion_hash` identify it exactly, `prompt_key` and
`completion_key` after normalisation, both keys of a kind together: 128 bits name an answer. `group_id` is the cluster
of prompts that stays on one side of a split, `cluster_id` the cluster of near-duplicate answers; alone, a row has the
ids of its own keys. `votes` are all judgements that this row stands for and that count; `other_event_ids`, sorted, are
the judgements that count no more, of a rater who judged again for example, null where there are none: the row may show
the text of any of both. `capped_rater` names the rater near the cap of influence whose row it is, or, where each prompt
is to give one row, any rater whom the cap could hold; `split` is null until the stage `split`. Hashes are the first 64
bits of their ids."""

PAIR_CANDIDATE: Final = pa.schema(
    [
        _required("row_id"),
        _required("row_key", _KEY),
        _required("chosen_text_id"),
        _required("chosen_text_side"),
        _required("rejected_text_id"),
        _required("rejected_text_side"),
        _required("source"),
        _required("origin"),
        _required("prompt_key", _KEY),
        _required("group_id", _KEY),
        _required("weight", pa.float64()),
        pa.field("rater_key", _KEY),
        _required("prompt_chars", pa.int64()),
        _required("chosen_chars", pa.int64()),
        _required("rejected_chars", pa.int64()),
        _required("source_event_ids", pa.list_(_TEXT)),
        pa.field("split", _TEXT),
    ]
)
"""A pair of answers without its text. The texts lie as those of `CANDIDATE` do; the prompt is the chosen answer's.
`rater_key` is the rater all of whose judgements those behind the pair are, null where there is no such one; `split` is
null in a comparison that became no pair."""

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
        pa.field("rater_key", _TEXT),
        _required("split"),
    ]
)
"""The curated table. `prompt`, `completion`, `label` are TRL's `unpaired_preference`; `weight` > 0 multiplies the row's
loss and already holds a lambda where `rebalance` reweighted; `n_up` and `n_down` count the votes behind the label.
`source_event_ids` are all events behind the row, its text among them: first the n_up + n_down votes, then those that
count no more, since their rater judged again for example; both are sorted. `rater_key`, 16 hex digits of a keyed hash,
is the one rater of all votes that count, null where they are of several."""

PREFERENCE: Final = pa.schema(
    [
        _required("row_id"),
        _required("prompt", MESSAGES),
        _required("chosen", MESSAGES),
        _required("rejected", MESSAGES),
        _required("weight", pa.float64()),
        _required("group_id"),
        _required("origin"),
        _required("source"),
        pa.field("tools", _TEXT),
        _required("source_event_ids", pa.list_(_TEXT)),
        pa.field("rater_key", _TEXT),
        _required("split"),
    ]
)
"""Pairs with an explicit prompt: TRL's `preference` with our columns beside it. `origin` is `pair` where both answers
were compared side by side, else what the chosen answer was judged by alone; `source_event_ids` are all judgements
behind either answer, also those that count no more, sorted."""
