"""Candidates with their texts, and what the stage `export` writes of them."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from feedback.config import ExportConfig, SplitConfig
from feedback.export import ExportResult, TextTable, export
from feedback.hashing import messages_hash
from feedback.split import split
from tests.feedback_tables import candidate, event, pair, table, turns, write_events, write_pairs


def of_events(events: list[dict]) -> list[dict]:
    """A candidate for each event."""
    return [
        candidate(one["prompt"][-1]["content"], one["completion"][-1]["content"], one["label"], text_id=one["event_id"])
        for one in events
    ]


def of_pairs(pairs: list[dict]) -> list[dict]:
    """Two candidates for each pair."""
    return [
        candidate(
            one["prompt"][0]["content"],
            one[f"response_{side}"][0]["content"],
            one["outcome"] == side,
            text_id=one["pair_id"],
            text_side=side,
            row_id=messages_hash(turns(side, one["pair_id"])),
            source="duel",
            origin="pair",
        )
        for one in pairs
        for side in "ab"
    ]


def some_events(count: int = 60) -> list[dict]:
    return [event(f"question {n}", f"answer {n} " * 20, n % 3 > 0) for n in range(count)]


def some_pairs(count: int = 20) -> list[dict]:
    return [pair(f"duel {n}", f"yes {n}", f"no {n}") for n in range(count)]


def prepared(folder: Path, events: list[dict], pairs: list[dict]) -> tuple[pl.DataFrame, list[TextTable]]:
    """Candidates with their split, in their one order, and their texts."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = split(table(*of_events(events), *of_pairs(pairs)), SplitConfig(test_fraction=0.2)).kept
    texts = [
        TextTable(tuple(write_events(folder, events)), "event_id", {"completion": "completion"}),
        TextTable(tuple(write_pairs(folder, pairs)), "pair_id", {"a": "response_a", "b": "response_b"}),
    ]
    return rows, texts


def exported(
    folder: Path, *, seed: int = 0, events: list[dict] | None = None, pairs: list[dict] | None = None, **config: float
) -> ExportResult:
    rows, texts = prepared(
        folder, some_events() if events is None else events, some_pairs() if pairs is None else pairs
    )
    return export(rows, texts, folder / "out", ExportConfig(**config), seed=seed)


def read_back(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted((folder / "out" / "data").glob("*.parquet"))])


def content(column: str) -> pl.Expr:
    return pl.col(column).list.last().struct.field("content")
