"""Which raw files a version of the store was made of: rows of the kind `source`, one for each file that came in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from feedback.ingest import FileCounts
from feedback.store.landing import Landing
from feedback.store.log import DataFile
from feedback.store.parquet import read_columns
from feedback.store.tables import SOURCE, VERSION, file_schema
from schemas.manifest import SourceFile

__all__ = ["TakenFile", "read_source_rows", "source_table"]


@dataclass(frozen=True, slots=True)
class TakenFile:
    """A raw file that was taken in.

    Args:
        landing: id of its landing.
        file: name, format, sha256, size and records.
        counts: what became of its records when it was read.
        version: the version that brought it; 0 where it is not in the store yet.
    """

    landing: str
    file: SourceFile
    counts: FileCounts
    version: int = 0


def source_table(taken: Sequence[tuple[Landing, TakenFile]]) -> pa.Table:
    """The rows of files, for the store."""
    schema = file_schema(SOURCE).remove(file_schema(SOURCE).get_field_index(VERSION))
    rows = [
        {
            "source": landing.source,
            "file": one.file.name,
            "raw_sha256": one.file.sha256,
            "about": json.dumps(
                {
                    "landing": one.landing,
                    "format": one.file.format,
                    "bytes": one.file.bytes,
                    "counts": asdict(one.counts),
                }
            ),
        }
        for landing, one in taken
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def read_source_rows(files: Sequence[DataFile], root: Path) -> list[TakenFile]:
    """The files of a version, in the order in which they were taken in.

    Args:
        files: the version's files; those of other kinds are passed over.
        root: the table's folder.
    """
    found = []
    wanted = [file for file in files if file.kind == SOURCE]
    for frame in read_columns(wanted, root, ["file", "raw_sha256", "about", VERSION]):
        for name, sha256, text, version in frame.iter_rows():
            about = json.loads(text)
            counts = FileCounts(**about["counts"])
            file = SourceFile(name, about["format"], sha256, about["bytes"], counts.records)
            found.append(TakenFile(about["landing"], file, counts, version))
    return sorted(found, key=lambda one: (one.version, one.file.name, one.file.sha256))
