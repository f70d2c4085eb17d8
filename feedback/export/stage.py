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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa

from feedback.config import ExportConfig
from feedback.engine import read_rows
from feedback.export.plan import ExportPlan, plan_export
from feedback.export.rows import ROW_COLUMNS, export_rows
from feedback.export.runs import Run, keep_run
from feedback.export.shards import write_shard
from feedback.export.text_files import TextTable
from feedback.export.texts import TextChunk, find_texts, id_keys, read_texts
from feedback.hashing import stage_digest
from feedback.stage import counted
from schemas.datasets import UNPAIRED_PREFERENCE
from schemas.manifest import Shard
from schemas.progress import Advance, Progress, silent
from schemas.report import LabelCounts, StageReport
from schemas.settings import settings_to_dict

__all__ = ["ExportResult", "Part", "TextTable", "export"]

Part = pl.DataFrame | Path
"""Some of the rows: a table, or a file of it, see `feedback.engine.read_rows`."""

T = TypeVar("T")
R = TypeVar("R")
_DECIDED: Final = ("row_key", "label", "weight", "group_id", "split")


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
    seed: int = 0,
    digest_in: str = "",
    progress: Progress = silent,
) -> ExportResult:
    """Shards of `schemas.datasets.UNPAIRED_PREFERENCE` in `folder/data`, in an order that mixes labels and sources.

    The same rows give the same bytes, whatever parts they come in and in whatever order their texts lie.

    Args:
        candidates: rows of `schemas.datasets.CANDIDATE` with their split, each `row_id` once: a table, or parts of it.
        texts: where their texts lie.
        folder: the dataset's folder.
        config: the wanted size of shards, and how much text is held in memory.
        seed: decides the order of rows.
        digest_in: digest of the stage before.
        progress: told about every row read and written.

    Raises:
        CorruptionError: a row's text is missing, or breaks the rules of the table, or a row is there twice.
    """
    parts = [candidates] if isinstance(candidates, pl.DataFrame) else list(candidates)
    keys = _read_keys(parts)
    plan = plan_export(
        keys,
        lambda: pl.concat([_select(part, "row_id") for part in parts])["row_id"],
        shard_mb=config.shard_mb,
        seed=seed,
    )
    keys = keys.with_columns(place=plan.places)
    scratch = None if keys["chars"].sum() <= config.memory_mb * 1e6 else folder / "parts"
    redact = _Redaction(config)
    with progress("export", 2 * keys.height) as advance:
        rows, text_runs = _make_runs(parts, texts, keys, plan, scratch, redact, advance)
        shards = _write_shards(rows, text_runs, plan, folder, advance)
    if scratch is not None:
        shutil.rmtree(scratch)
    return ExportResult(shards, _report(keys, shards, config, seed, digest_in, redact))


@dataclass(slots=True)
class _Redaction:
    """Redacts batches of texts, from several threads, where the config asks for it."""

    config: ExportConfig
    counts: list[Counter[str]] = field(default_factory=list)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if not self.config.redact:
            return batch
        from feedback.export.redaction import redact_batch  # loads phonenumbers
        from feedback.personal import Redactor

        redactor = Redactor(self.config.phone_regions)
        redacted = redact_batch(batch, redactor)
        self.counts.append(redactor.counts)
        return redacted

    def figures(self) -> dict[str, Any]:
        """Finds replaced, by kind; nothing where nobody looked."""
        total = sum(self.counts, Counter())
        return {"redacted": dict(sorted(total.items()))} if self.config.redact else {}


def _select(part: Part, *columns: str | pl.Expr) -> pl.DataFrame:
    return (part if isinstance(part, pl.DataFrame) else read_rows(part)).select(columns)


def _read_keys(parts: Sequence[Part]) -> pl.DataFrame:
    """What is known of every row at once: less than a hundred bytes each."""
    chars = (pl.col("prompt_chars") + pl.col("completion_chars")).alias("chars")
    return pl.concat([_select(part, *_DECIDED, "text_side", chars, *id_keys("text_id")) for part in parts])


