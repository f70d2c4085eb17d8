"""The Parquet files of the store: written with checksums and flushed, and never read before they are checked.

A file's name is the sha256 of its bytes. Who reads all of it takes that digest first (`checked`); who reads one column
of many files relies on the checksums of the pages (`read_columns`). So bytes that changed on the disk are found before
anything is made of them, and a file that was cut off does not reach polars, which panics at it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from feedback.engine.local import usable_cores
from feedback.store.durable import move_durably, private_folder
from feedback.store.faults import faultpoint
from feedback.store.log import DataFile
from feedback.store.places import fetched, part_reader
from feedback.store.tables import KIND, VERSION, file_schema, parquet_options, safe_statistics
from schemas.error_text import first_line
from schemas.errors import CorruptionError
from schemas.manifest import file_sha256

__all__ = ["checked", "data_file", "read_columns", "write_rows"]

_GROUP_ROWS: Final = 1 << 16
_KNOWN_WHOLE: Final[dict[tuple[str, int, int], bool]] = {}
"""Files that this process has checked, by path, inode and time of change: bytes that are renamed into place stay."""


def write_rows(kind: str, tables: Iterable[pa.Table], root: Path, staging: Path, version: int) -> DataFile:
    """Write rows of one kind into a new file of the table, on the disk when the call returns.

    Args:
        kind: kind of the rows.
        tables: the rows, with the columns of the kind but `store_version`.
        root: the table's folder.
        staging: a folder on the same file system, for the file while it is written.
        version: the version that brings the rows.
    """
    schema = file_schema(kind)
    partial = staging / f"{uuid.uuid4().hex}.parquet"
    faultpoint(f"{kind}.write.before")
    with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT, 0o600), "wb") as stream:
        with pq.ParquetWriter(stream, schema, **parquet_options(kind)) as writer:
            for table in tables:
                writer.write_table(_with_version(table, schema, version), row_group_size=_GROUP_ROWS)
        stream.flush()
        faultpoint(f"{kind}.sync.before", partial, unflushed=True)
        os.fsync(stream.fileno())
    sha256 = file_sha256(partial)
    path = private_folder(root / f"{KIND}={kind}") / f"{sha256}.parquet"
    move_durably(partial, path, point=kind)
    return _described(path, root)


def data_file(path: Path, root: Path) -> DataFile:
    """What the log says of a file of the table.

    Args:
        path: the file, below a folder `kind=KIND` and named by its sha256.
        root: the table's folder.

    Raises:
        CorruptionError: its bytes are not those that its name says.
    """
    if not path.is_file() or file_sha256(path) != path.stem:
        raise _damaged(path, "its bytes are not those that were written")
    return _described(path, root)


def checked(files: Sequence[DataFile], root: Path) -> list[Path]:
    """The paths of files whose bytes are what was written.

    Args:
        files: files of the table.
        root: its folder.

    Raises:
        CorruptionError: one is missing, was cut off, or holds other bytes; it is named.
    """
    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(lambda file: _check(file, root), files))


def read_columns(files: Sequence[DataFile], root: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Some columns of each file, of which no other part is read; checksums of their pages are verified.

    Args:
        files: files of one kind.
        root: the table's folder.
        columns: the columns.

    Raises:
        CorruptionError: a file is missing or damaged; it is named.
    """
    for file in files:
        path = root / file.path
        try:
            with pq.ParquetFile(part_reader(path), page_checksum_verification=True, pre_buffer=False) as opened:
                table = opened.read(columns=list(columns))
        except (OSError, pa.ArrowInvalid) as error:
            raise _damaged(path, first_line(error)) from error
        yield pl.DataFrame(table)


def _described(path: Path, root: Path) -> DataFile:
    kind, metadata = path.parent.name.partition("=")[2], pq.read_metadata(path)
    name = path.relative_to(root).as_posix()
    return DataFile(kind, name, metadata.num_rows, path.stat().st_size, safe_statistics(metadata))


def _with_version(table: pa.Table, schema: pa.Schema, version: int) -> pa.Table:
    if VERSION in table.schema.names:
        return table.select(schema.names).cast(schema)
    return table.append_column(VERSION, pa.repeat(pa.scalar(version, pa.int64()), len(table))).cast(schema)


def _check(file: DataFile, root: Path) -> Path:
    path = fetched(root / file.path)
    try:
        found = path.stat()
    except OSError as error:
        raise _damaged(path, "it is not there") from error
    known = (str(path), found.st_ino, found.st_mtime_ns)
    if known not in _KNOWN_WHOLE:
        if found.st_size != file.bytes:
            raise _damaged(path, f"it has {found.st_size:,} bytes of {file.bytes:,}")
        if file_sha256(path) != file.sha256:
            raise _damaged(path, "its bytes are not those that were written")
        _KNOWN_WHOLE[known] = True
    return path


def _damaged(path: Path, why: str) -> CorruptionError:
    return CorruptionError(
        f"a file of the store is damaged ({why})",
        where=path,
        todo=f"Run: thumbline doctor --store {path.parents[2]}",
    )
