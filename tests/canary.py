"""Where a word that stands for somebody still stands: in files as they are, and in what is packed in them."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pyarrow as pa
from pyarrow import feather


def said(path: Path) -> bytes:
    """All that a file says, unpacked where it is packed."""
    raw = path.read_bytes()
    if raw.startswith(b"\x1f\x8b"):
        raw += gzip.decompress(raw)
    if raw.startswith(b"PAR1"):
        raw += str(pl.read_parquet(path).to_dicts()).encode()
    if raw.startswith(b"ARROW1"):
        raw += str(pl.DataFrame(feather.read_table(path)).to_dicts()).encode()
    if raw.startswith(b"\xff\xff\xff\xff"):
        raw += str(pl.DataFrame(pa.ipc.open_stream(path).read_all()).to_dicts()).encode()
    return raw


def places_of(word: str, *folders: Path) -> list[str]:
    """Files below the folders that hold the word."""
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    return [str(path) for path in files if word.encode() in said(path)]
