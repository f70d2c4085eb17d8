"""Small tables for the tests of the curation stages: events, pairs and candidates in a line each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from feedback.convert import Keys, find_revisions
from feedback.engine import write_arrow
from feedback.hashing import hex_key, messages_hash, stable_id
from feedback.ingest.keys import SketchSettings, event_keys, pair_keys
from feedback.stage import CANDIDATE_TYPES
from schemas.events import FEEDBACK_EVENT
from schemas.pairs import PREFERENCE_PAIR

START = datetime(2025, 1, 1, tzinfo=UTC)
SKETCH = SketchSettings(threshold=0.8, shingle_words=3)


def at(minutes: int | None) -> datetime | None:
    """A time, in minutes after the start of 2025."""
    return None if minutes is None else START + timedelta(minutes=minutes)


def turns(role: str, text: str) -> list[dict[str, str]]:
    """One turn."""
    return [{"role": role, "content": text}]


def event(
    prompt: str = "hi", completion: str = "hello", label: bool | None = True, *, record: str = "", **more: Any
) -> dict[str, Any]:
    """A row of the table of events."""
    record = record or f"{prompt}|{completion}|{label}|{more}"
    minutes, updated = more.pop("minutes", None), more.pop("updated", None)
    body = {"prompt": turns("user", prompt), "completion": turns("assistant", completion)}
    row = {
        "event_id": stable_id("log", record, prompt, completion, str(label), str(minutes), str(updated), str(more)),
        "source": "log",
        "source_record_id": record,
        "raw_sha256": "0" * 64,
        "op": "create",
        "event_ts": at(minutes),
        "updated_ts": at(updated),
        "ts_quality": "missing" if minutes is None else "exact",
        "rater_kind": "end_user",
        **body,
        "prompt_hash": messages_hash(body["prompt"]),
        "completion_hash": messages_hash(body["completion"]),
        "signal": "thumb",
        "raw_value": "1" if label else "-1",
        "label": label,
        "reason_codes": [],
        "flags": [],
    }
    return row | more


def pair(prompt: str = "hi", a: str = "hello", b: str = "go away", outcome: str = "a", **more: Any) -> dict[str, Any]:
    """A row of the table of pairs."""
    record = more.pop("record", f"{prompt}|{a}|{b}|{outcome}|{more}")
    minutes = more.pop("minutes", None)
    body = {
        "prompt": turns("user", prompt),
        "response_a": turns("assistant", a),
        "response_b": turns("assistant", b),
    }
    row = {
        "pair_id": stable_id("duel", record, prompt, a, b, outcome, str(minutes)),
        "group_id": messages_hash(body["prompt"]),
        "source": "duel",
        "source_record_id": record,
        "raw_sha256": "0" * 64,
        **body,
        **{f"{name}_hash": messages_hash(messages) for name, messages in body.items()},
        "outcome": outcome,
        "raw_value": "1",
        "rater_kind": "annotator",
        "event_ts": at(minutes),
        "ts_quality": "missing",
        "flags": [],
    }
    return row | more


def keys_of_events(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """The keys of events, as the stage `ingest` takes them."""
    return event_keys(pa.Table.from_pylist(rows, schema=FEEDBACK_EVENT), SKETCH)[0] if rows else pl.DataFrame()


def keys_of_pairs(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """The keys of pairs, as the stage `ingest` takes them."""
    return pair_keys(pa.Table.from_pylist(rows, schema=PREFERENCE_PAIR), SKETCH)[0] if rows else pl.DataFrame()


def write_keys(folder: Path, keys: pl.DataFrame, name: str = "keys-00000.parquet") -> list[Path]:
    """Write keys as the stage `ingest` does; no file where there is no row."""
    if keys.height:
        keys.write_parquet(folder / name)
    return [folder / name] if keys.height else []


def keys_of(folder: Path, events: list[dict[str, Any]], pairs: list[dict[str, Any]]) -> Keys:
    """What the stage `convert` reads of events and pairs in one partition, none of them nearly the same."""
    of_events, of_pairs = keys_of_events(events), keys_of_pairs(pairs)
    found = [find_revisions(write_keys(folder, keys)) for keys in (of_events, of_pairs)]
    revisions = pl.concat([part for part in found if part.width] or [pl.DataFrame()])
    return Keys(events=of_events, pairs=of_pairs, revisions=revisions)


def write_events(folder: Path, rows: list[dict[str, Any]], name: str = "events-00000.arrow") -> list[Path]:
    """Write events as the stage `ingest` does."""
    return [write_arrow(pa.Table.from_pylist(rows, schema=FEEDBACK_EVENT), folder / name)]


def write_pairs(folder: Path, rows: list[dict[str, Any]], name: str = "pairs-00000.arrow") -> list[Path]:
    """Write pairs as the stage `ingest` does."""
    return [write_arrow(pa.Table.from_pylist(rows, schema=PREFERENCE_PAIR), folder / name)]


def candidate(prompt: str = "hi", completion: str = "hello", label: bool = True, **more: Any) -> dict[str, Any]:
    """A row of the table of candidates, with one vote."""
    rater, minutes = more.pop("rater_key", None), more.pop("minutes", None)
    rater = None if rater is None else key("rater", rater)
    text_id = more.pop("text_id", stable_id(prompt, completion, str(label), str(minutes), str(rater), str(more)))
    row_id = more.pop("row_id", stable_id(text_id, "completion"))
    vote = {"event_id": text_id, "rater_key": rater, "event_ts": at(minutes), "label": label}
    row = {
        "row_id": row_id,
        "row_key": hex_key(row_id),
        "text_id": text_id,
        "text_side": "completion",
        "source": "log",
        "origin": "thumb",
        "prompt_hash": key(prompt),
        "completion_hash": key(completion),
        "prompt_key": key(prompt.casefold()),
        "completion_key": key(completion.casefold()),
        "group_id": key(prompt.casefold()),
        "cluster_id": key(prompt.casefold(), completion.casefold()),
        "label": label,
        "weight": 1.0,
        "rater_key": rater,
        "rater_kind": "end_user",
        "model_id": None,
        "event_ts": at(minutes),
        "prompt_chars": len(prompt),
        "completion_chars": len(completion),
        "votes": [vote],
        "capped_rater": None,
        "split": None,
    }
    return row | more


def key(*parts: str) -> int:
    """A key of 64 bits that stands for the parts."""
    return hex_key(stable_id(*parts))


def table(*rows: dict[str, Any]) -> pl.DataFrame:
    """A table of candidates."""
    return pl.DataFrame(list(rows), schema=CANDIDATE_TYPES)


def reasons(dropped: pl.DataFrame) -> dict[str, str]:
    """Drop reason by `text_id`."""
    return dict(dropped.select("text_id", "drop_reason").iter_rows())
