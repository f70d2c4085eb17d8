"""The dataset of pairs within a dataset of labelled answers: the same splits, and shards, manifest and card of its own.

    dataset/data/...  manifest.json           rows of caps ─► split ─► rebalance ─► export
    dataset/preference/data/...  manifest.json                 └────► pairs ─────► export

It is finished before the dataset that it lies in, whose manifest is the last file of all.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from feedback.config import ExportConfig
from feedback.dataset.folders import finish_dataset
from feedback.engine import read_rows, write_parquet
from feedback.export import PAIRS, ExportResult, Part, TextTable, export
from feedback.stage import counted
from schemas import __version__
from schemas.manifest import PREFERENCE_FOLDER, Manifest, SourceFile
from schemas.progress import Progress, silent
from schemas.reasons import DropReason
from schemas.report import LabelCounts, StageReport

__all__ = ["copy_preference", "export_preference"]


def export_preference(
    pairs: Sequence[Part],
    texts: Sequence[TextTable],
    folder: Path,
    config: ExportConfig,
    reports: Sequence[StageReport],
    *,
    sources: tuple[SourceFile, ...],
    described: dict[str, Any],
    seed: int = 0,
    progress: Progress = silent,
) -> Manifest:
    """Write pairs into the dataset in `folder`, and return the manifest of what was written.

    Args:
        pairs: rows of `schemas.datasets.PAIR_CANDIDATE`.
        texts: where their texts lie.
        folder: folder of the dataset of labelled answers.
        config: the wanted size of shards, and how much text is held in memory.
        reports: those of the stages before, `pairs` last.
        sources: the raw files.
        described: what the manifest says of the config.
        seed: decides the order of pairs.
        progress: told about every pair read and written.
    """
    place = folder / PREFERENCE_FOLDER
    write = partial(export, layout=PAIRS, seed=seed, digest_in=reports[-1].digest_out, progress=progress)
    exported = write(pairs, texts, place, config)
    alike = _answers_alike(place, exported) if config.redact else []
    if alike:
        is_alike = pl.col("row_id").is_in(alike)
        rows = pl.concat([part if isinstance(part, pl.DataFrame) else read_rows(part) for part in pairs])
        shutil.rmtree(place / "data")
        exported = _with_dropped(write(rows.filter(~is_alike), texts, place, config), rows.filter(is_alike), place)
    manifest = Manifest(
        digest=exported.report.digest_out,
        dataset_type="preference",
        thumbline_version=__version__,
        sources=sources,
        stages=(*reports, exported.report),
        shards=exported.shards,
        config=described,
    )
    finish_dataset(place, manifest)
    return manifest


def _answers_alike(place: Path, exported: ExportResult) -> list[str]:
    """Ids of the pairs in which one text stands twice; nobody can learn from them, and no trainer takes them."""
    shards = [
        pl.read_parquet(place / shard.path, columns=["row_id", "chosen", "rejected"], glob=False)
        for shard in exported.shards
    ]
    return [row_id for shard in shards for row_id in shard.filter(pl.col("chosen") == pl.col("rejected"))["row_id"]]


def _with_dropped(exported: ExportResult, dropped: pl.DataFrame, place: Path) -> ExportResult:
    """What was exported, and in its report the pairs that were not."""
    stage = place / "stages" / "export"
    stage.mkdir(parents=True)
    reason = DropReason.REDACTED_ALIKE.value
    write_parquet(dropped.with_columns(drop_reason=pl.lit(reason)), stage / "dropped-00000.parquet")
    report = exported.report
    note = f"{counted(dropped.height, 'pair')} left out: without personal data both answers are the same."
    changed = replace(
        report,
        rows_in=report.rows_in + dropped.height,
        labels_in=LabelCounts(unlabelled=report.rows_in + dropped.height),
        dropped={reason: dropped.height},
        notes=(*report.notes, note),
    )
    return ExportResult(exported.shards, changed)


def copy_preference(parent_folder: Path, parent: Manifest, folder: Path) -> StageReport | None:
    """Copy the pairs of a dataset into another one of the same splits, and return the report that its manifest needs.

    Args:
        parent_folder: the dataset's folder.
        parent: its manifest.
        folder: folder of the new dataset.
    """
    if parent.has_pairs:
        shutil.copytree(parent_folder / PREFERENCE_FOLDER, folder / PREFERENCE_FOLDER)
    return parent.pairs
