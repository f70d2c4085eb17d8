"""A frozen evaluation set: rows that no later dataset may train on, nor on what is nearly the same.

    test split of a dataset ──freeze──► dataset of its own ──read_frozen──► its prompts ──► groups held out by `split`

A group is told by the prompts in it. It may grow, or join another one, as feedback comes in: then all of it is out.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from feedback.dataset.folders import built_folder, finish_dataset, refuse_to_replace
from feedback.dataset.rows import read_curated
from feedback.engine import read_rows
from schemas.errors import EmptySplitError
from schemas.manifest import Manifest, Shard, file_sha256

__all__ = ["FrozenSet", "freeze", "groups_of_frozen", "read_frozen"]


@dataclass(frozen=True, slots=True)
class FrozenSet:
    """What tells the groups of a frozen set.

    Args:
        digest: digest of the set.
        keys: keys of its prompts, and those that its groups were told by when it was made. [N] u64.
    """

    digest: str
    keys: pl.Series


def freeze(dataset: Path, out: Path) -> Manifest:
    """Make the test split of a dataset a dataset of its own, and return its manifest.

    Args:
        dataset: the folder of a curated dataset.
        out: the folder of the frozen set. Where it holds the set of this very dataset, nothing is done.

    Raises:
        EmptySplitError: the dataset has no test split, or one of one label only.
        CorruptionError: its shards are not what its manifest says.
        OutputExistsError: `out` holds something else.
    """
    parent = Manifest.read(dataset)
    shards = tuple(shard for shard in parent.shards if shard.split == "test")
    _refuse_one_label(shards, dataset)
    parent = replace(parent, pairs=None)
    replace(parent, shards=shards).verify(dataset)
    digest = hashlib.blake2b(f"frozen\0{parent.digest}".encode(), digest_size=16).hexdigest()
    manifest = replace(parent, digest=digest, parent_digest=parent.digest, shards=shards, ratio=None)
    if (out / "manifest.json").is_file() and Manifest.read(out).digest == digest:
        return Manifest.read(out)
    refuse_to_replace(out, overwrite=False)
    with built_folder(out) as folder:
        for shard in shards:
            (folder / shard.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(dataset / shard.path, folder / shard.path)
        copied = tuple(replace(shard, sha256=file_sha256(folder / shard.path)) for shard in shards)
        manifest = replace(manifest, shards=copied)
        finish_dataset(folder, manifest)
    return manifest


def read_frozen(folder: Path) -> FrozenSet:
    """What tells the groups of the set in a folder.

    Raises:
        InputNotFoundError: the folder is no dataset.
        CorruptionError: its shards are not what its manifest says.
    """
    manifest = Manifest.read(folder)
    manifest.verify(folder)
    rows = read_curated(folder, manifest)
    # Where texts were redacted for export, the keys of prompts are others; the key that a group was told by is not.
    return FrozenSet(manifest.digest, pl.concat([rows["prompt_key"], rows["group_id"]]).unique().sort())


def groups_of_frozen(frozen: FrozenSet, groups: Path) -> pl.Series:
    """The groups, as they are now, that hold a prompt of a frozen set. [N] u64.

    Args:
        frozen: the set.
        groups: file of the prompts that have near-duplicates, with their group; any other prompt is its own group.
    """
    known = read_rows(groups, ["prompt_key", "group_id"])
    keys = frozen.keys.alias("prompt_key").to_frame()
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
