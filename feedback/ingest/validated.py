"""Rows that were validated before, in Parquet files, as the stage `ingest` gives them: same tables, keys and digest.

Parquet files ─► row groups ─► kernel ─► events-*, pairs-*, keys, sketches
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from feedback.engine import Engine, written_whole
from feedback.ingest.keys import SketchSettings
from feedback.ingest.outcome import outcome_digest
from feedback.ingest.stage import IngestResult, table_paths
from feedback.ingest.table_files import write_tables
from feedback.near import SketchFile, preload
from schemas.error_text import first_line
from schemas.errors import CorruptionError
from schemas.events import FEEDBACK_EVENT
from schemas.manifest import SourceFile
from schemas.pairs import PREFERENCE_PAIR
from schemas.quarantine import QUARANTINE
from schemas.reasons import DropReason
from schemas.report import LabelCounts, StageReport

__all__ = ["GroupsResult", "GroupsTask", "ValidatedFiles", "ingest_validated", "read_groups"]

_ROWS_A_TASK: Final = 40_000


@dataclass(frozen=True, slots=True)
class ValidatedFiles:
    """Parquet files with the columns of the schemas; further columns are left out.

    Args:
        events: rows of `schemas.events.FEEDBACK_EVENT`.
        pairs: rows of `schemas.pairs.PREFERENCE_PAIR`.
        quarantine: rows of `schemas.quarantine.QUARANTINE`.
        sources: the raw files behind them.
        config: what the report says of where they come from, JSON values.
        notes: what else it says.
    """

    events: tuple[Path, ...]
    pairs: tuple[Path, ...]
    quarantine: tuple[Path, ...]
    sources: tuple[SourceFile, ...]
    config: dict[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupsTask:
    """Some row groups of a file.

    Args:
        number: names what is written.
        path: the file.
        groups: numbers of the row groups.
        is_pairs: whether the rows are pairs.
        folder: where the tables go.
        sketch: for which near-duplicates texts are sketched; None writes no sketches.
    """

    number: int
    path: Path
    groups: tuple[int, ...]
    is_pairs: bool
    folder: Path
    sketch: SketchSettings | None


@dataclass(frozen=True, slots=True)
class GroupsResult:
    """What some row groups gave, see `feedback.ingest.block.BlockResult`."""

    events: int
    pairs: int
    ups: int
    labelled: int
    sketches: tuple[SketchFile, ...]
    outcome: int


def ingest_validated(
    files: ValidatedFiles, *, folder: Path, sketch: SketchSettings | None, engine: Engine
) -> IngestResult:
    """The tables of validated rows in `folder`, as `feedback.ingest.ingest` would have written them.

    Args:
        files: where the rows lie.
        folder: a stage's folder of `engine`.
        sketch: for which near-duplicates texts are sketched; None makes no sketches.
        engine: who reads them.

    Raises:
        CorruptionError: a file is damaged.
    """
    preload()
    results = engine.run("ingest", read_groups, list(_tasks(files, folder, sketch)))
    quarantined = _copy_quarantine(files.quarantine, folder)
    events, pairs = sum(one.events for one in results), sum(one.pairs for one in results)
    ups, labelled = sum(one.ups for one in results), sum(one.labelled for one in results)
    rejected = sum(quarantined.values())
    report = StageReport(
        stage="ingest",
        rows_in=events + pairs + rejected,
        rows_created=0,
        rows_kept=events + pairs,
        dropped={DropReason.QUARANTINED.value: rejected} if rejected else {},
        labels_in=LabelCounts(unlabelled=events + pairs + rejected),
        labels_kept=LabelCounts(ups, labelled - ups, events - labelled + pairs),
        digest_out=outcome_digest([one.outcome for one in results], events, pairs),
        config=files.config,
        notes=files.notes,
        figures={"events": events, "pairs": pairs, "rejected": quarantined},
    )
    return IngestResult(
        folder=folder,
        events=table_paths(folder, "events"),
        pairs=table_paths(folder, "pairs"),
        quarantine=table_paths(folder, "quarantine"),
        event_keys=table_paths(folder, "event-keys"),
        pair_keys=table_paths(folder, "pair-keys"),
        sketches=tuple(sketches for one in results for sketches in one.sketches),
        report=report,
        rejected=quarantined,
        source_files=files.sources,
    )


def read_groups(task: GroupsTask) -> GroupsResult:
    """Kernel: write the tables of some row groups.

    Raises:
        CorruptionError: the file is damaged.
    """
    schema = PREFERENCE_PAIR if task.is_pairs else FEEDBACK_EVENT
    try:
        with pq.ParquetFile(task.path, page_checksum_verification=True) as file:
            rows = file.read_row_groups(list(task.groups), columns=schema.names, use_threads=False)
    except (OSError, pa.ArrowInvalid) as error:
        raise CorruptionError(f"the file is damaged ({first_line(error)})", where=task.path) from error
    rows = rows.select(schema.names).cast(schema).combine_chunks()
    events, pairs = (FEEDBACK_EVENT.empty_table(), rows) if task.is_pairs else (rows, PREFERENCE_PAIR.empty_table())
    written = write_tables(task.folder, task.number, events, pairs, task.sketch)
    return GroupsResult(
        events.num_rows, pairs.num_rows, written.ups, written.labelled, written.sketches, written.outcome
    )


def _tasks(files: ValidatedFiles, folder: Path, sketch: SketchSettings | None) -> Iterator[GroupsTask]:
    number = 0
    for paths, is_pairs in ((files.events, False), (files.pairs, True)):
        for path in paths:
            for groups in _batches(path):
                yield GroupsTask(number, path, groups, is_pairs, folder, sketch)
                number += 1


def _batches(path: Path) -> Iterator[tuple[int, ...]]:
    """Row groups, as many together as give about the rows of a block."""
    metadata = pq.read_metadata(path)
    batch: list[int] = []
    rows = 0
    for group in range(metadata.num_row_groups):
        batch.append(group)
        rows += metadata.row_group(group).num_rows
        if rows >= _ROWS_A_TASK:
            yield tuple(batch)
            batch, rows = [], 0
    if batch:
        yield tuple(batch)


def _copy_quarantine(paths: Sequence[Path], folder: Path) -> dict[str, int]:
    """Write what was quarantined beside the tables; how many by reason."""
    if not paths:
        return {}
    table = pa.concat_tables([pq.read_table(path, columns=QUARANTINE.names) for path in paths])
    with written_whole(folder / "quarantine-00000.parquet") as partial:
        pq.write_table(table, partial, compression="zstd", write_statistics=False, write_page_checksum=True)
    counts = table.group_by("reason").aggregate([("reason", "count")]).to_pylist()
    return {one["reason"]: one["reason_count"] for one in sorted(counts, key=lambda one: one["reason"])}
