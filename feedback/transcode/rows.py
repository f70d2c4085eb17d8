"""The ingested rows as a writer takes them: events and answers of pairs with a label, or pairs with a winner."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from feedback.formats.writers import Writer
from feedback.ingest import IngestResult
from feedback.transcode.tally import Tally
from feedback.transcode.vote_pairs import pair_events
from schemas.reasons import DropReason

__all__ = ["present_columns", "rows_of"]

_BATCH_ROWS: Final = 2_000


def rows_of(
    raw: IngestResult, writer: Writer, tally: Tally, advance: Callable[[int], object]
) -> Iterator[dict[str, Any]]:
    """The rows that `writer` is given, those that it cannot be given counted.

    Args:
        raw: the tables to read.
        writer: takes labelled rows or pairs.
        tally: counts what is left out, and rows that were made of pairs.
        advance: told how many rows were read.
    """
    if writer.kind == "events":
        yield from _labelled(raw, writer, tally, advance)
        return
    for row in _read(raw.pairs, advance):
        if row["outcome"] in ("a", "b"):
            yield _oriented(row)
        else:
            tally.drop(DropReason.TIE)
    if raw.events:
        pairs, drops = pair_events(raw.events)
        tally.dropped.update(drops)
        for pair in pairs:
            yield pair
            advance(2)


def _labelled(
    raw: IngestResult, writer: Writer, tally: Tally, advance: Callable[[int], object]
) -> Iterator[dict[str, Any]]:
    for row in _read(raw.events, advance):
        if row["op"] == "retract" and not writer.takes_unlabelled:
            tally.drop(DropReason.RETRACTED)
        elif row["label"] is None and not writer.takes_unlabelled:
            tally.drop(DropReason.NEUTRAL)
        else:
            yield row
    for row in _read(raw.pairs, advance):
        if row["outcome"] in ("tie", "abstain"):
            tally.drop(DropReason.TIE)
            continue
        tally.created += 1
        for side in ("a", "b"):
            yield _answer(row, side)


def _answer(pair: dict[str, Any], side: str) -> dict[str, Any]:
    """One side of a pair as an event."""
    row = {name: value for name, value in pair.items() if not name.endswith(("_a", "_b")) and name != "flags"}
    return {
        **row,
        "source_record_id": f"{pair['source_record_id']}/{side}",
        "op": "create",
        "completion": pair[f"response_{side}"],
        "label": pair["outcome"] == side,
        "model_id": pair[f"model_{side}"],
        "score": pair[f"score_{side}"],
    }


def _oriented(pair: dict[str, Any]) -> dict[str, Any]:
    """A pair with its winner as `chosen`."""
    sides = ("a", "b") if pair["outcome"] == "a" else ("b", "a")
    row = {name: value for name, value in pair.items() if not name.endswith(("_a", "_b"))}
    for name, side in zip(("chosen", "rejected"), sides, strict=True):
        row[name] = pair[f"response_{side}"]
        row[f"score_{name}"] = pair[f"score_{side}"]
        row[f"model_{name}"] = pair[f"model_{side}"]
    return row


def _read(paths: Sequence[Path], advance: Callable[[int], object]) -> Iterator[dict[str, Any]]:
    for path in paths:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        for batch in table.to_batches(_BATCH_ROWS):
            yield from batch.to_pylist()
            advance(batch.num_rows)


def present_columns(writer: Writer, raw: IngestResult) -> pa.Schema:
    """The writer's schema without the columns that no row can have a value for."""
    if writer.kind == "events":
        optional = {"tools": "tools"}
    else:
        optional = {"tools": "tools", "score_chosen": "score_a", "score_rejected": "score_b", "margin": "margin"}
    empty = {
        name
        for name, column in optional.items()
        if not any(_has_values(path, column) for path in (*raw.events, *raw.pairs))
    }
    return pa.schema([one for one in writer.schema or () if one.name not in empty])


def _has_values(path: Path, column: str) -> bool:
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    return column in table.column_names and table.column(column).null_count < table.num_rows
