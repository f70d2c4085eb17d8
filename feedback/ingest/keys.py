"""What curation decides on, taken from events and pairs while their text is at hand: ids, keys, times and lengths.

    event, pair ──sketch──► keys of their texts ─► EVENT_KEYS, PAIR_KEYS (no text)

Both tables have their record's key, so that revisions of one record can be told without its id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl
import pyarrow as pa

from feedback.flat_text import flat_text
from feedback.hashing import keys_of_ids, keys_of_texts
from feedback.ingest.arrow_columns import one_chunk
from feedback.near import Sketches, sketch_texts

__all__ = ["SketchSettings", "event_keys", "outcome_sum", "pair_keys"]

_SHARED: Final = ("source", "event_ts", "rater_kind")
_OF_EVENTS: Final = ("op", "model_id", "signal", "label")
_NULL: Final = "\x00"
_BETWEEN: Final = "\x1f"
_OUTCOME: Final = (
    *("text_id", "prompt_hash", "completion_hash", "response_a_hash", "response_b_hash"),
    *("op", "signal", "label", "outcome", "margin", "event_ts"),
)
_OF_PAIRS: Final = ("outcome", "margin", "model_a", "model_b", "score_a", "score_b")


@dataclass(frozen=True, slots=True)
class SketchSettings:
    """What near-duplicates will be looked for.

    Args:
        threshold: least similarity, in (0, 1).
        shingle_words: words in a shingle.
    """

    threshold: float
    shingle_words: int


def event_keys(events: pa.Table, settings: SketchSettings) -> tuple[pl.DataFrame, Sketches]:
    """The keys of events, and the sketches of their prompts and answers.

    Args:
        events: rows of `schemas.events.FEEDBACK_EVENT`.
        settings: what the sketches are made for.
    """
    sketches = _sketches(_texts(events, "prompt"), _texts(events, "completion"), settings)
    narrow = _narrow(events, "event_id", (*_SHARED, "updated_ts", *_OF_EVENTS), ("prompt_hash", "completion_hash"))
    keys = narrow.with_columns(
        pl.coalesce("updated_ts", "event_ts").alias("event_ts"),
        pl.Series("prompt_key", sketches.prompt_key),
        pl.Series("completion_key", sketches.completion_key),
        pl.Series("prompt_chars", sketches.prompt_chars),
        pl.Series("completion_chars", sketches.completion_chars),
    )
    return keys.drop("updated_ts"), sketches


def pair_keys(pairs: pa.Table, settings: SketchSettings) -> tuple[pl.DataFrame, list[Sketches]]:
    """The keys of pairs, and the sketches of their prompts with either answer.

    Args:
        pairs: rows of `schemas.pairs.PREFERENCE_PAIR`.
        settings: what the sketches are made for.
    """
    prompts = _texts(pairs, "prompt")
    sketches = [_sketches(prompts, _texts(pairs, f"response_{side}"), settings) for side in "ab"]
    narrow = _narrow(pairs, "pair_id", (*_SHARED, *_OF_PAIRS), ("prompt_hash", "response_a_hash", "response_b_hash"))
    keys = narrow.with_columns(
        pl.Series("prompt_key", sketches[0].prompt_key),
        pl.Series("prompt_chars", sketches[0].prompt_chars),
        *(pl.Series(f"response_{side}_key", one.completion_key) for side, one in zip("ab", sketches, strict=True)),
        *(pl.Series(f"response_{side}_chars", one.completion_chars) for side, one in zip("ab", sketches, strict=True)),
    )
    return keys, sketches


def outcome_sum(keys: pl.DataFrame) -> int:
    """A number of 64 bits that stands for what the rows say, in whatever order they are.

    Args:
        keys: of events or of pairs.
    """
    said = [_as_text(name, keys.schema[name]) for name in _OUTCOME if name in keys.columns]
    outcome = pl.concat_str(said, separator=_BETWEEN)
    return int(keys.select(keys_of_texts(outcome)).to_series().to_numpy().sum())


def _as_text(name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name).to_physical() if kind == pl.Datetime else pl.col(name)
    return column.cast(pl.String).fill_null(_NULL)


def _sketches(prompts: pa.Array, completions: pa.Array, settings: SketchSettings) -> Sketches:
    return sketch_texts(prompts, completions, shingle_words=settings.shingle_words, threshold=settings.threshold)


def _texts(table: pa.Table, name: str) -> pa.Array:
    return flat_text(one_chunk(table.column(name)))


def _narrow(table: pa.Table, id_column: str, columns: Sequence[str], hashes: Sequence[str]) -> pl.DataFrame:
    """The columns without text; hashes, raters and records as keys of 64 bits."""
    names = [id_column, "source_record_id", "rater_key", *columns, *hashes]
    frame = pl.DataFrame(pl.from_arrow(table.select(names)))
    # An event and a pair with one record id are no revisions of each other.
    record = pl.concat_str("source", pl.lit(f"{_BETWEEN}{id_column}{_BETWEEN}"), "source_record_id")
    return frame.select(
        pl.col(id_column).alias("text_id"),
        keys_of_texts(record).alias("record_key"),
        keys_of_ids(pl.col("rater_key")),
        *columns,
        *(keys_of_ids(pl.col(name)) for name in hashes),
    )
