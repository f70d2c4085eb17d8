"""Sketches on disk: three files for each block of rows, written by ingest and read piece by piece.

`NAME.keys.arrow` has the keys of each row and the number of its shingles. `NAME.bands.bin` has the bands one after the
other, those of prompts before those of answers, `NAME.shingles.bin` the hashed shingles of row after row. Both
are bare 32-bit little-endian numbers, so that one band is read at a time, and of the shingles, of which 3,000,000 rows
have gigabytes, only those of candidates.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.near.sketches import Sketches, band_shape
from schemas.errors import ConfigError, InputNotFoundError

__all__ = ["Keys", "SketchFile", "read_band", "read_keys", "sketch_files", "write_sketches"]

_SHAPE: Final = b"thumbline"
_COLUMNS: Final = ("prompt_key", "completion_key", "prompt_shingles", "completion_shingles")


@dataclass(frozen=True)
class SketchFile:
    """Where the sketches of a block lie.

    Args:
        keys: path of the keys; the other two files lie beside it.
    """

    keys: Path

    @property
    def bands(self) -> Path:
        """Path of the bands."""
        return self.keys.with_name(self.keys.name.removesuffix(".keys.arrow") + ".bands.bin")

    @property
    def shingles(self) -> Path:
        """Path of the shingles."""
        return self.keys.with_name(self.keys.name.removesuffix(".keys.arrow") + ".shingles.bin")


@dataclass(frozen=True)
class Keys:
    """Keys and numbers of shingles of the rows of some blocks, one block after the other.

    Args:
        prompt_key: see `Sketches`. [R] uint64.
        completion_key: see `Sketches`. [R] uint64.
        prompt_shingles: shingles of each prompt. [R] uint32.
        completion_shingles: shingles of each completion. [R] uint32.
        rows: rows of each block.
        threshold: similarity that the bands were made for.
    """

    prompt_key: NDArray[np.uint64]
    completion_key: NDArray[np.uint64]
    prompt_shingles: NDArray[np.uint32]
    completion_shingles: NDArray[np.uint32]
    rows: list[int]
    threshold: float


def write_sketches(sketches: Sketches, folder: Path, name: str) -> SketchFile:
    """Write the files of a block; each appears whole or not at all, the keys last.

    Args:
        sketches: sketches of the block.
        folder: an existing folder.
        name: name of the block, unique in the folder.
    """
    file = SketchFile(folder / f"{name}.keys.arrow")
    part = folder / f"{name}.part"
    sketches.shingles.tofile(part)
    part.replace(file.shingles)
    with part.open("wb") as sink:
        sketches.prompt_bands.tofile(sink)
        sketches.answer_bands.tofile(sink)
    part.replace(file.bands)
    lengths = np.ascontiguousarray(sketches.lengths.T)
    # Through polars: Arrow loads pandas before it looks at an array that is not its own.
    columns = (sketches.prompt_key, sketches.completion_key, *lengths)
    keys = pl.DataFrame(dict(zip(_COLUMNS, columns, strict=True))).to_arrow()
    shape = json.dumps(
        {"rows": keys.num_rows, "threshold": sketches.threshold, "shingle_words": sketches.shingle_words}
    )
    with (
        pa.OSFile(str(part), "wb") as sink,
        pa.ipc.new_file(sink, keys.schema.with_metadata({_SHAPE: shape})) as writer,
    ):
        writer.write_table(keys)
    part.replace(file.keys)
    return file


def sketch_files(folder: Path) -> list[SketchFile]:
    """The blocks of a folder, by name.

    Args:
        folder: where `write_sketches` wrote them.
    """
    return [SketchFile(path) for path in sorted(folder.glob("*.keys.arrow"))]


def read_keys(files: Sequence[SketchFile]) -> Keys:
    """Keys and numbers of shingles of all rows of all blocks.

    Args:
        files: at least one block.

    Raises:
        ConfigError: blocks were made with different settings.
        InputNotFoundError: a file is missing.
    """
    tables = [_read_table(file) for file in files]
    shapes: list[dict[str, Any]] = [json.loads(table.schema.metadata[_SHAPE]) for table in tables]
    settings = {
        (shape["threshold"], shape["shingle_words"]): file.keys for shape, file in zip(shapes, files, strict=True)
    }
    if len(settings) > 1:
        raise ConfigError(
            "sketches were made with different settings",
            where=", ".join(str(path) for path in settings.values()),
            received=list(settings),
            expected="one threshold and one number of words",
            todo="Run ingest again with one configuration",
        )
    rows = [shape["rows"] for shape in shapes]
    keys = [np.empty(sum(rows), dtype) for dtype in (np.uint64, np.uint64, np.uint32, np.uint32)]
    place = 0
    for table, count in zip(tables, rows, strict=True):
        block = pl.DataFrame(table)
        for name, values in zip(_COLUMNS, keys, strict=True):
            values[place : place + count] = block[name].to_numpy()
        place += count
    named: dict[str, Any] = dict(zip(_COLUMNS, keys, strict=True))
    return Keys(**named, rows=rows, threshold=shapes[0]["threshold"])


def read_band(files: Sequence[SketchFile], keys: Keys, *, answers: bool, band: int) -> NDArray[np.uint32]:
    """One band of all rows of all blocks; nothing else is read.

    Args:
        files: the blocks.
        keys: what `read_keys` gave for them.
        answers: of the answers, else of the prompts.
        band: number of the band.
    """
    bands, _ = band_shape(keys.threshold)
    found = np.empty(sum(keys.rows), np.uint32)
    place = 0
    for file, count in zip(files, keys.rows, strict=True):
        with file.bands.open("rb", buffering=0) as source:
            source.seek(4 * count * (bands * answers + band))
            source.readinto(found[place : place + count].data)
        place += count
    return found


def _read_table(file: SketchFile) -> pa.Table:
    """The keys of a block, all files of which are there, mapped into memory."""
    for path in (file.keys, file.bands, file.shingles):
        if not path.is_file():
            raise InputNotFoundError("sketches are missing", where=path, todo="Run ingest again")
    with pa.memory_map(str(file.keys)) as source:
        return pa.ipc.open_file(source).read_all()
