"""From paths, globs, folders and standard input to raw records, streaming.

    find_files ─► read_records: bytes ─► decompressed ─► lines, values or rows ─► RawRecord

What a file holds is told from its content where it can be; the suffix only decides where it cannot (CSV). A bad record
is one rejected record, never the end of the file.
"""

from __future__ import annotations

import glob
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from feedback.records.byte_stream import ByteStream, Tally, open_bytes
from feedback.records.json_text import read_json_lines, read_json_values
from feedback.records.raw_record import MAX_RECORD_BYTES, RawRecord
from feedback.records.tabular import read_csv, read_parquet
from feedback.records.text_blocks import TextBlock, read_text_blocks
from schemas.errors import InputError, InputNotFoundError
from schemas.manifest import MANIFEST_NAME

__all__ = ["SUFFIXES", "RawRecord", "find_files", "read_blocks", "read_records"]

SUFFIXES: Final = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
"""What is read of a folder, also with `.gz` or `.zst` behind it."""

_HEAD: Final = 1 << 16
_BATCH_BYTES: Final = 8 << 20
_PARQUET: Final = b"PAR1"
_BOM: Final = b"\xef\xbb\xbf"
_WIDE: Final = (b"\xff\xfe", b"\xfe\xff")


def find_files(inputs: Sequence[str | Path]) -> list[Path]:
    """The files that `inputs` name, each once, in the order of the inputs and sorted within one.

    Args:
        inputs: files, globs, folders (read with their subfolders) or `-` for standard input. Of a curated dataset, its
            shards are read.

    Raises:
        InputNotFoundError: a path that does not exist, a glob that matches nothing, or a folder without data files.
    """
    found: dict[Path, Path] = {}
    for item in inputs:
        for path in _expand(str(item)):
            found.setdefault(path.resolve(), path)
    return list(found.values())


def read_records(
    path: Path, *, max_record_bytes: int = MAX_RECORD_BYTES, tally: Tally | None = None
) -> Iterator[RawRecord]:
    """Every record of the file `path`, or of standard input for `-`.

    Args:
        path: the file, plain or compressed with gzip or zstandard.
        max_record_bytes: a longer record is rejected.
        tally: told what is read of the file, as it lies on disk.

    Raises:
        InputNotFoundError: the file cannot be opened.
        InputError: the file as a whole cannot be read.
        CorruptionError: compressed or Parquet bytes are damaged.
    """
    for block in _read(path, max_record_bytes, tally or Tally(), _lines_as_records):
        yield from block  # type: ignore[misc]


def read_blocks(
    path: Path, *, max_record_bytes: int = MAX_RECORD_BYTES, tally: Tally | None = None
) -> Iterator[TextBlock | list[RawRecord]]:
    """The file `path` in pieces: text blocks of JSON lines, and records of anything else.

    Args and errors are those of `read_records`.
    """
    return _read(path, max_record_bytes, tally or Tally(), read_text_blocks)


def _read(
    path: Path, max_bytes: int, tally: Tally, read_lines: Callable[..., Iterator[TextBlock | list[RawRecord]]]
) -> Iterator[TextBlock | list[RawRecord]]:
    name = "stdin" if str(path) == "-" else path.name
    with open_bytes(path, tally) as source:
        stream: io.BufferedReader = io.BufferedReader(source, 4 * _HEAD)
        head = stream.peek(_HEAD)
        if head.startswith(_PARQUET):
            yield from _batches(_read_parquet_bytes(path, stream, name))
            return
        if head.startswith(_WIDE):
            raise InputError("the file is UTF-16", where=name, expected="UTF-8", todo="Convert it to UTF-8")
        if head.startswith(_BOM):
            stream.read(len(_BOM))
            head = head[len(_BOM) :]
        kind = _kind_of_text(head[:_HEAD], _plain_suffix(name))
        if kind == "lines":
            yield from read_lines(stream, source, name, max_bytes)
        elif kind == "csv":
            yield from _batches(read_csv(stream, source, name, max_bytes))
        else:
            yield from _batches(read_json_values(stream, source, name, max_bytes, is_array=kind == "array"))


def _lines_as_records(
    stream: io.BufferedReader, source: ByteStream, name: str, max_bytes: int
) -> Iterator[list[RawRecord]]:
    for record in read_json_lines(stream, source, name, max_bytes):
        yield [record]


def _batches(records: Iterator[RawRecord]) -> Iterator[list[RawRecord]]:
    batch: list[RawRecord] = []
    size = 0
    for record in records:
        batch.append(record)
        size += len(record.raw)
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _expand(item: str) -> list[Path]:
    path = Path(item)
    if item == "-" or path.is_file():
        return [path]
    if path.is_dir():
        files = _files_of(path)
        if not files:
            raise InputNotFoundError(
                "the folder holds no data file", where=path, expected=f"files ending in {', '.join(SUFFIXES)}"
            )
        return files
    files = [Path(name) for name in sorted(glob.glob(item, recursive=True)) if Path(name).is_file()]  # noqa: PTH207
    if not files:
        what = "no file matches the pattern" if glob.has_magic(item) else "no such file or folder"
        raise InputNotFoundError(what, where=item)
    return files


def _files_of(folder: Path) -> list[Path]:
    if (folder / MANIFEST_NAME).is_file() and (folder / "data").is_dir():
        folder = folder / "data"
    inside = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in inside if _plain_suffix(path.name) in SUFFIXES and not _is_hidden(path, folder)]


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _plain_suffix(name: str) -> str:
    return Path(name.lower().removesuffix(".gz").removesuffix(".zst")).suffix


def _kind_of_text(head: bytes, suffix: str) -> str:
    """`csv`, `lines`, `array` or `objects`, from the beginning of a text."""
    if suffix in {".csv", ".tsv"}:
        return "csv"
    text = head.lstrip()
    first, newline, rest = text.partition(b"\n")
    first = first.strip()
    if text.startswith(b"["):
        is_list_a_line = bool(newline and rest.strip()) and _is_json(first)
        is_of_objects = text[1:].lstrip()[:1] in {b"{", b"]"}
        return "array" if not is_list_a_line and (is_of_objects or suffix == ".json") else "lines"
    if text.startswith(b"{"):
        is_begun = bool(newline) and not first.endswith(b"}")
        return "objects" if is_begun and (suffix == ".json" or first == b"{") else "lines"
    is_table = suffix not in SUFFIXES and bool(newline) and any(sign in first for sign in (b",", b"\t"))
    return "csv" if is_table else "lines"


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _read_parquet_bytes(path: Path, stream: io.BufferedReader, name: str) -> Iterator[RawRecord]:
    # Parquet is read from its end, so what cannot be sought in goes through a temporary file, which also tallies it.
    with tempfile.NamedTemporaryFile(suffix=".parquet") as copy:
        is_plain = str(path) != "-" and _is_parquet(path)
        while chunk := stream.read(1 << 20):
            if not is_plain:
                copy.write(chunk)
        copy.flush()
        yield from read_parquet(path if is_plain else Path(copy.name), name)


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_PARQUET)) == _PARQUET
