"""Tables that are kept on disk are read again, and built anew where the file is missing, damaged, old or another's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedback.near import kept_tables
from feedback.near.code_points import TABLE_SIZE, _build, code_points

SIZES = {"kinds": 4}


class Builder:
    """Builds small tables and counts how often."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> Mapping[str, Any]:
        self.count += 1
        return {"kinds": np.arange(4, dtype=np.uint8), "expansions": np.array([7], np.uint32)}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setattr(kept_tables, "user_cache_dir", lambda _: str(folder))
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.py"
    path.touch()
    os.utime(path, (0, 0))
    return path


def test_tables_are_built_once(cache: Path, source: Path) -> None:
    build = Builder()
    first, second = (kept_tables.kept_tables(build, source, SIZES) for _ in range(2))
    assert build.count == 1
    assert {name: table.tolist() for name, table in second.items()} == {"kinds": [0, 1, 2, 3], "expansions": [7]}
    assert {name: table.dtype for name, table in second.items()} == {name: one.dtype for name, one in first.items()}
    assert [path.suffix for path in cache.iterdir()] == [".npz"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "another size", "older"])
def test_a_file_that_cannot_be_used_is_built_anew(cache: Path, source: Path, damage: str) -> None:
    build = Builder()
    kept_tables.kept_tables(build, source, SIZES)
    (path,) = cache.iterdir()
    data = path.read_bytes()
    sizes = SIZES
    if damage == "cut":
        path.write_bytes(data[:-40])
    elif damage == "flipped":
        at = data.index(b"\x00\x01\x02\x03")
        path.write_bytes(data[:at] + b"\x09" + data[at + 1 :])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "older":
        os.utime(source)
    else:
        sizes = {"kinds": 5}
    again = kept_tables.kept_tables(build, source, sizes)
    assert build.count == 2
    assert again["kinds"].tolist() == [0, 1, 2, 3]


def test_where_nothing_can_be_written_tables_are_built(cache: Path, source: Path) -> None:
    cache.write_text("a file where the folder should be")
    assert kept_tables.kept_tables(Builder(), source, SIZES)["kinds"].tolist() == [0, 1, 2, 3]


def test_the_tables_of_code_points_are_those_that_are_built() -> None:
    built = _build()
    assert all((getattr(code_points(), name) == table).all() for name, table in built.items())
    assert len(code_points().kinds) == TABLE_SIZE
