"""The order of the stages, from raw files to the rows that are exported.

    ingest ─► clusters ─► keys ─► rows: convert ─► dedup ─► conflicts ─► balance: caps ─► split ─► rebalance
                                                                                            └────► pairs

`rows` and `balance` are passes of several stages each over every partition. A pass runs over all partitions before the
next one begins. What it made lies in its folder, so a run that was interrupted goes on behind the last pass that is
whole. Before `clusters` stands what `feedback.pipeline.compared` adds: keys of redacted texts, and a frozen set.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from feedback.caps.notes import caps_notes
from feedback.config import CurateConfig
from feedback.conflicts import conflict_notes, resolve_conflicts
from feedback.convert import convert_notes
from feedback.dataset.frozen import groups_of_frozen
from feedback.dedup import dedup, dedup_notes
from feedback.engine import Scattered, StagedEngine
from feedback.engine.local import usable_cores
from feedback.engine.staging import STAGE_FILE
from feedback.export import TextTable
from feedback.ingest import IngestResult, ingest
from feedback.pairs import make_pairs, pair_notes
from feedback.pipeline.balance import BalancePlan, balance_plan
from feedback.pipeline.compared import Compared
from feedback.pipeline.partitions import (
    Clusters,
    ClusterTask,
    ConvertTask,
    KeysTask,
    PartTask,
    Step,
    balance_part,
    comparisons_file,
    convert_part,
    find_all_clusters,
    kept_file,
    number_of_partitions,
    scatter_keys,
)
from feedback.rebalance import merge_rebalance
from feedback.split import split_notes
from feedback.stage import merge_reports
from schemas.manifest import write_last
from schemas.progress import Progress
from schemas.report import StageReport

__all__ = ["Read", "Stages"]

_EVENT_TEXT: Final = ("event_id", {"completion": "completion"})
_PAIR_TEXT: Final = ("pair_id", {"a": "response_a", "b": "response_b"})
_FILES_A_TASK: Final = 16
_ROWS: Final = "rows"
_BALANCE: Final = "balance"
_PASSES: Final = {
    **dict.fromkeys(("convert", "dedup", "conflicts"), _ROWS),
    **dict.fromkeys(("caps", "split", "pairs", "rebalance"), _BALANCE),
}
"""The pass that a stage is a step of."""

Notes = Callable[[Mapping[str, Any]], Iterable[str]]
"""What a report says of its figures."""

Read = Callable[..., IngestResult]
"""Makes the tables: `read(folder=..., sketch=..., engine=...)`, see `feedback.ingest.ingest`."""


class Stages:
    """The stages of one run, one after the other, each over all partitions.

    Args:
        config: sources and settings.
        engine: who runs the stages and keeps what they made.
        progress: told about every stage.
        read: makes the tables that all begins with; null reads the sources of `config`.
    """

    def __init__(
        self, config: CurateConfig, engine: StagedEngine, progress: Progress, *, read: Read | None = None
    ) -> None:
        self.reports: list[StageReport] = []
        self.parts: list[Path] = []
        self.pairs: StageReport | None = None
        self.pair_parts: list[Path] = []
        self._config = config
        self._engine = engine
        self._progress = progress
        self._read = read or partial(
            ingest, config.sources, max_rejected_share=config.ingest.max_rejected_share, progress=progress
        )

    def through_all(self) -> None:
        """From the raw files to the rows that are exported.

        Raises:
            DataGateError: rows of one label only, an empty split, or a ratio that cannot be reached.
        """
        config = self._config
        steps = partial(dedup, config=config.dedup), partial(resolve_conflicts, config=config.conflicts)
        has_pairs = config.pairs.mode != "off"
        notes = (
            lambda figures: [*self._compared.notes_on_texts(), *dedup_notes(figures)],
            lambda figures: conflict_notes(figures, config.conflicts),
        )
        self.to_rows(steps, notes, with_comparisons=has_pairs)
        plan = self._balance_plan()
        digest = self.reports[-1].digest_out
        folder = self._engine.folder(_BALANCE)
        compared = self._engine.folder(_ROWS)
        tasks = [
            PartTask(number, path, folder, digest, comparisons_file(compared, number) if has_pairs else None)
            for number, path in enumerate(self.parts)
        ]
        pair = partial(make_pairs, config=config.pairs, match=config.dedup.match)
        with self._progress("curate", None):
            found = self._engine.run(_BALANCE, partial(balance_part, steps=plan.steps(), pair=pair), tasks, key=digest)
        self.parts = [kept_file(folder, task.number) for task in tasks]
        caps, groups, balanced, *of_pairs = zip(*found, strict=True)
        self._report(caps, lambda figures: caps_notes(figures, plan.caps))
        self._report(groups, lambda figures: [*split_notes(figures, config.split), *self._compared.notes_on_frozen()])
        if of_pairs:
            merged = merge_reports(of_pairs[0])
            notes_of_pairs = tuple(pair_notes(merged.figures))
            self.pairs = replace(merged, digest_in=self.reports[-1].digest_out, notes=notes_of_pairs)
            self.pair_parts = [kept_file(folder / "pairs", task.number) for task in tasks]
        self.reports.append(replace(merge_rebalance(balanced, plan.rebalance), digest_in=self.reports[-1].digest_out))

    def to_rows(
        self, steps: Sequence[Step] = (), notes: Sequence[Notes] = (), *, with_comparisons: bool = False
    ) -> None:
        """From the raw files to labelled rows.

        Args:
            steps: stages that follow `convert` on each partition.
            notes: what the report of each says of its figures.
            with_comparisons: whether who was compared with whom is kept for the stage `pairs`.
        """
        config = self._config
        self._compared = Compared.of(config)
        sketch = self._compared.sketched_by_ingest
        raw = self._read(folder=self._engine.folder("ingest"), sketch=sketch, engine=self._engine)
        self.reports = [raw.report]
        with self._progress("clusters", None):
            self.raw = self._compared.keys_of(raw, self._engine)
            self._frozen = self._compared.frozen_shards(self._engine)
            clusters = self._clusters()
        self._groups = clusters.groups
        folder = self._engine.folder(_ROWS)
        digest = self.raw.report.digest_out
        scattered = self._scattered(clusters)
        tasks = [
            ConvertTask(
                number, len(scattered), events, pairs, clusters, folder, config.convert, digest, with_comparisons
            )
            for number, (events, pairs) in enumerate(scattered)
        ]
        with self._progress("rows", None):
            found = self._engine.run(_ROWS, partial(convert_part, steps=steps), tasks, key=digest)
        self.parts = [kept_file(folder, task.number) for task in tasks]
        for reports, notes_of in zip(zip(*found, strict=True), (convert_notes, *notes), strict=True):
            self._report(reports, notes_of)

    def texts(self) -> list[TextTable]:
        """Where the texts of the rows lie."""
        return [TextTable(self.raw.events, *_EVENT_TEXT), TextTable(self.raw.pairs, *_PAIR_TEXT)]

    def reports_of_pairs(self) -> list[StageReport]:
        """The reports of the stages that pairs went through, `pairs` last; none where none were looked for."""
        if self.pairs is None:
            return []
        before = next(place for place, report in enumerate(self.reports) if report.stage == "split")
        return [*self.reports[: before + 1], self.pairs]

    def dropped(self, stage: str) -> list[Path]:
        """The files of the rows that a stage dropped."""
        return sorted((self._folder_of(stage)).glob("dropped-*.parquet"))

    def settle(self, folder: Path) -> None:
        """Move what stays of every stage to `folder`, with its report, and remove the rest.

        What a stage kept, the next one kept or dropped: so of kept rows only the last stage's stay.
        """
        for report in (*self.reports, *([] if self.pairs is None else [self.pairs])):
            stage = folder / report.stage
            stage.parent.mkdir(parents=True, exist_ok=True)
            self._folder_of(report.stage).rename(stage)
            write_last(stage / "report.json", report.to_json())
        for path in self.parts:
            path.rename(folder / self.reports[-1].stage / path.name)
        spent = ("ingest/event-keys-*", "ingest/pair-keys-*", "ingest/sketches/*")
        with ThreadPoolExecutor(usable_cores()) as pool:
            list(pool.map(Path.unlink, (path for name in spent for path in folder.glob(name))))
        for path in (folder / "ingest" / "sketches", *folder.glob(f"*/{STAGE_FILE}")):
            path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        shutil.rmtree(self._engine.root.parent)

    def _folder_of(self, stage: str) -> Path:
        """The folder of a stage, which may be a step of a pass."""
        of_pass = _PASSES.get(stage)
        return self._engine.folder(stage) if of_pass is None else self._engine.folder(of_pass) / stage

    def _report(self, parts: Sequence[StageReport], notes: Notes) -> None:
        """Append the report of a stage, merged from those of its partitions."""
        report = merge_reports(parts)
        self.reports.append(replace(report, digest_in=self.reports[-1].digest_out, notes=tuple(notes(report.figures))))

    def _balance_plan(self) -> BalancePlan:
        """The plans of the last stages, with the groups of a frozen evaluation set held out."""
        plan = partial(balance_plan, self.parts, self._config, self.reports)
        frozen = self._compared.frozen
        if frozen is None:
            return plan()
        return plan(frozen_groups=groups_of_frozen(self._frozen, self._groups), frozen=frozen.digest)

    def _clusters(self) -> Clusters:
        dedup_config = self._config.dedup
        task = ClusterTask(
            event_keys=self.raw.event_keys,
            pair_keys=self.raw.pair_keys,
            sketches=(*self.raw.sketches, *(one for shard in self._frozen for one in shard.sketches)),
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


def _pieces(written: Sequence[Scattered], number: int) -> tuple[Path, ...]:
    return tuple(piece.path for one in written for piece in one.pieces if piece.partition == number)
