"""What the texts of a run are compared as, and with what other texts.

They are compared without personal data where that is taken out, and with the rows of a frozen evaluation set.

    tables of ingest ──redacted_keys──► keys, sketches of the texts as they will be exported ─┐
    shards of a frozen set ──sketch_frozen──► keys, sketches of the same form ────────────────┴─► clusters

Redaction makes alike what was not: "write to a@x.org" and "write to b@x.org" are one prompt then, on one side of the
split, and one answer, whose rows are merged or contradict each other as any two do. So keys are taken of the redacted
texts, and every stage decides by them. Where a frozen set was redacted and the run is not, both are compared without
personal data too: nothing else tells its prompts. No text is kept here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa

from feedback.config import CurateConfig
from feedback.dataset.frozen import FrozenSet, FrozenShard, FrozenTask, read_frozen, sketch_frozen
from feedback.engine import StagedEngine, write_arrow
from feedback.ingest import IngestResult, SketchSettings
from feedback.ingest.keys import event_keys, pair_keys
from feedback.ingest.turn_hashes import list_hashes
from feedback.near import Sketches, SketchFile, write_sketches

__all__ = ["Compared", "RedactTask", "RedactedKeys", "redacted_keys"]

_EVENT_TEXTS: Final = ("prompt", "completion")
_PAIR_TEXTS: Final = ("prompt", "response_a", "response_b")
_PLAIN: Final = pl.CompatLevel.oldest()


@dataclass(frozen=True, slots=True)
class Compared:
    """How texts are compared in a run.

    Args:
        sketch: for which near-duplicates texts are sketched; null where none are looked for.
        redactions: what texts go through before: for each redaction the regions of its telephone numbers; none where
            they are compared as they came.
        frozen: the frozen set whose groups are held out; null where there is none.
    """

    sketch: SketchSettings | None
    redactions: tuple[tuple[str, ...], ...]
    frozen: FrozenSet | None

    @classmethod
    def of(cls, config: CurateConfig) -> Compared:
        """As a run's config wants it.

        Raises:
            InputNotFoundError: the folder of the frozen set is no dataset.
            CorruptionError: its shards are not what its manifest says.
        """
        near = config.dedup.match == "near"
        sketch = SketchSettings(config.dedup.near_threshold, config.dedup.shingle_words) if near else None
        frozen = None if config.split.held_out is None else read_frozen(Path(config.split.held_out))
        own = (config.export.phone_regions,) if config.export.redact else ()
        # The run's own comes first, so that what is the same in its shards is the same here, whatever the set's is.
        redactions = dict.fromkeys((*own, *(() if frozen is None else frozen.redactions)))
        return cls(sketch, tuple(redactions), frozen)

    @property
    def sketched_by_ingest(self) -> SketchSettings | None:
        """What `ingest` sketches: nothing where its keys and sketches are made anew."""
        return None if self.redactions else self.sketch

    def keys_of(self, raw: IngestResult, engine: StagedEngine) -> IngestResult:
        """The tables of `ingest` with the keys and sketches that later stages read.

        Args:
            raw: what `ingest` made.
            engine: who reads the texts.
        """
        if not self.redactions:
            return raw
        tables = [*((path, False) for path in raw.events), *((path, True) for path in raw.pairs)]
        folder = engine.folder("redacted")
        tasks = [
            RedactTask(number, path, is_pairs, self.redactions, self.sketch, folder)
            for number, (path, is_pairs) in enumerate(tables)
        ]
        made = engine.run("redacted", redacted_keys, tasks, key=raw.report.digest_out)
        return replace(
            raw,
            event_keys=tuple(one.keys for one in made[: len(raw.events)]),
            pair_keys=tuple(one.keys for one in made[len(raw.events) :]),
            sketches=tuple(chain.from_iterable(one.sketches for one in made)),
        )

    def frozen_shards(self, engine: StagedEngine) -> list[FrozenShard]:
        """Keys and sketches of the frozen set, of the same form; none where there is no set.

        Args:
            engine: who reads its shards.
        """
        if self.frozen is None:
            return []
        threshold, words = (None, 1) if self.sketch is None else (self.sketch.threshold, self.sketch.shingle_words)
        folder = engine.folder("frozen")
        tasks = [
            FrozenTask(number, path, self.redactions, threshold, words, folder)
            for number, path in enumerate(self.frozen.shards)
        ]
        return engine.run("frozen", sketch_frozen, tasks, key=self.frozen.digest)

    def notes_on_texts(self) -> list[str]:
        """What the report of `dedup` says of it."""
        if not self.redactions:
            return []
        return ["Prompts and answers were compared without personal data: what redaction makes alike is the same here."]

    def notes_on_frozen(self) -> list[str]:
        """What the report of `split` says of it."""
        if self.frozen is None or self.sketch is not None:
            return []
        return ["Of the frozen set only the same prompts are held out: nearly the same ones need dedup.match = near."]


@dataclass(frozen=True, slots=True)
class RedactTask:
    """A file of events or of pairs.

    Args:
        number: names what is written.
        path: the file.
        is_pairs: whether its rows are pairs.
        redactions: what its texts go through, see `Compared`.
        sketch: for which near-duplicates texts are sketched; null writes no sketches.
        folder: where keys and sketches go.
    """

    number: int
    path: Path
    is_pairs: bool
    redactions: tuple[tuple[str, ...], ...]
    sketch: SketchSettings | None
    folder: Path


@dataclass(frozen=True, slots=True)
class RedactedKeys:
    """Keys of the rows of a file, see `feedback.ingest.keys`, and files of their sketches."""

    keys: Path
    sketches: tuple[SketchFile, ...]


def redacted_keys(task: RedactTask) -> RedactedKeys:
    """Kernel: keys and sketches of the rows of a file as they are without personal data."""
    with pa.memory_map(str(task.path)) as source:
        table = pa.ipc.open_file(source).read_all()
    table = _redacted(table, _PAIR_TEXTS if task.is_pairs else _EVENT_TEXTS, task.redactions)
    sketches: Sequence[Sketches]
    if task.is_pairs:
        keys, sketches = pair_keys(table, task.sketch)
    else:
        keys, one = event_keys(table, task.sketch)
        sketches = [] if one is None else [one]
    path = write_arrow(keys, task.folder / f"keys-{task.number:05d}.arrow")
    named = ((made, f"{task.number:05d}-{part}") for part, made in enumerate(sketches))
    return RedactedKeys(path, tuple(write_sketches(made, task.folder, name) for made, name in named))


def _redacted(table: pa.Table, names: Sequence[str], redactions: Sequence[tuple[str, ...]]) -> pa.Table:
    """The table with other texts, and their hashes."""
    from feedback.export.redaction import redact_in_turn  # loads phonenumbers

    if not table.num_rows:
        return table
    texts = redact_in_turn(table.select(list(names)).combine_chunks().to_batches()[0], redactions)
    for name in names:
        hashes = list_hashes(texts.column(name)).to_arrow(compat_level=_PLAIN).cast(pa.string())
        for column, values in ((name, texts.column(name)), (f"{name}_hash", hashes)):
            place = table.schema.get_field_index(column)
            table = table.set_column(place, table.schema.field(place), values)
    return table
