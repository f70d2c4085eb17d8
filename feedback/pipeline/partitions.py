"""Rows in partitions: kernels that take one partition of a stage to the next, and the files in between.

    keys of ingest ─► clusters, revisions ─► scattered by group of prompts ─► steps ─► kept-* of a partition
                                                                            └─► STAGE/dropped-* of each step
    steps ─► split ─► rebalance ─► kept-*
               └────► pairs ─────► pairs/kept-*

Rows of one group of prompts are always in one partition, so what a stage decides about a group it sees whole. Stages
that need no other partition are steps of one pass: nothing is written between them but what each drops. What a stage
decides about all rows is planned on narrow columns first, see `feedback.pipeline.balance`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from feedback.config import ConvertConfig
from feedback.convert import Keys, convert, find_revisions
from feedback.engine import (
    Scattered,
    in_partition_order,
    partition_numbers,
    read_rows,
    rows_of_partition,
    scatter,
    write_arrow,
    write_parquet,
)
from feedback.near import SketchFile, find_clusters
from feedback.pairs import comparisons_of
from feedback.stage import StageResult
from schemas.report import StageReport

__all__ = [
    "ClusterTask",
    "Clusters",
    "ConvertTask",
    "KeysTask",
    "PartTask",
    "ScatteredKeys",
    "Step",
    "balance_part",
    "comparisons_file",
    "convert_part",
    "find_all_clusters",
    "kept_file",
    "number_of_partitions",
    "scatter_keys",
]

Step = Callable[..., StageResult]
"""A stage on one partition: `step(rows, digest_in=...)`."""

_ROWS_A_PARTITION: Final = 150_000
_GROUPS: Final = {"prompt_key": pl.UInt64(), "group_id": pl.UInt64()}
_ANSWERS: Final = {"prompt_key": pl.UInt64(), "completion_key": pl.UInt64(), "cluster_id": pl.UInt64()}


def number_of_partitions(rows: int) -> int:
    """Partitions for so many rows: of 150,000 each at most, on average."""
    return max(1, -(-rows // _ROWS_A_PARTITION))


@dataclass(frozen=True, slots=True)
class ClusterTask:
    """What tells which prompts, answers and records belong together.

    Args:
        event_keys: files of the keys of events, pair_keys: of pairs.
        sketches: files of sketches; none where near-duplicates are not wanted.
        threshold: least similarity of near-duplicates.
        memory_mb: memory for candidate pairs, in MiB.
        folder: where the tables go.
    """

    event_keys: tuple[Path, ...]
    pair_keys: tuple[Path, ...]
    sketches: tuple[SketchFile, ...]
    threshold: float
    memory_mb: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Clusters:
    """Files of what was found; they hold only what is not alone.

    Args:
        groups: prompts with near-duplicates, and their group; those of a partition side by side.
        answers: answers with near-duplicates, and their cluster; those of a partition side by side.
        event_revisions: records with several events, and the latest one.
        pair_revisions: the same of pairs.
        figures: what near-duplicates were found.
    """

    groups: Path
    answers: Path
    event_revisions: Path
    pair_revisions: Path
    figures: dict[str, int]


def find_all_clusters(task: ClusterTask) -> Clusters:
    """Kernel: find what belongs together, over all partitions."""
    figures: dict[str, int] = {}
    groups, answers = pl.DataFrame(schema=_GROUPS), pl.DataFrame(schema=_ANSWERS)
    with ThreadPoolExecutor(1) as pool:
        revisions = pool.map(find_revisions, (task.event_keys, task.pair_keys))
        if task.sketches:
            found = find_clusters(task.sketches, threshold=task.threshold, memory_mb=task.memory_mb)
            groups, answers, figures = found.prompts, found.answers, dict(found.figures)
        of_events, of_pairs = revisions
    return Clusters(
        groups=write_arrow(in_partition_order(groups, _groups_of(groups, groups)), task.folder / "groups.arrow"),
        answers=write_arrow(in_partition_order(answers, _groups_of(answers, groups)), task.folder / "answers.arrow"),
        event_revisions=write_parquet(of_events, task.folder / "event-revisions.parquet"),
        pair_revisions=write_parquet(of_pairs, task.folder / "pair-revisions.parquet"),
        figures=figures,
    )


@dataclass(frozen=True, slots=True)
class KeysTask:
    """Some files of keys, to be scattered into partitions."""

    number: int
    event_keys: tuple[Path, ...]
    pair_keys: tuple[Path, ...]
    groups: Path
    partitions: int
    folder: Path


@dataclass(frozen=True, slots=True)
class ScatteredKeys:
    """The pieces that one task wrote."""

    events: Scattered
    pairs: Scattered


def scatter_keys(task: KeysTask) -> ScatteredKeys:
    """Kernel: the keys of each partition into a file of its own."""
    groups = read_rows(task.groups, ["prompt_key", "group_id"])

    def scattered(files: Sequence[Path], name: str) -> Scattered:
        """The pieces of some files."""
        if not files:
            return Scattered(())
        keys = _read(files)
        numbers = partition_numbers(_groups_of(keys, groups), task.partitions)
        return scatter(keys, numbers, task.folder / name, f"{task.number:05d}")

    return ScatteredKeys(scattered(task.event_keys, "events"), scattered(task.pair_keys, "pairs"))


@dataclass(frozen=True, slots=True)
class ConvertTask:
    """The keys of one partition.

    Args:
        number: which partition, from 0.
        partitions: number of partitions.
        event_keys: files of the keys of its events, pair_keys: of its pairs.
        clusters: what belongs together.
        folder: where its rows go.
        config: settings of the stage.
        digest_in: digest of the stage before.
        with_comparisons: whether who was compared with whom is written too.
    """

    number: int
    partitions: int
    event_keys: tuple[Path, ...]
    pair_keys: tuple[Path, ...]
    clusters: Clusters
    folder: Path
    config: ConvertConfig
    digest_in: str
    with_comparisons: bool = False


def convert_part(task: ConvertTask, steps: Sequence[Step] = ()) -> list[StageReport]:
    """Kernel: the labelled rows of one partition, and the steps behind them; a report of each."""
    found = task.clusters
    revisions = [pl.read_parquet(path, glob=False) for path in (found.event_revisions, found.pair_revisions)]
    keys = Keys(
        events=_read(task.event_keys),
        pairs=_read(task.pair_keys),
        revisions=pl.concat([part for part in revisions if part.width] or [pl.DataFrame()]),
        groups=rows_of_partition(found.groups, task.number, task.partitions),
        clusters=rows_of_partition(found.answers, task.number, task.partitions),
    )
    first = convert(keys, task.config, digest_in=task.digest_in)
    if task.with_comparisons:
        comparisons = comparisons_of(first.kept, first.dropped)
        path = comparisons_file(task.folder, task.number)
        path.parent.mkdir(exist_ok=True)
        write_arrow(comparisons, path)
    return [result.report for result in _each_step(first, steps, task.folder, task.number)]


@dataclass(frozen=True, slots=True)
class PartTask:
    """The rows of one partition.

    Args:
        number: which partition, from 0.
        rows: where they lie.
        folder: where those go that the steps keep and drop.
        digest_in: digest of the stage before.
        comparisons: where its comparisons lie; null where no pairs are wanted.
    """

    number: int
    rows: Path
    folder: Path
    digest_in: str
    comparisons: Path | None = None


def balance_part(task: PartTask, steps: Sequence[Step], pair: Step) -> list[StageReport]:
    """Kernel: caps, split and rebalance on one partition, and beside the last one pairs; a report of each, pairs last.

    Args:
        task: the rows.
        steps: the three stages.
        pair: makes pairs of what `split` leaves: `pair(rows, comparisons, digest_in=...)`.
    """
    first, *others = steps
    reports, of_pairs = [], []
    start = first(read_rows(task.rows), digest_in=task.digest_in)
    for result in _each_step(start, others, task.folder, task.number):
        reports.append(result.report)
        if result.report.stage == "split" and task.comparisons is not None:
            pairs = pair(result.kept, read_rows(task.comparisons), digest_in=result.report.digest_out)
            _write_aside(pairs, task.folder / "pairs", task.number)
            of_pairs = [pairs.report]
    return [*reports, *of_pairs]


def _each_step(result: StageResult, steps: Sequence[Step], folder: Path, number: int) -> Iterator[StageResult]:
    """The result of each step; what it dropped is written at once, what was kept behind the last one."""
    for step in (*steps, None):
        stage = folder / result.report.stage
        stage.mkdir(exist_ok=True)
        write_parquet(result.dropped, stage / f"dropped-{number:05d}.parquet")
        yield result
        if step is not None:
            result = step(result.kept, digest_in=result.report.digest_out)
    _write_kept(result.kept, kept_file(folder, number))


def _write_aside(result: StageResult, folder: Path, number: int) -> None:
    """Write what a stage kept and dropped that no other stage follows."""
    folder.mkdir(exist_ok=True)
    write_parquet(result.dropped, folder / f"dropped-{number:05d}.parquet")
    _write_kept(result.kept, kept_file(folder, number))


def _write_kept(rows: pl.DataFrame, path: Path) -> None:
    """Write rows that stay in the dataset: in types that every reader of Arrow knows, pandas too, so without views."""
    write_arrow(rows.to_arrow(compat_level=pl.CompatLevel.oldest()), path)


def kept_file(folder: Path, number: int) -> Path:
    """The file of the rows that a stage kept of a partition: quick to write, and to read for the next stage."""
    return folder / f"kept-{number:05d}.arrow"


def comparisons_file(folder: Path, number: int) -> Path:
    """The file of the comparisons of a partition."""
    return folder / "comparisons" / f"comparisons-{number:05d}.arrow"


def _read(files: Sequence[Path]) -> pl.DataFrame:
    # In one piece: rows are taken out of several in ten times the time.
    return pl.concat([read_rows(path) for path in files], rechunk=True) if files else pl.DataFrame()


def _groups_of(keys: pl.DataFrame, groups: pl.DataFrame) -> pl.Series:
    prompts = keys.select("prompt_key")
    if not groups.height:
        return prompts.to_series()
    joined = prompts.join(groups, on="prompt_key", how="left", maintain_order="left")
    return joined.select(pl.coalesce("group_id", "prompt_key")).to_series()
