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
from feedback.near import Sketches, sketch_texts, text_keys

__all__ = ["SketchSettings", "event_keys", "outcome_sum", "pair_keys"]

_SHARED: Final = ("source", "event_ts", "rater_kind")
_OF_EVENTS: Final = ("op", "model_id", "signal", "label")
_ANSWERS: Final = ("response_a", "response_b")
_NULL: Final = "\x00"
_BETWEEN: Final = "\x1f"
_OUTCOME: Final = (
    *("text_id", "prompt_hash", "completion_hash", "response_a_hash", "response_b_hash"),
    *("op", "signal", "label", "outcome", "margin", "event_ts"),
)
_OF_PAIRS: Final = ("outcome", "margin", "presented_first", "model_a", "model_b", "score_a", "score_b")


@dataclass(frozen=True, slots=True)
class SketchSettings:
    """What near-duplicates will be looked for.

    Args:
        threshold: least similarity, in (0, 1).
        shingle_words: words in a shingle.
    """

    threshold: float
    shingle_words: int


def event_keys(events: pa.Table, settings: SketchSettings | None) -> tuple[pl.DataFrame, Sketches | None]:
    """The keys of events, and the sketches of their prompts and answers.

    Args:
        events: rows of `schemas.events.FEEDBACK_EVENT`.
        settings: what the sketches are made for; None makes none.
    """
    (sketches,) = _sketches(events, ("completion",), settings) or (None,)
    narrow = _narrow(events, "event_id", (*_SHARED, "updated_ts", *_OF_EVENTS), ("prompt_hash", "completion_hash"))
    said = _said(events, ("completion",), [] if sketches is None else [sketches])
    keys = narrow.with_columns(
        pl.coalesce("updated_ts", "event_ts").alias("event_ts"),
        *(said[name] for name in ("prompt_key", "completion_key", "prompt_chars", "completion_chars")),
    )
    return keys.drop("updated_ts"), sketches


def pair_keys(pairs: pa.Table, settings: SketchSettings | None) -> tuple[pl.DataFrame, list[Sketches]]:
    """The keys of pairs, and the sketches of their prompts with either answer.

    Args:
        pairs: rows of `schemas.pairs.PREFERENCE_PAIR`.
        settings: what the sketches are made for; None makes none.
    """
    sketches = _sketches(pairs, _ANSWERS, settings)
    narrow = _narrow(pairs, "pair_id", (*_SHARED, *_OF_PAIRS), ("prompt_hash", "response_a_hash", "response_b_hash"))
    said = _said(pairs, _ANSWERS, sketches)
    keys = narrow.with_columns(
        *(said[f"prompt_{what}"] for what in ("key", "chars")),
        *(said[f"{answer}_{what}"] for what in ("key", "chars") for answer in _ANSWERS),
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


def _sketches(table: pa.Table, answers: Sequence[str], settings: SketchSettings | None) -> list[Sketches]:
    """Sketches of the prompts with each column of answers; none where there are no settings."""
    if settings is None:
        return []
    prompts = _texts(table, "prompt")
    return [
        sketch_texts(prompts, _texts(table, answer), shingle_words=settings.shingle_words, threshold=settings.threshold)
        for answer in answers
    ]


def _said(table: pa.Table, answers: Sequence[str], sketches: Sequence[Sketches]) -> dict[str, pl.Series]:
    """Keys and code points of prompts and answers, from their sketches where there are any."""
    found = [(answer, one.completion_key, one.completion_chars) for answer, one in zip(answers, sketches, strict=False)]
    if sketches:
        found.append(("prompt", sketches[0].prompt_key, sketches[0].prompt_chars))
    else:
        found = [(name, *text_keys(_texts(table, name))) for name in ("prompt", *answers)]
    return {
        f"{name}_{what}": pl.Series(f"{name}_{what}", column)
        for name, *columns in found
        for what, column in zip(("key", "chars"), columns, strict=True)
    }


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
