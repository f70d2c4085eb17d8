"""Which names are those of data files: in a folder, in an object store, in a repository."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Final

from schemas.manifest import MANIFEST_NAME

__all__ = ["SUFFIXES", "data_names", "inner_datasets", "matches_glob", "other_names", "plain_suffix"]

SUFFIXES: Final = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".feather")
"""What is read of a folder, also with `.gz` or `.zst` behind it."""

_DATA: Final = "data/"
_SHARD: Final = re.compile(r"(.+)/data/[^/]+-\d+-of-\d+\.parquet")


def data_names(names: Iterable[str]) -> list[str]:
    """Those of the names in a folder that are data files, sorted; of a curated dataset only its shards.

    What is hidden, or in a folder that is being written (`.partial`), is none, nor is what lies in a curated dataset
    below the folder.

    >>> data_names(["b.csv", "a/c.jsonl.gz", ".cache/d.json", "out.partial/e.csv", "README.md"])
    ['a/c.jsonl.gz', 'b.csv']

    Args:
        names: paths of files relative to the folder, with `/`.
    """
    return [name for name in _visible_names(names) if plain_suffix(name) in SUFFIXES]


def other_names(names: Iterable[str]) -> list[str]:
    """Those of the names in a folder that are neither data files nor hidden, sorted; none of a curated dataset.

    >>> other_names(["b.csv", "b.csv.1", ".cache/d.json"])
    ['b.csv.1']

    Args:
        names: paths of files relative to the folder, with `/`.
    """
    return [name for name in _visible_names(names) if plain_suffix(name) not in SUFFIXES]


def inner_datasets(names: Iterable[str]) -> list[str]:
    """The curated datasets below a folder, sorted: folders with a manifest and shards. They are results, not sources.

    >>> inner_datasets(["b.csv", "out/manifest.json", "out/data/train-00000-of-00001.parquet", "x/manifest.json"])
    ['out']
    """
    known = set(names)
    found = {match[1] for match in map(_SHARD.fullmatch, known) if match and f"{match[1]}/{MANIFEST_NAME}" in known}
    return sorted(name for name in found if not _is_hidden(name))


def _visible_names(names: Iterable[str]) -> list[str]:
    """The names that are not hidden, sorted; of a curated dataset only those of its shards, of one below none."""
    known = sorted(names, key=lambda name: PurePosixPath(name).parts)
    if MANIFEST_NAME in known and any(name.startswith(_DATA) for name in known):
        known = [name for name in known if name.startswith(_DATA)]
    results = tuple(f"{name}/" for name in inner_datasets(known))
    return [name for name in known if not name.startswith(results) and not _is_hidden(name)]


def plain_suffix(name: str) -> str:
    """The suffix of a name without that of its compression, in lower case.

    >>> plain_suffix("votes.CSV.gz")
    '.csv'
    """
    return PurePosixPath(name.lower().removesuffix(".gz").removesuffix(".zst")).suffix


def matches_glob(name: str, pattern: str) -> bool:
    """Whether a path matches a glob, in which `*` stays within a folder and `**` does not.

    >>> [matches_glob(name, "logs/**/*.csv") for name in ("logs/a.csv", "logs/x/y/a.csv", "a.csv")]
    [True, True, False]
    """
    return _matches(name.split("/"), pattern.split("/"))


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[start:], pattern[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _is_hidden(name: str) -> bool:
    """Whether a file is hidden, or of something that is being written."""
    return any(part.startswith(".") or part.endswith(".partial") for part in PurePosixPath(name).parts)
