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
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.near.sketches import Sketches, band_shape
from schemas.errors import ConfigError, InputNotFoundError

__all__ = ["SketchFile", "read_band", "read_keys", "sketch_files", "write_sketches"]

_SHAPE: Final = b"thumbline"


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
    keys = pa.table(
        {
            "prompt_key": sketches.prompt_key,
            "completion_key": sketches.completion_key,
            "prompt_shingles": np.ascontiguousarray(sketches.lengths[:, 0]),
            "completion_shingles": np.ascontiguousarray(sketches.lengths[:, 1]),
        }
    )
    shape = json.dumps({"threshold": sketches.threshold, "shingle_words": sketches.shingle_words}, sort_keys=True)
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


def read_keys(files: Sequence[SketchFile]) -> tuple[pl.DataFrame, float]:
    """Keys and numbers of shingles of all rows of all blocks, and the threshold that their bands were made for.

    Args:
        files: at least one block.

    Returns:
        columns block (its place in `files`, uint32), prompt_key, completion_key, prompt_shingles, completion_shingles.

    Raises:
        ConfigError: blocks were made with different settings.
        InputNotFoundError: a file is missing.
    """
    frames: list[pl.DataFrame] = []
    shapes: dict[tuple[float, int], Path] = {}
    for number, file in enumerate(files):
        for path in (file.keys, file.bands, file.shingles):
            if not path.is_file():
                raise InputNotFoundError("sketches are missing", where=path, todo="Run ingest again")
        with pa.OSFile(str(file.keys)) as source:
            table = pa.ipc.open_file(source).read_all()
        shape = json.loads(table.schema.metadata[_SHAPE])
        frames.append(pl.DataFrame(table).select(pl.lit(number, pl.UInt32).alias("block"), pl.all()))
        shapes.setdefault((shape["threshold"], shape["shingle_words"]), file.keys)
    if len(shapes) > 1:
        raise ConfigError(
            "sketches were made with different settings",
            where=", ".join(str(path) for path in shapes.values()),
            received=list(shapes),
            expected="one threshold and one number of words",
            todo="Run ingest again with one configuration",
        )
    return pl.concat(frames), next(iter(shapes))[0]


def read_band(
    files: Sequence[SketchFile], rows: Sequence[int], threshold: float, *, answers: bool, band: int
) -> NDArray[np.uint32]:
    """One band of all rows of all blocks; nothing else is read.

    Args:
        files: the blocks.
        rows: rows of each block.
        threshold: what the bands were made for.
        answers: of the answers, else of the prompts.
        band: number of the band.
    """
    bands, _ = band_shape(threshold)
    found = np.empty(sum(rows), np.uint32)
    place = 0
    for file, count in zip(files, rows, strict=True):
        with file.bands.open("rb") as source:
            source.seek(4 * count * (bands * answers + band))
            source.readinto(found[place : place + count].data)
        place += count
    return found
