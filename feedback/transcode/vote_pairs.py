"""Pairs from votes: an answer voted up beside one voted down to the same prompt.

Whoever voted saw one answer at a time, so such a pair is weaker than a comparison; it is never made without being
asked for, and the report says that it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from feedback.engine import read_rows
from schemas.reasons import DropReason

__all__ = ["pair_events"]


def pair_events(events: Sequence[Path]) -> tuple[Iterator[dict[str, Any]], Mapping[str, int]]:
    """Pairs of the events' answers, and how many events were dropped for which reason.

    Within a prompt, the first answer up by id goes with the first one down, and so on; an answer that has both labels
    takes no part. Each event is in one pair at most, which counts them in `events`. Decided on keys; text is read once.

    Args:
        events: files of `schemas.events.FEEDBACK_EVENT`.
    """
    keys = pl.concat([read_rows(path, _KEYS) for path in events])
    is_vote = (pl.col("op") != "retract") & pl.col("label").is_not_null()
    votes = keys.filter(is_vote).sort("prompt_hash", "event_id")
    drops: Counter[str] = Counter()
    drops[DropReason.RETRACTED.value] = keys.filter(pl.col("op") == "retract").height
    drops[DropReason.NEUTRAL.value] = keys.height - votes.height - drops[DropReason.RETRACTED.value]
    is_clear = pl.col("label").n_unique().over("prompt_hash", "completion_hash") == 1
    ranked = votes.filter(is_clear).with_columns(rank=pl.int_range(pl.len()).over("prompt_hash", "label"))
    up, down = (ranked.filter(pl.col("label") == side) for side in (True, False))
    pairs = up.join(down, on=["prompt_hash", "rank"], suffix="_down").sort("prompt_hash", "rank")
    drops[DropReason.NO_PARTNER.value] = votes.height - 2 * pairs.height
    return _with_text(pairs, events), +drops


_KEYS = ("event_id", "op", "label", "prompt_hash", "completion_hash")
_TEXTS = ("event_id", "prompt", "completion", "tools", "model_id")


def _with_text(pairs: pl.DataFrame, events: Sequence[Path]) -> Iterator[dict[str, Any]]:
    wanted = pl.concat([pairs["event_id"], pairs["event_id_down"]])
    parts = [read_rows(path, _TEXTS).filter(pl.col("event_id").is_in(wanted.implode())) for path in events]
    # The same record read twice has one id and one text.
    texts = pl.concat(parts).unique("event_id", keep="any")
    joined = (
        pairs.select("event_id", "event_id_down")
        .join(texts, on="event_id", how="left", maintain_order="left")
        .join(texts, left_on="event_id_down", right_on="event_id", suffix="_down", how="left", maintain_order="left")
    )
    for row in joined.iter_rows(named=True):
        yield {
            "prompt": row["prompt"],
            "chosen": row["completion"],
            "rejected": row["completion_down"],
            "tools": row["tools"],
            "model_chosen": row["model_id"],
            "model_rejected": row["model_id_down"],
            "events": 2,
        }
