"""The order of the stages, from raw files to the rows that are exported.

    ingest ─► clusters ─► keys ─► convert ─► dedup ─► conflicts ─► caps ─► split ─► rebalance

Each stage runs over all partitions before the next one begins. What it made lies in its folder, so a run that was
interrupted goes on behind the last stage that is whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import polars as pl

from feedback.caps import apply_caps, caps_columns, caps_narrow, caps_plan
from feedback.caps.notes import caps_notes
from feedback.config import CurateConfig, DedupConfig
from feedback.conflicts import conflict_notes, resolve_conflicts
from feedback.convert import convert_notes
from feedback.dedup import dedup, dedup_notes
from feedback.engine import Scattered, StagedEngine, read_rows
from feedback.engine.local import usable_cores
from feedback.engine.staging import STAGE_FILE
from feedback.export import TextTable
from feedback.gates import refuse_unusable
from feedback.ingest import SketchSettings, ingest
from feedback.pipeline.partitions import (
    Clusters,
    ClusterTask,
    ConvertTask,
    KeysTask,
    PartTask,
    apply_to_part,
    convert_part,
    find_all_clusters,
    kept_file,
    number_of_partitions,
    scatter_keys,
)
from feedback.rebalance import apply_rebalance, merge_rebalance, narrow_columns, rebalance_plan
from feedback.split import apply_split, split_notes, split_plan
from feedback.stage import StageResult, merge_reports
from schemas.manifest import write_last
from schemas.progress import Progress
from schemas.report import StageReport

__all__ = ["Stages"]

_EVENT_TEXT: Final = ("event_id", {"completion": "completion"})
_PAIR_TEXT: Final = ("pair_id", {"a": "response_a", "b": "response_b"})
_FILES_A_TASK: Final = 16


class Stages:
    """The stages of one run, one after the other, each over all partitions.

    Args:
        config: sources and settings.
        engine: who runs the stages and keeps what they made.
        progress: told about every stage.
    """

    def __init__(self, config: CurateConfig, engine: StagedEngine, progress: Progress) -> None:
        self.reports: list[StageReport] = []
        self.parts: list[Path] = []
        self._config = config
        self._engine = engine
        self._progress = progress

    def through_all(self) -> None:
        """From the raw files to the rows that are exported.

        Raises:
            DataGateError: rows of one label only, an empty split, or a ratio that cannot be reached.
        """
        self.to_rows()
        config, seed = self._config, self._config.seed
        with self._progress("curate", 5) as advance:
            self._stage("dedup", lambda digest: partial(dedup, config=config.dedup, digest_in=digest), dedup_notes)
            advance(1)
            self._stage(
                "conflicts",
                lambda digest: partial(resolve_conflicts, config=config.conflicts, digest_in=digest),
                lambda figures: conflict_notes(figures, config.conflicts),
            )
            advance(1)
            caps = caps_plan(self._narrow_for_caps(), config.caps, seed=seed)
            self._stage(
                "caps",
                lambda digest: partial(apply_caps, plan=caps, digest_in=digest),
                lambda figures: caps_notes(figures, caps),
            )
            advance(1)
            groups = split_plan(self._gather_columns(("group_id", "label")), config.split, seed=seed)
            self._stage(
                "split",
                lambda digest: partial(apply_split, plan=groups, digest_in=digest),
                lambda figures: split_notes(figures, config.split),
            )
            advance(1)
            refuse_unusable(self.reports, config.split.test_fraction)
            ratio = rebalance_plan(self._gather_columns(narrow_columns(config.rebalance)), config.rebalance, seed=seed)
            parts = self._run("rebalance", lambda digest: partial(apply_rebalance, plan=ratio, digest_in=digest))
            self.reports.append(replace(merge_rebalance(parts, ratio), digest_in=self.reports[-1].digest_out))
            advance(1)

    def to_rows(self) -> None:
        """From the raw files to labelled rows."""
        config = self._config
        self.raw = ingest(
            config.sources,
            self._engine.folder("ingest"),
            max_rejected_share=config.ingest.max_rejected_share,
            sketch=_sketch(config.dedup),
            engine=self._engine,
            progress=self._progress,
        )
        self.reports = [self.raw.report]
        with self._progress("clusters", None):
            clusters = self._clusters()
        folder = self._engine.folder("convert")
        digest = self.raw.report.digest_out
        scattered = self._scattered(clusters)
        tasks = [
            ConvertTask(number, len(scattered), events, pairs, clusters, folder, config.convert, digest)
            for number, (events, pairs) in enumerate(scattered)
        ]
        parts = self._engine.run("convert", convert_part, tasks)
        self.parts = [kept_file(folder, task.number) for task in tasks]
        self.reports.append(_merged(parts, digest, convert_notes))

    def texts(self) -> list[TextTable]:
        """Where the texts of the rows lie."""
        return [TextTable(self.raw.events, *_EVENT_TEXT), TextTable(self.raw.pairs, *_PAIR_TEXT)]

    def dropped(self, name: str) -> list[Path]:
        """The files of the rows that a stage dropped."""
        return sorted(self._engine.folder(name).glob("dropped-*.parquet"))

    def settle(self, folder: Path) -> None:
        """Move what stays of every stage to `folder`, with its report, and remove the rest.

        What a stage kept, the next one kept or dropped: so of kept rows only the last stage's stay.
        """
        for report in self.reports:
            stage = folder / report.stage
            stage.parent.mkdir(parents=True, exist_ok=True)
            self._engine.folder(report.stage).rename(stage)
            write_last(stage / "report.json", report.to_json())
        read = (report.stage for report in self.reports[:-1])
        spent = ("ingest/event-keys-*", "ingest/pair-keys-*", "ingest/sketches/*", *(f"{name}/kept-*" for name in read))
        with ThreadPoolExecutor(usable_cores()) as pool:
            list(pool.map(Path.unlink, (path for name in spent for path in folder.glob(name))))
        for path in (folder / "ingest" / "sketches", *folder.glob(f"*/{STAGE_FILE}")):
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        shutil.rmtree(self._engine.root.parent)

    def _clusters(self) -> Clusters:
        dedup_config = self._config.dedup
        task = ClusterTask(
            event_keys=self.raw.event_keys,
            pair_keys=self.raw.pair_keys,
            sketches=self.raw.sketches,
            threshold=dedup_config.near_threshold,
            memory_mb=dedup_config.near_memory_mb,
            folder=self._engine.folder("clusters"),
        )
        return self._engine.run("clusters", find_all_clusters, [task])[0]

    def _scattered(self, clusters: Clusters) -> list[tuple[tuple[Path, ...], tuple[Path, ...]]]:
        """For each partition, the files with the keys of its events and its pairs."""
        events, pairs = self.raw.event_keys, self.raw.pair_keys
        partitions = number_of_partitions(self.raw.report.rows_kept)
        if partitions == 1:
            return [(events, pairs)]
        batches = -(-max(len(events), len(pairs)) // _FILES_A_TASK)
        tasks = [
            KeysTask(
                number,
                events[number::batches],
                pairs[number::batches],
                clusters.groups,
                partitions,
                self._engine.folder("keys"),
            )
            for number in range(batches)
        ]
        written = self._engine.run("keys", scatter_keys, tasks)
        return [
            (_pieces([one.events for one in written], number), _pieces([one.pairs for one in written], number))
            for number in range(partitions)
        ]

    def _stage(
        self,
        name: str,
        step: Callable[[str], Callable[[pl.DataFrame], StageResult]],
        notes: Callable[[Mapping[str, Any]], Iterable[str]],
    ) -> None:
        digest = self.reports[-1].digest_out
        self.reports.append(_merged(self._run(name, step), digest, notes))

    def _run(self, name: str, step: Callable[[str], Callable[[pl.DataFrame], StageResult]]) -> list[StageReport]:
        digest = self.reports[-1].digest_out
        folder = self._engine.folder(name)
        tasks = [PartTask(number, rows, folder) for number, rows in enumerate(self.parts)]
        found = self._engine.run(name, partial(apply_to_part, step=step(digest)), tasks, key=digest)
        self.parts = [kept_file(folder, task.number) for task in tasks]
        return found

    def _narrow_for_caps(self) -> pl.DataFrame:
        config = self._config.caps
        columns = caps_columns(config)
        return pl.concat([caps_narrow(read_rows(path, columns), config) for path in self.parts])

    def _gather_columns(self, columns: Sequence[str]) -> pl.DataFrame:
        return pl.concat([read_rows(path, columns) for path in self.parts])


def _sketch(config: DedupConfig) -> SketchSettings | None:
    return SketchSettings(config.near_threshold, config.shingle_words) if config.match == "near" else None


def _merged(
    parts: Sequence[StageReport], digest_in: str, notes: Callable[[Mapping[str, Any]], Iterable[str]]
) -> StageReport:
    report = merge_reports(parts)
    return replace(report, digest_in=digest_in, notes=tuple(notes(report.figures)))


def _pieces(written: Sequence[Scattered], number: int) -> tuple[Path, ...]:
    return tuple(piece.path for one in written for piece in one.pieces if piece.partition == number)
