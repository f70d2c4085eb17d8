"""Stage `convert`: feedback events and preference pairs become labelled rows, keys only.

Text is read once, batch by batch, to compute its normalised keys; what leaves here has no text. An event gives one
row. A pair with a winner gives a desirable and an undesirable row, two bad answers give two undesirable rows, and a tie
gives none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow.parquet as pq

from feedback.config import ConvertConfig
from feedback.hashing import messages_key, stable_id
from feedback.stage import CANDIDATE_TYPES, StageResult, counted, finish_stage, hash_column
from schemas.progress import Progress, silent
from schemas.reasons import DropReason
from schemas.report import LabelCounts
from schemas.settings import settings_to_dict

__all__ = ["convert"]

_BATCH_ROWS: Final = 8192
_SCORE_SIGNALS: Final = ("rating", "score")
_TEXTS_OF_EVENTS: Final = ("prompt", "completion")
_TEXTS_OF_PAIRS: Final = ("prompt", "response_a", "response_b")
_KEYS: Final = ("source", "source_record_id", "event_ts", "rater_key", "rater_kind", "prompt_hash")
_KEYS_OF_EVENTS: Final = (*_KEYS, "event_id", "op", "updated_ts", "model_id", "completion_hash", "signal", "label")
_KEYS_OF_ANSWERS: Final = ("model_a", "model_b", "response_a_hash", "response_b_hash", "score_a", "score_b")
_KEYS_OF_PAIRS: Final = (*_KEYS, *_KEYS_OF_ANSWERS, "pair_id", "outcome", "margin")


def convert(
    events: Sequence[Path],
    pairs: Sequence[Path],
    config: ConvertConfig,
    *,
    digest_in: str = "",
    progress: Progress = silent,
) -> StageResult:
    """Labelled rows of all events and pairs.

    Args:
        events: Parquet files of `schemas.events.FEEDBACK_EVENT`.
        pairs: Parquet files of `schemas.pairs.PREFERENCE_PAIR`.
        config: thresholds and caps for pairs.
        digest_in: digest of the stage `ingest`.
        progress: told about every batch read.
    """
    rows = sum(pq.read_metadata(path).num_rows for path in (*events, *pairs))
    with progress("convert", rows) as advance:
        event_keys = _read_keys(events, _KEYS_OF_EVENTS, _TEXTS_OF_EVENTS, advance)
        pair_keys = _read_keys(pairs, _KEYS_OF_PAIRS, _TEXTS_OF_PAIRS, advance)
    parts: list[pl.DataFrame] = []
    notes: list[str] = []
    labels_in = LabelCounts(unlabelled=pair_keys.height)
    created = 0
    if event_keys.height:
        part, event_notes = _rows_of_events(event_keys)
        parts.append(part)
        notes += event_notes
        up, down = int(event_keys["label"].sum() or 0), event_keys["label"].count()
        labels_in = LabelCounts(up, down - up, event_keys.height - down + pair_keys.height)
    if pair_keys.height:
        part, pair_notes = _rows_of_pairs(pair_keys, config)
        parts.append(part)
        notes += pair_notes
        created = part.height - pair_keys.height
    table = pl.concat(parts) if parts else pl.DataFrame(schema={**CANDIDATE_TYPES, "drop_reason": pl.String})
    return finish_stage(
        "convert",
        table.filter(pl.col("drop_reason").is_null()).drop("drop_reason"),
        table.filter(pl.col("drop_reason").is_not_null()),
        rows_in=rows,
        rows_created=created,
        labels_in=labels_in,
        config=settings_to_dict(config),
        digest_in=digest_in,
        notes=notes,
        figures={"events": event_keys.height, "pairs": pair_keys.height},
    )


def _read_keys(paths: Sequence[Path], keys: Sequence[str], texts: Sequence[str], advance: Any) -> pl.DataFrame:
    frames = []
    for path in paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=[*keys, *texts]):
                frame = pl.DataFrame(pl.from_arrow(batch))
                frames.append(frame.select(*keys, *_text_keys(frame, texts)))
                advance(frame.height)
    return pl.concat(frames, how="vertical") if frames else pl.DataFrame()


def _text_keys(frame: pl.DataFrame, texts: Sequence[str]) -> Iterator[pl.Expr | pl.Series]:
    for name in texts:
        # Unicode normalisation exists in Python only: the one loop over rows of this stage.
        keys = [messages_key(messages) for messages in frame[name].to_list()]
        yield pl.Series(f"{name}_key", keys, dtype=pl.String)
        lengths = pl.col(name).list.eval(pl.element().struct.field("content").str.len_chars())
        yield lengths.list.sum().cast(pl.Int64).alias(f"{name}_chars")


def _rows_of_events(keys: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    when = pl.coalesce("updated_ts", "event_ts")
    keys = _mark_revisions(keys.with_columns(text_id="event_id", event_ts=when))
    reason = (
        pl.when(pl.col("text_id") != pl.col("latest_id"))
        .then(pl.lit(DropReason.SUPERSEDED_REVISION.value))
        .when(pl.col("op") == "retract")
        .then(pl.lit(DropReason.RETRACTED.value))
        .when(pl.col("label").is_null())
        .then(pl.lit(DropReason.NEUTRAL.value))
    )
    origin = pl.when(pl.col("signal").is_in(_SCORE_SIGNALS)).then(pl.lit("score")).otherwise(pl.lit("thumb"))
    rows = keys.with_columns(text_side=pl.lit("completion"), origin=origin, drop_reason=reason)
    return _as_candidates(rows), _notes_on_revisions(keys)


def _rows_of_pairs(keys: pl.DataFrame, config: ConvertConfig) -> tuple[pl.DataFrame, list[str]]:
    keys = _mark_revisions(keys.with_columns(text_id="pair_id", origin=pl.lit("pair")))
    keys = keys.with_columns(drop_reason=_why_no_pair(config))
    if config.max_pairs_per_prompt is not None:
        keys = _cap_pairs(keys, config.max_pairs_per_prompt)
    left_out = pl.col("drop_reason").is_not_null()
    wins = [_side(keys.filter(~left_out), side).with_columns(drop_reason=_why_no_answer(config)) for side in ("a", "b")]
    # A pair that is left out is one row: nothing was made of it.
    whole = _side(keys.filter(left_out), "a").with_columns(label=pl.lit(None, dtype=pl.Boolean))
    rows = pl.concat([*wins, whole], how="diagonal")
    both_bad = keys.filter(~left_out & (pl.col("outcome") == "both_bad")).height
    won = keys.filter(~left_out).height - both_bad
    notes = [f"A desirable and an undesirable row from each of {counted(won, 'pair')} with a winner."]
    if both_bad:
        notes.append(f"Two undesirable rows from each of {counted(both_bad, 'pair')} with two bad answers.")
    return _as_candidates(rows), notes + _notes_on_revisions(keys)


def _mark_revisions(keys: pl.DataFrame) -> pl.DataFrame:
    """`keys` with `latest_id`, null where a record has one revision, and `is_order_known` from times alone."""
    record = ["source", "source_record_id"]
    revisions = keys.select(*record, "text_id", "event_ts").unique()
    newest = pl.col("event_ts") == pl.col("event_ts").max()
    latest = (
        revisions.filter(pl.struct(record).is_duplicated())
        .group_by(record)
        .agg(
            latest_id=pl.col("text_id").sort_by("event_ts", "text_id").last(),
            is_order_known=(newest.sum() == 1) & pl.col("event_ts").is_not_null().all(),
        )
    )
    return keys.join(latest, on=record, how="left")


def _notes_on_revisions(keys: pl.DataFrame) -> list[str]:
    records = keys.filter(~pl.col("is_order_known")).select("source", "source_record_id").unique().height
    if not records:
        return []
    note = (
        f"{counted(records, 'record id')} with different contents and no time that says which is the latest: the one "
        "with the greatest event id was kept. If they are different records, give their sources different names."
    )
    return [note]


def _why_no_pair(config: ConvertConfig) -> pl.Expr:
    is_won = pl.col("outcome").is_in(["a", "b"])
    below = pl.lit(False) if config.min_margin is None else is_won & (pl.col("margin") < config.min_margin)
    return (
        pl.when(pl.col("text_id") != pl.col("latest_id"))
        .then(pl.lit(DropReason.SUPERSEDED_REVISION.value))
        .when(pl.col("outcome").is_in(["tie", "abstain"]))
        .then(pl.lit(DropReason.TIE.value))
        .when(below)
        .then(pl.lit(DropReason.BELOW_MARGIN.value))
    )


def _cap_pairs(keys: pl.DataFrame, cap: int) -> pl.DataFrame:
    order = pl.when(pl.col("drop_reason").is_null()).then(hash_column(keys["pair_id"], "convert"))
    # Dense, so that one pair read twice takes one place; dedup removes the copy.
    place = pl.col("order").rank("dense").over("prompt_key")
    reason = pl.when(place > cap).then(pl.lit(DropReason.PAIR_CAP.value)).otherwise("drop_reason")
    return keys.with_columns(order=order).with_columns(drop_reason=reason).drop("order")


def _why_no_answer(config: ConvertConfig) -> pl.Expr:
    low = pl.lit(False) if config.min_chosen_score is None else pl.col("score") < config.min_chosen_score
    high = pl.lit(False) if config.max_rejected_score is None else pl.col("score") > config.max_rejected_score
    is_out = pl.when(pl.col("label")).then(low).otherwise(high)
    return pl.when(is_out).then(pl.lit(DropReason.SCORE_THRESHOLD.value))


def _side(pairs: pl.DataFrame, side: str) -> pl.DataFrame:
    return pairs.with_columns(
        text_side=pl.lit(side),
        label=pl.col("outcome") == side,
        score=pl.col(f"score_{side}"),
        model_id=pl.col(f"model_{side}"),
        completion_hash=pl.col(f"response_{side}_hash"),
        completion_key=pl.col(f"response_{side}_key"),
        completion_chars=pl.col(f"response_{side}_chars"),
    )


def _as_candidates(rows: pl.DataFrame) -> pl.DataFrame:
    vote = pl.struct(pl.col("text_id").alias("event_id"), "rater_key", "event_ts", "label")
    is_labelled = pl.element().struct.field("label").is_not_null()
    made = rows.with_columns(
        row_id=_row_ids(rows["text_id"], rows["text_side"]),
        group_id=pl.col("prompt_key"),
        weight=pl.lit(1.0),
        votes=pl.concat_list(vote).list.filter(is_labelled),
        split=pl.lit(None, dtype=pl.String),
    )
    return made.select(*(pl.col(name).cast(kind) for name, kind in CANDIDATE_TYPES.items()), "drop_reason")


def _row_ids(text_ids: Iterable[str], sides: Iterable[str]) -> pl.Series:
    return pl.Series("row_id", [stable_id(text, side) for text, side in zip(text_ids, sides, strict=True)], pl.String)
