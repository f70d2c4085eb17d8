"""Texts on their way into shards, without personal data in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl
import pyarrow as pa

from feedback.personal import KINDS, Redactor
from feedback.stage import counted
from schemas.messages import MESSAGES

__all__ = ["redact_batch", "redact_in_turn", "redaction_notes"]

_PLAIN: Final = pl.CompatLevel.oldest()


def redact_batch(batch: pa.RecordBatch, redactor: Redactor) -> pa.RecordBatch:
    """The texts with a mark in the place of every find; roles and turns stay as they are.

    Args:
        batch: columns of turns, and `tools` as JSON.
        redactor: replaces and counts.
    """
    columns = [
        _as_text(redactor.json_texts(pl.Series(column)))
        if pa.types.is_string(column.type)
        else _redact_turns(column, redactor)
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def redact_in_turn(batch: pa.RecordBatch, redactions: Sequence[tuple[str, ...]]) -> pa.RecordBatch:
    """The texts as several redactions leave them, one after the other; as they are where there is none.

    Args:
        batch: see `redact_batch`.
        redactions: the regions of telephone numbers of each.
    """
    for regions in redactions:
        batch = redact_batch(batch, Redactor(regions))
    return batch


def redaction_notes(counts: Mapping[str, int]) -> list[str]:
    """What was replaced, and what was not looked at."""
    listed = ", ".join(f"{title}: {counts[kind]:,}" for kind, title in KINDS.items() if counts.get(kind))
    return [
        f"{counted(sum(counts.values()), 'find')} of personal data replaced by marks ({listed})."
        if listed
        else "No personal data was found to replace.",
        "Names and postal addresses are not looked for. stages/ingest keeps the texts as they came: do not share it.",
    ]


def _redact_turns(turns: pa.ListArray, redactor: Redactor) -> pa.ListArray:
    flat = turns.flatten()
    content = _as_text(redactor.texts(pl.Series(flat.field("content"))))
    said = pa.StructArray.from_arrays([flat.field("role"), content], fields=list(MESSAGES.value_type))
    starts = pl.Series(turns.offsets) - turns.offsets[0].as_py()
    return pa.ListArray.from_arrays(starts.to_arrow(), said, type=MESSAGES)


def _as_text(texts: pl.Series) -> pa.Array:
    return texts.to_arrow(compat_level=_PLAIN).cast(pa.string())