def _make_runs(
    parts: Sequence[Part],
    texts: Sequence[TextTable],
    keys: pl.DataFrame,
    plan: ExportPlan,
    scratch: Path | None,
    redact: _Redaction,
    advance: Advance,
) -> tuple[list[Run], list[Run]]:
    if scratch is not None:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)

    def run_of_rows(task: tuple[int, Part, int, int]) -> Run:
        number, part, start, stop = task
        places = plan.places[start:stop]
        order = np.argsort(places)
        path = None if scratch is None else scratch / f"rows-{number:05d}.arrow"
        return keep_run(export_rows(_select(part, *ROW_COLUMNS), order), places[order], plan.starts, path)

    def run_of_texts(task: tuple[int, TextChunk]) -> Run:
        number, chunk = task
        path = None if scratch is None else scratch / f"texts-{number:05d}.arrow"
        return keep_run(redact(read_texts(chunk)), chunk.places, plan.starts, path)

    with ThreadPoolExecutor(1) as beside:
        chunks = beside.submit(find_texts, texts, keys.select("high", "low", "text_side", "place"))
        rows = list(_in_threads(run_of_rows, _with_borders(parts)))
    text_runs = []
    for run in _in_threads(run_of_texts, enumerate(chunks.result())):
        text_runs.append(run)
        advance(run.places.size)
    return rows, text_runs


def _with_borders(parts: Sequence[Part]) -> Iterator[tuple[int, Part, int, int]]:
    """Each part with its number and the numbers of its first row and of the one after its last."""
    start = 0
    for number, part in enumerate(parts):
        stop = start + int(_select(part, pl.len()).item())
        yield number, part, start, stop
        start = stop


def _write_shards(
    rows: Sequence[Run], texts: Sequence[Run], plan: ExportPlan, folder: Path, advance: Advance
) -> tuple[Shard, ...]:
    has_tools = any("tools" in run.schema.names for run in texts)
    schema = pa.schema([field for field in UNPAIRED_PREFERENCE if has_tools or field.name != "tools"])
    (folder / "data").mkdir(parents=True, exist_ok=True)
    shards = []
    # One more than there are cores: else the last shard is often written while the other cores are idle.
    write = partial(write_shard, plan=plan, rows=rows, texts=texts, folder=folder, schema=schema)
    for shard in _in_threads(write, plan.shards, spare=1):
        shards.append(shard)
        advance(shard.rows)
    return tuple(shards)


def _in_threads(work: Callable[[T], R], tasks: Iterable[T], spare: int = 0) -> Iterator[R]:
    """The results in the order of the tasks. Polars and Arrow let go of the interpreter while they work."""
    pool = ThreadPoolExecutor(pl.thread_pool_size() + spare)
    try:
        yield from pool.map(work, tasks)
    finally:
        pool.shutdown(cancel_futures=True)


def _report(
    keys: pl.DataFrame, shards: tuple[Shard, ...], config: ExportConfig, seed: int, digest_in: str, redact: _Redaction
) -> StageReport:
    described = {**settings_to_dict(config), "seed": seed}
    idle = {"memory_mb"} if config.redact else {"memory_mb", "redact", "phone_regions"}
    deciding = {name: value for name, value in described.items() if name not in idle}
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
        digest_out=stage_digest(digest_in, "export", deciding, keys.sort("place"), _DECIDED),
        config=described,
        notes=tuple(_notes(keys.height, len(shards), figures)),
        figures=figures,
    )


def _notes(rows: int, shards: int, figures: Mapping[str, Any]) -> Iterator[str]:
    yield f"{counted(rows, 'row')} in {counted(shards, 'shard')} of {figures['bytes']:,} bytes together."
    if "redacted" in figures:
        from feedback.export.redaction import redaction_notes

        yield from redaction_notes(figures["redacted"])
