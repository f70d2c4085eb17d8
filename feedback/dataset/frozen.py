"""A frozen evaluation set: rows that no later dataset may train on, nor on what is nearly the same.

    test split of a dataset ──freeze──► dataset of its own ──read_frozen──► its shards ──sketch_frozen──► keys, sketches
                                                                                                         │
    keys, sketches of a later run's rows ─► near-duplicates among both ─► groups_of_frozen ─► held out by `split`

A group is told by the prompts in it. It may grow, or join another one, as feedback comes in: then all of it is out.
The rows of the set take part in every search for near-duplicates, so it does not matter whether their own prompts come
in again. Everything is made of the texts in its shards anew, as the later run compares texts: nothing else is kept.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow.parquet as pq

from feedback.dataset.folders import built_folder, finish_dataset
from feedback.dataset.outputs import claimed_output
from feedback.dataset.redacted import redactions_of
from feedback.engine import read_rows, write_arrow
from feedback.flat_text import flat_text
from feedback.hashing import row_keys
from feedback.near import SketchFile, sketch_texts, text_keys, write_sketches
from schemas.errors import EmptySplitError, ShapeError
from schemas.manifest import Manifest, Shard, file_sha256
from schemas.paths import AnyPath, path_of

__all__ = ["FrozenSet", "FrozenShard", "FrozenTask", "freeze", "groups_of_frozen", "read_frozen", "sketch_frozen"]

_COLUMNS: Final = ("prompt", "completion", "group_id")
_BATCH_ROWS: Final = 50_000


@dataclass(frozen=True, slots=True)
class FrozenSet:
    """A frozen set, whole.

    Args:
        digest: digest of the set.
        shards: its shards.
        redactions: for each time that personal data was taken out of its texts, the regions whose telephone numbers
            were looked for.
    """

    digest: str
    shards: tuple[Path, ...]
    redactions: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class FrozenTask:
    """A shard of a frozen set, to be compared with the rows of a run.

    Args:
        number: names what is written.
        path: the shard.
        redactions: what its texts go through before they are compared, see `FrozenSet`.
        threshold: least similarity of near-duplicates; null where none are looked for.
        shingle_words: words in a shingle.
        folder: where keys and sketches go.
    """

    number: int
    path: Path
    redactions: tuple[tuple[str, ...], ...]
    threshold: float | None
    shingle_words: int
    folder: Path


@dataclass(frozen=True, slots=True)
class FrozenShard:
    """What a shard is compared by.

    Args:
        keys: file with `prompt_key`: of its prompts, and those that its groups were told by when it was made.
        sketches: files of sketches of its rows; none where near-duplicates are not looked for.
    """

    keys: Path
    sketches: tuple[SketchFile, ...]


def freeze(dataset: AnyPath, out: AnyPath) -> Manifest:
    """Make the test split of a dataset a dataset of its own, and return its manifest.

    Of a dataset that was made of a store the set holds rows too: `Store.register_dataset` records it there, else
    `thumbline forget` does not find it. `thumbline retrain` does so.

    Args:
        dataset: the folder of a curated dataset.
        out: the folder of the frozen set. Where it holds the set of this very dataset, nothing is done; where that is
            damaged, it is made again.

    Raises:
        EmptySplitError: the dataset has no test split, or one of one label only.
        CorruptionError: its shards are not what its manifest says.
        OutputExistsError: `out` holds something else.
        LockedError: another run makes a dataset there, or has just made one.
    """
    dataset, out = path_of(dataset, name="dataset"), path_of(out, name="out")
    parent = Manifest.read(dataset)
    shards = tuple(shard for shard in parent.shards if shard.split == "test")
    _refuse_one_label(shards, dataset)
    parent = replace(parent, pairs=None)
    replace(parent, shards=shards).verify(dataset)
    digest = hashlib.blake2b(f"frozen\0{parent.digest}".encode(), digest_size=16).hexdigest()
    manifest = replace(parent, digest=digest, parent_digest=parent.digest, shards=shards, ratio=None)
    with claimed_output(out, lambda known: known.digest == digest, by_any_version=True) as claim:
        if claim.found is not None:
            return claim.found
        with built_folder(claim.place, overwrite=claim.overwrite) as folder:
            for shard in shards:
                (folder / shard.path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(dataset / shard.path, folder / shard.path)
            copied = tuple(replace(shard, sha256=file_sha256(folder / shard.path)) for shard in shards)
            manifest = replace(manifest, shards=copied)
            finish_dataset(folder, manifest)
    return manifest


def read_frozen(folder: AnyPath) -> FrozenSet:
    """The set in a folder; of a set that an earlier version made, nothing is lacking.

    Raises:
        InputNotFoundError: the folder is no dataset.
        CorruptionError: its shards are not what its manifest says.
    """
    folder = path_of(folder, name="folder")
    manifest = Manifest.read(folder)
    manifest.verify(folder)
    shards = tuple(folder.resolve() / shard.path for shard in manifest.shards)
    return FrozenSet(manifest.digest, shards, redactions_of(manifest))


def sketch_frozen(task: FrozenTask) -> FrozenShard:
    """Kernel: keys and sketches of the rows of a shard, a batch at a time.

    Raises:
        ShapeError: the shard lacks a column.
    """
    keys = [pl.Series("prompt_key", [], dtype=pl.UInt64)]
    sketches = []
    with pq.ParquetFile(task.path) as file:
        missing = {*_COLUMNS} - {*file.schema_arrow.names}
        if missing:
            raise ShapeError(f"columns are missing: {', '.join(sorted(missing))}", where=task.path)
        for number, batch in enumerate(file.iter_batches(_BATCH_ROWS, columns=list(_COLUMNS))):
            texts = batch.select(["prompt", "completion"])
            if task.redactions:
                from feedback.export.redaction import redact_in_turn  # loads phonenumbers

                texts = redact_in_turn(texts, task.redactions)
            prompts, completions = (flat_text(column) for column in texts.columns)
            if task.threshold is None:
                found, _ = text_keys(prompts)
            else:
                made = sketch_texts(prompts, completions, shingle_words=task.shingle_words, threshold=task.threshold)
                found = made.prompt_key
                sketches.append(write_sketches(made, task.folder, f"{task.number:05d}-{number:05d}"))
            keys += [pl.Series("prompt_key", found), row_keys(pl.Series(batch.column("group_id"))).rename("prompt_key")]
    table = pl.concat(keys).unique().sort().to_frame()
    return FrozenShard(write_arrow(table, task.folder / f"keys-{task.number:05d}.arrow"), tuple(sketches))


def groups_of_frozen(shards: Sequence[FrozenShard], groups: Path) -> pl.Series:
    """The groups, as they are now, that hold a prompt of a frozen set. [N] u64.

    Args:
        shards: the shards of the set.
        groups: file of the prompts that have near-duplicates, those of the set among them, with their group; any other
            prompt is its own group.
    """
    known = read_rows(groups, ["prompt_key", "group_id"])
    keys = pl.concat([pl.DataFrame(schema={"prompt_key": pl.UInt64}), *(read_rows(shard.keys) for shard in shards)])
    joined = keys.join(known, on="prompt_key", how="left") if known.height else keys.with_columns(group_id=None)
    return joined.select(pl.coalesce("group_id", "prompt_key").cast(pl.UInt64)).to_series().unique().sort()


def _refuse_one_label(shards: Sequence[Shard], dataset: Path) -> None:
    desirable, undesirable = (sum(getattr(shard, name) for shard in shards) for name in ("desirable", "undesirable"))
    if not desirable or not undesirable:
        raise EmptySplitError(
            f"the test split has {desirable:,} desirable and {undesirable:,} undesirable rows",
            where=dataset,
            expected="rows of both labels to freeze",
            todo="Curate more feedback, or hold out more with split.test_fraction",
        )
