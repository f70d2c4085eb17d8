"""Slow oracle for the tables of drafts: one row at a time, in plain Python."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from xxhash import xxh3_64_intdigest, xxh3_128_intdigest

from feedback.formats.drafts import Draft, EventDraft, IgnoredDraft, PairDraft
from feedback.hashing import exact_text, stable_id
from feedback.ingest.draft_tables import Row, rows_to_table
from feedback.ingest.event_time import read_time
from feedback.ingest.rater_key import rater_key
from schemas.errors import RecordRejectedError
from schemas.events import FEEDBACK_EVENT
from schemas.messages import Message
from schemas.pairs import PREFERENCE_PAIR
from schemas.reasons import RejectReason
from schemas.rules import FeedbackEventRules, PreferencePairRules, violations

Refusal = tuple[int, str, str]
MEANINGS = {one.value: one.meaning for one in RejectReason if one != RejectReason.RULE_VIOLATION}
TABLES = {"events": (FEEDBACK_EVENT, FeedbackEventRules), "pairs": (PREFERENCE_PAIR, PreferencePairRules)}


def slow_tables(
    records: Sequence[tuple[bytes, Sequence[Draft]]], source: str, key: bytes
) -> tuple[dict[str, list[dict[str, Any]]], list[Refusal]]:
    """The rows of both tables, and number, reason and detail of the records that are refused, those by rules last.

    Args:
        records: the bytes of each record and its drafts.
        source: name of the source.
        key: key for user ids.
    """
    rows: dict[str, list[Row]] = {"events": [], "pairs": []}
    owners: dict[str, list[int]] = {"events": [], "pairs": []}
    refused: list[Refusal] = []
    for owner, (raw, drafts) in enumerate(records):
        try:
            made = _record_rows(drafts, source, hashlib.sha256(raw).hexdigest(), key)
        except RecordRejectedError as error:
            refused.append((owner, error.reason, error.detail))
            continue
        for name, row in made:
            rows[name].append(row)
            owners[name].append(owner)
    tables = {name: rows_to_table(rows[name], schema) for name, (schema, _) in TABLES.items()}
    broken: dict[int, tuple[str, str]] = {}
    for name, (_, rules) in TABLES.items():
        if rows[name]:
            for row, reason, detail in violations(pl.DataFrame(pl.from_arrow(tables[name])), rules):
                broken.setdefault(owners[name][row], (reason, MEANINGS.get(reason, detail)))
    refused += [(owner, *why) for owner, why in sorted(broken.items())]
    kept = {
        name: [row for row, owner in zip(table.to_pylist(), owners[name], strict=True) if owner not in broken]
        for name, table in tables.items()
    }
    return kept, refused


def slow_hash(messages: Sequence[Message]) -> str:
    """The definition of `messages_hash`, turn by turn."""
    digest = 0
    for message in messages:
        seed = xxh3_64_intdigest(message["role"].encode(), seed=digest & (2**64 - 1))
        digest = xxh3_128_intdigest(exact_text(message["content"]).encode(), seed=seed)
    return f"{digest:032x}"


def _record_rows(drafts: Sequence[Draft], source: str, digest: str, key: bytes) -> list[tuple[str, Row]]:
    places: Counter[str | None] = Counter()
    rows: list[tuple[str, Row]] = []
    for draft in drafts:
        if isinstance(draft, IgnoredDraft):
            continue
        row = _draft_row(draft, source, digest, places[draft.record_id], key)
        places[draft.record_id] += 1
        rows.append(("events" if isinstance(draft, EventDraft) else "pairs", row))
    return rows


def _draft_row(draft: EventDraft | PairDraft, source: str, digest: str, place: int, key: bytes) -> Row:
    record_id = draft.record_id or f"sha256:{digest[:32]}"
    if place:
        record_id = f"{record_id}#{place}"
    rater = None if draft.rater is None else rater_key(draft.rater, key)
    make, schema = (_event_row, FEEDBACK_EVENT) if isinstance(draft, EventDraft) else (_pair_row, PREFERENCE_PAIR)
    row = make(draft, ("", source, record_id, digest), rater)  # type: ignore[operator]
    revision = _revision(dict(zip(schema.names, row, strict=True))) if draft.record_id else digest
    return (stable_id(source, record_id, revision), *row[1:])


def _revision(row: dict[str, Any]) -> str:
    """What the source says, as `feedback.ingest.draft_tables` puts it together."""
    names = [*("op", "event_ts", "updated_ts", "conversation_id", "message_id", "model_id", "model_a", "model_b")]
    names += ["prompt_hash", "completion_hash", "response_a_hash", "response_b_hash", "tools", "signal", "raw_value"]
    names += ["margin", "score_a", "score_b", "presented_first", "reason_codes", "comment", "lang", "consent"]
    return "\x1f".join("\x00" if row[name] is None else _text(row[name]) for name in names if name in row)


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return str((value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))
    if isinstance(value, list | tuple):
        return "\x1f".join(value)
    if isinstance(value, str):
        return value
    return str(pl.Series([value if isinstance(value, bool) else float(value)]).cast(pl.String).item())


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
        slow_hash(draft.prompt),
        slow_hash(draft.completion),
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
    return (
        ids[0],
        slow_hash(draft.prompt),
        *ids[1:],
        draft.prompt,
        draft.response_a,
        draft.response_b,
        draft.tools,
        slow_hash(draft.prompt),
        slow_hash(draft.response_a),
        slow_hash(draft.response_b),
        draft.outcome,
        _as_json(draft.raw_value),
        draft.margin,
        draft.score_a,
        draft.score_b,
        draft.presented_first,
        rater,
        draft.rater_kind,
        draft.conversation_id,
        draft.model_a,
        draft.model_b,
        event_ts,
        quality,
        draft.flags,
    )


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
