"""The files of one block's events and pairs, with their keys and sketches beside them: what later stages read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from feedback.engine import write_arrow
from feedback.ingest.keys import SketchSettings, event_keys, outcome_sum, pair_keys
from feedback.near import Sketches, SketchFile, write_sketches

__all__ = ["TableFiles", "write_tables"]


@dataclass(frozen=True, slots=True)
class TableFiles:
    """What was written of a block.

    Args:
        ups: events that say up; labelled: events that say up or down.
        sketches: files of sketches.
        outcome: sum of what all rows say, see `feedback.ingest.keys.outcome_sum`.
    """

    ups: int
    labelled: int
    sketches: tuple[SketchFile, ...]
    outcome: int


def write_tables(
    folder: Path,
    number: int,
    events: pa.Table,
    pairs: pa.Table,
    settings: SketchSettings | None,
    *,
    with_keys: bool = True,
) -> TableFiles:
    """Write the tables of a block, each whole or not at all; none for a table without rows.

    Args:
        folder: where they go.
        number: which block it is, from 0; names its files.
        events: rows of `schemas.events.FEEDBACK_EVENT`.
        pairs: rows of `schemas.pairs.PREFERENCE_PAIR`.
        settings: for which near-duplicates texts are sketched; None writes no sketches.
        with_keys: whether keys are written too, and an outcome is summed up.
    """
    made: list[Sketches] = []
    outcome = 0

    def write(name: str, rows: pl.DataFrame | pa.Table) -> None:
        """Write one table."""
        if len(rows):
            write_arrow(rows, folder / f"{name}-{number:05d}.arrow")

    write("events", events)
    write("pairs", pairs)
    if events.num_rows and with_keys:
        keys, sketches = event_keys(events, settings)
        outcome += outcome_sum(keys)
        write("event-keys", keys)
        made += [] if sketches is None else [sketches]
    if pairs.num_rows and with_keys:
        keys, more = pair_keys(pairs, settings)
        outcome += outcome_sum(keys)
        write("pair-keys", keys)
        made += more
    label = events.column("label")
    return TableFiles(
        ups=int(pl.Series(label).sum() or 0),
        labelled=len(label) - label.null_count,
        sketches=() if settings is None else _write_sketches(made, folder / "sketches", number),
        outcome=outcome,
    )


def _write_sketches(made: list[Sketches], folder: Path, number: int) -> tuple[SketchFile, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    return tuple(write_sketches(sketches, folder, f"{number:05d}-{part}") for part, sketches in enumerate(made))
