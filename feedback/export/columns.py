"""Every column of a dataset to be, in runs: those without text made of the rows, those with text read from their files.

rows, part by part ──────────────► runs
text files, a chunk at a time ───► runs of each column of answers, those of the first with their prompts
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa

from feedback.config import ExportConfig
from feedback.engine import read_rows
from feedback.export.layout import Layout
from feedback.export.plan import ExportPlan
from feedback.export.runs import Run, keep_run
from feedback.export.shards import Columns
from feedback.export.text_files import TextTable
from feedback.export.texts import TextChunk, find_texts, id_keys, read_texts
from schemas.progress import Advance

__all__ = ["Export", "Part", "Redaction", "in_threads", "make_columns", "read_keys", "select"]

Part = pl.DataFrame | Path
"""Some of the rows: a table, or a file of it, see `feedback.engine.read_rows`."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Export:
    """What is exported.

    Args:
        parts: the rows.
        texts: where their texts lie.
        keys: what is known of every row at once, with its `place`.
        plan: where every row goes.
        layout: which table it is.
        scratch: where runs lie that are too many for memory; null keeps them there.
        with_raters: whether rows say on whom they rest.
    """

    parts: Sequence[Part]
    texts: Sequence[TextTable]
    keys: pl.DataFrame
    plan: ExportPlan
    layout: Layout
    scratch: Path | None
    with_raters: bool

    def path(self, name: str, number: int) -> Path | None:
        """Where a run lies."""
        return None if self.scratch is None else self.scratch / f"{name}-{number:05d}.arrow"


@dataclass(slots=True)
class Redaction:
    """Redacts batches of texts, from several threads, where the config asks for it.

    Args:
        config: whether, and what is looked for.
        counts: finds replaced, by kind, of each batch.
    """

    config: ExportConfig
    counts: list[Counter[str]] = field(default_factory=list)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch, redacted where that is wanted.

        Args:
            batch: columns of turns, and `tools`.
        """
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


def read_keys(parts: Sequence[Part], layout: Layout) -> pl.DataFrame:
    """What is known of every row at once: some hundred bytes each.

    Args:
        parts: the rows.
        layout: which table they become.
    """
    texts = [
        column
        for name, (text_id, side) in layout.answers.items()
        for column in (
            pl.col(side).alias(f"{name}_side"),
            *(key.name.prefix(f"{name}_") for key in id_keys(text_id)),
        )
    ]
    chars = pl.sum_horizontal(layout.chars).alias("chars")
    return pl.concat([select(part, *layout.decided, chars, *texts) for part in parts])


def make_columns(made: Export, redact: Redaction, advance: Advance) -> Columns:
    """Every column, in runs; those that hold no text first.

    Args:
        made: what is exported.
        redact: replaces personal data in texts.
        advance: told about every text read.
    """
    if made.scratch is not None:
        shutil.rmtree(made.scratch, ignore_errors=True)
        made.scratch.mkdir(parents=True)
    plan, first = made.plan, next(iter(made.layout.answers))

    def run_of_rows(task: tuple[int, Part, int, int]) -> Run:
        """The columns without text of a part."""
        number, part, start, stop = task
        places = plan.places[start:stop]
        order = np.argsort(places)
        rows = made.layout.rows(select(part, *made.layout.read), order, with_raters=made.with_raters)
        return keep_run(rows, places[order], plan.starts, made.path("rows", number))

    def run_of_texts(task: tuple[int, str, TextChunk]) -> Run:
        """The texts of a chunk."""
        number, answer, chunk = task
        texts = read_texts(chunk)
        # The prompt is taken once, so that what is found in it to redact counts once too.
        texts = texts if answer == first else texts.select(["completion"])
        named = redact(texts).rename_columns([answer if name == "completion" else name for name in texts.schema.names])
        return keep_run(named, chunk.places, plan.starts, made.path(answer, number))

    with ThreadPoolExecutor(1) as beside:
        chunks = beside.submit(_find_all_texts, made)
        rows = list(in_threads(run_of_rows, _with_borders(made.parts)))
    found = chunks.result()
    runs: dict[str, list[Run]] = {answer: [] for answer in made.layout.answers}
    tasks = [(number, answer, chunk) for number, (answer, chunk) in enumerate(found)]
    for (_, answer, _), run in zip(tasks, in_threads(run_of_texts, tasks), strict=True):
        runs[answer].append(run)
        advance(run.places.size)
    return [(_names(rows), rows), *((_names(of_answer), of_answer) for of_answer in runs.values())]


def _find_all_texts(made: Export) -> list[tuple[str, TextChunk]]:
    """The texts of each column of answers, those of the first with their prompts."""
    found = []
    for answer in made.layout.answers:
        wanted = made.keys.select(
            pl.col(f"{answer}_high").alias("high"),
            pl.col(f"{answer}_low").alias("low"),
            pl.col(f"{answer}_side").alias("text_side"),
            "place",
        )
        found += [(answer, chunk) for chunk in find_texts(made.texts, wanted)]
    return found


def _names(runs: Sequence[Run]) -> list[str]:
    """Every column that one of the runs has."""
    return list(dict.fromkeys(name for run in runs for name in run.schema.names))


def select(part: Part, *columns: str | pl.Expr) -> pl.DataFrame:
    """Some columns of a part.

    Args:
        part: the part.
        columns: the columns.
    """
    return (part if isinstance(part, pl.DataFrame) else read_rows(part)).select(columns)


def _with_borders(parts: Sequence[Part]) -> Iterator[tuple[int, Part, int, int]]:
    """Each part with its number and the numbers of its first row and of the one after its last."""
    start = 0
    for number, part in enumerate(parts):
        stop = start + int(select(part, pl.len()).item())
        yield number, part, start, stop
        start = stop


def in_threads(work: Callable[[T], R], tasks: Iterable[T], spare: int = 0) -> Iterator[R]:
    """The results in the order of the tasks. Polars and Arrow let go of the interpreter while they work.

    Args:
        work: what is done with each task.
        tasks: the tasks.
        spare: threads beyond one for each core.
    """
    pool = ThreadPoolExecutor(pl.thread_pool_size() + spare)
    try:
        yield from pool.map(work, tasks)
    finally:
        pool.shutdown(cancel_futures=True)
