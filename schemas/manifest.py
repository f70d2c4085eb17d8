"""The manifest of a dataset: what it holds, where it came from and what was done, written last.

A folder with a manifest is whole; a folder without one is not a dataset. No clock and no machine is in it, so the same
input, config and version give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from schemas.errors import CorruptionError, InputError, InputNotFoundError
from schemas.paths import AnyPath, path_of
from schemas.report import StageReport

__all__ = [
    "MANIFEST_NAME",
    "PREFERENCE_FOLDER",
    "Manifest",
    "Ratio",
    "Shard",
    "SourceFile",
    "file_sha256",
    "flush_to_disk",
    "write_last",
]

MANIFEST_NAME: Final = "manifest.json"
PREFERENCE_FOLDER: Final = "preference"
"""Folder within a dataset of labelled answers that holds the pairs of the same answers, as a dataset of its own."""

FORMAT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A raw file that was read: its name (never its folder), format, sha256, size and records."""

    name: str
    format: str
    sha256: str
    bytes: int
    records: int


@dataclass(frozen=True, slots=True)
class Shard:
    """One Parquet file of a dataset: path inside the folder, split, rows by label, size, sha256."""

    path: str
    split: str
    rows: int
    desirable: int
    undesirable: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Ratio:
    """R = lambda_D n_D / (lambda_U n_U) of the training split, and the range it was wanted in."""

    desirable: int
    undesirable: int
    desirable_weight: float
    undesirable_weight: float
    low: float
    high: float

    @property
    def value(self) -> float:
        """R, or infinity where there is no undesirable row."""
        lower = self.undesirable_weight * self.undesirable
        return self.desirable_weight * self.desirable / lower if lower else float("inf")

    @property
    def is_in_range(self) -> bool:
        """Whether R lies in [low, high], to within rounding of floats."""
        return self.low * (1 - 1e-9) <= self.value <= self.high * (1 + 1e-9)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that is known of a dataset.

    Args:
        digest: digest of the last stage, 32 hex digits: it follows from sources, configs, seed and rows.
        dataset_type: `unpaired_preference` or `preference`.
        thumbline_version: version that wrote it.
        sources: the raw files.
        stages: the report of every stage, in order.
        shards: the Parquet files, train first.
        ratio: the label ratio of the training split; null for pairs.
        config: the resolved config of the whole run.
        parent_digest: digest of the dataset that this one was made from, if any.
        pairs: the report of the stage `pairs`, which made the dataset in `PREFERENCE_FOLDER` beside the last stages;
            null where nobody looked for pairs. Where it kept none, there is no such dataset.
    """

    digest: str
    dataset_type: str
    thumbline_version: str
    sources: tuple[SourceFile, ...]
    stages: tuple[StageReport, ...]
    shards: tuple[Shard, ...]
    ratio: Ratio | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    parent_digest: str = ""
    pairs: StageReport | None = None
    format_version: int = FORMAT_VERSION

    @property
    def has_pairs(self) -> bool:
        """Whether a dataset of pairs lies in `PREFERENCE_FOLDER`."""
        return self.pairs is not None and self.pairs.rows_kept > 0

    def to_dict(self) -> dict[str, Any]:
        """JSON values of this manifest."""
        values = asdict(self)
        values["stages"] = [stage.to_dict() for stage in self.stages]
        values["pairs"] = None if self.pairs is None else self.pairs.to_dict()
        if self.ratio is not None:
            values["ratio"]["value"] = self.ratio.value
        return values

    def to_json(self) -> str:
        """This manifest as indented JSON with sorted keys."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Manifest:
        """The manifest that `to_dict` described."""
        known = dict(values)
        ratio = dict(known["ratio"]) if known.get("ratio") else None
        if ratio is not None:
            ratio.pop("value", None)
        return cls(
            digest=known["digest"],
            dataset_type=known["dataset_type"],
            thumbline_version=known["thumbline_version"],
            sources=tuple(SourceFile(**source) for source in known["sources"]),
            stages=tuple(StageReport.from_dict(stage) for stage in known["stages"]),
            shards=tuple(Shard(**shard) for shard in known["shards"]),
            ratio=None if ratio is None else Ratio(**ratio),
            config=known.get("config", {}),
            parent_digest=known.get("parent_digest", ""),
            pairs=StageReport.from_dict(known["pairs"]) if known.get("pairs") else None,
            format_version=known.get("format_version", FORMAT_VERSION),
        )

    def write(self, folder: AnyPath) -> Path:
        """Write this manifest into `folder`, last and atomically, and return its path."""
        path = path_of(folder, name="folder") / MANIFEST_NAME
        write_last(path, self.to_json())
        return path

    @classmethod
    def read(cls, folder: AnyPath) -> Manifest:
        """The manifest of `folder`.

        Raises:
            InputNotFoundError: the folder has none, so it is not a (whole) dataset.
            InputError: a newer version of thumbline wrote it.
            CorruptionError: the file is not a manifest.
        """
        path = path_of(folder, name="folder") / MANIFEST_NAME
        if not path.is_file():
            raise InputNotFoundError(
                f"no {MANIFEST_NAME} in the folder, so it is not a whole dataset",
                where=path.parent,
                todo="Name a folder that `thumbline curate` finished, or run it again",
            )
        try:
            values = json.loads(path.read_text("utf-8"))
            _refuse_newer(values, path)
            return cls.from_dict(values)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CorruptionError(f"the manifest cannot be read ({error})", where=path) from error

    def verify(self, folder: AnyPath) -> None:
        """Check every shard's presence, size and sha256, also those of the pairs beside it.

        Raises:
            CorruptionError: a shard is missing, outside the folder, or not the bytes that were written.
        """
        folder = path_of(folder, name="folder")
        root = folder.resolve()
        for shard in self.shards:
            path = (folder / shard.path).resolve()
            if not path.is_relative_to(root):
                raise CorruptionError("the manifest names a file outside its folder", where=folder, received=shard.path)
            if not path.is_file():
                raise CorruptionError("a shard is missing", where=folder / shard.path)
            if path.stat().st_size != shard.bytes or file_sha256(path) != shard.sha256:
                raise CorruptionError(
                    "a shard is not what the manifest says",
                    where=folder / shard.path,
                    expected=f"{shard.bytes} bytes with sha256 {shard.sha256}",
                    todo="Restore the file or curate again",
                )
        if self.has_pairs:
            self._verify_pairs(folder / PREFERENCE_FOLDER)

    def _verify_pairs(self, folder: Path) -> None:
        if not (folder / MANIFEST_NAME).is_file():
            raise CorruptionError("the dataset of pairs is missing", where=folder, todo="Curate again")
        beside = Manifest.read(folder)
        made_by = {stage.digest_out for stage in beside.stages}
        if self.pairs is None or self.pairs.digest_out not in made_by:
            raise CorruptionError("the dataset of pairs is another one's", where=folder, todo="Curate again")
        beside.verify(folder)


def _refuse_newer(values: Mapping[str, Any], path: Path) -> None:
    """A newer manifest may mean other things by the same keys."""
    if not isinstance(values, Mapping):
        raise TypeError("it is no object of JSON")
    version = values.get("format_version", FORMAT_VERSION)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"its format_version is {version!r}")
    if version > FORMAT_VERSION:
        raise InputError(
            "a newer version of thumbline wrote the dataset",
            where=path,
            received=f"format_version {version}",
            expected=f"at most {FORMAT_VERSION}",
            todo="Update thumbline, or make the dataset anew with this version",
        )


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_last(path: Path, text: str) -> None:
    """Write `text` beside `path`, flush it to disk and rename it into place, so that `path` is whole or absent."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def flush_to_disk(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
