"""Stage `export`: text joins the rows again, and Parquet shards are written.

    rows, part by part ───keys──► the plan: order, shards, row groups
           │                           │
           ├──columns without text──► runs ─┐
    text files, a chunk at a time ──► runs ─┴─ a row group at a time ──► data/train-00000-of-00004.parquet

Text is read once. Memory holds the keys, and either all texts, where they are few, or a few row groups. The manifest is
not written here: it comes last.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa

from feedback.config import ExportConfig
from feedback.export.columns import Export, Part, Redaction, in_threads, make_columns, read_keys, select
from feedback.export.layout import ROWS, Layout
from feedback.export.plan import plan_export
from feedback.export.shards import write_shard
from feedback.export.text_files import TextTable
from feedback.hashing import stage_digest
from feedback.stage import counted
from schemas.datasets import OPTIONAL_COLUMNS
from schemas.manifest import Shard
from schemas.progress import Advance, Progress, silent
from schemas.report import LabelCounts, StageReport
from schemas.settings import settings_to_dict

__all__ = ["ExportResult", "Part", "TextTable", "export"]

_IDLE: Final = {"memory_mb", "raters"}
"""Settings that decide nothing about rows: they are not in the digest. Keys of raters differ between installations."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The shards, train first, and the report."""

    shards: tuple[Shard, ...]
    report: StageReport


def export(
    candidates: pl.DataFrame | Sequence[Part],
    texts: Sequence[TextTable],
    folder: Path,
    config: ExportConfig,
    *,
    layout: Layout = ROWS,
    seed: int = 0,
    digest_in: str = "",
    progress: Progress = silent,
) -> ExportResult:
    """Shards of one of the curated tables in `folder/data`, in an order that mixes labels and sources.

    The same rows give the same bytes, whatever parts they come in and in whatever order their texts lie.

    Args:
        candidates: rows of `schemas.datasets.CANDIDATE`, or of `PAIR_CANDIDATE`, with their split, each `row_id` once:
            a table, or parts of it.
        texts: where their texts lie.
        folder: the dataset's folder.
        config: the wanted size of shards, and how much text is held in memory.
        layout: which of the tables it is.
        seed: decides the order of rows.
        digest_in: digest of the stage before.
        progress: told about every row read and written.

    Raises:
        CorruptionError: a row's text is missing, or breaks the rules of the table, or a row is there twice.
    """
    parts = [candidates] if isinstance(candidates, pl.DataFrame) else list(candidates)
    keys = read_keys(parts, layout)
    plan = plan_export(
        keys,
        lambda: pl.concat([select(part, "row_id") for part in parts])["row_id"],
        shard_mb=config.shard_mb,
        seed=seed,
    )
    keys = keys.with_columns(place=plan.places)
    scratch = None if keys["chars"].sum() <= config.memory_mb * 1e6 else folder / "parts"
    redact = Redaction(config)
    made = Export(parts, texts, keys, plan, layout, scratch, config.raters)
    with progress("export", (1 + len(layout.answers)) * keys.height) as advance:
        shards = _write_shards(made, redact, folder, advance)
    if scratch is not None:
        shutil.rmtree(scratch)
    return ExportResult(shards, _report(keys, shards, config, seed, digest_in, redact, layout))


def _write_shards(made: Export, redact: Redaction, folder: Path, advance: Advance) -> tuple[Shard, ...]:
    columns = make_columns(made, redact, advance)
    found = {name for names, _ in columns for name in names}
    schema = pa.schema([one for one in made.layout.schema if one.name in found or one.name not in OPTIONAL_COLUMNS])
    (folder / "data").mkdir(parents=True, exist_ok=True)
    shards = []
    # One more than there are cores: else the last shard is often written while the other cores are idle.
    write = partial(write_shard, plan=made.plan, columns=columns, folder=folder, schema=schema, rules=made.layout.rules)
    for shard in in_threads(write, made.plan.shards, spare=1):
        shards.append(shard)
        advance(shard.rows)
    return tuple(shards)


def _report(
    keys: pl.DataFrame,
    shards: tuple[Shard, ...],
    config: ExportConfig,
    seed: int,
    digest_in: str,
    redact: Redaction,
    layout: Layout,
) -> StageReport:
    described = {**settings_to_dict(config), "seed": seed}
    idle = _IDLE if config.redact else _IDLE | {"redact", "phone_regions"}
    deciding = {name: value for name, value in described.items() if name not in idle}
    labels = LabelCounts(unlabelled=keys.height)
    if "label" in keys.columns:
        desirable = int(keys["label"].sum())
        labels = LabelCounts(desirable, keys.height - desirable)
    size = sum(shard.bytes for shard in shards)
    figures: dict[str, Any] = {"shards": len(shards), "bytes": size, **redact.figures()}
    return StageReport(
        stage="export",
        rows_in=keys.height,
        rows_created=0,
        rows_kept=keys.height,
        dropped={},
        labels_in=labels,
        labels_kept=labels,
        digest_in=digest_in,
        digest_out=stage_digest(digest_in, "export", deciding, keys.sort("place"), layout.decided),
        config=described,
        notes=tuple(_notes(keys.height, len(shards), figures)),
        figures=figures,
    )


def _notes(rows: int, shards: int, figures: Mapping[str, Any]) -> Iterator[str]:
    yield f"{counted(rows, 'row')} in {counted(shards, 'shard')} of {figures['bytes']:,} bytes together."
    if "redacted" in figures:
        from feedback.export.redaction import redaction_notes

        yield from redaction_notes(figures["redacted"])
