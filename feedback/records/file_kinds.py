"""What a file holds, told from how it begins; the suffix only decides where that cannot (CSV)."""

from __future__ import annotations

import json
from typing import Final

from feedback.records.arrow_files import ARROW_FILE, PARQUET, is_arrow_stream
from feedback.records.data_names import SUFFIXES
from schemas.errors import InputError

__all__ = ["kind_of_bytes", "kind_of_text"]

_WIDE: Final = (b"\xff\xfe", b"\xfe\xff")
_UNREADABLE: Final = {
    b"PK\x03\x04": ("a ZIP archive or an office document", "Unpack it, or export it as CSV, and name the file in it"),
    b"SQLite format 3\0": ("an SQLite database", "Name it as sqlite:///PATH and say with --sql what to read of it"),
    b"FEA1": ("Feather of version 1", "Write it as Feather of version 2 or as Parquet"),
    b"BZh": ("compressed with bzip2", "Decompress it, or compress it with gzip or zstandard"),
    b"Obj\x01": ("an Avro file", "Write it as Parquet or as JSON lines"),
    **{
        bytes((0x80, protocol)): (
            "a pickle, which would run code of whoever wrote it",
            "Write it as Parquet or as JSON lines",
        )
        for protocol in range(2, 6)
    },
    b"\xfd7zXZ": ("compressed with xz", "Decompress it, or compress it with gzip or zstandard"),
}
_TARS: Final = (b"ustar\x0000", b"ustar  \x00")
"""Of POSIX and of GNU: the word alone may stand in a text."""
_TAR_PLACE: Final = 257


def kind_of_bytes(head: bytes, name: str) -> str:
    """`table` (Parquet or Arrow file), `stream` (of Arrow) or `text`, from the first bytes behind any compression.

    Raises:
        InputError: it is something that is not read.
    """
    if head.startswith((PARQUET, ARROW_FILE)):
        return "table"
    if is_arrow_stream(head):
        return "stream"
    if head.startswith(_WIDE):
        raise InputError("the file is UTF-16", where=name, expected="UTF-8", todo="Convert it to UTF-8")
    for sign, (what, todo) in _UNREADABLE.items():
        if head.startswith(sign):
            raise _unreadable(what, todo, name)
    if head[_TAR_PLACE:].startswith(_TARS):
        raise _unreadable("a tar archive", "Unpack it, and name the folder or the files", name)
    return "text"


def _unreadable(what: str, todo: str, name: str) -> InputError:
    return InputError(f"the file is {what}", where=name, expected=f"one of {', '.join(SUFFIXES)}", todo=todo)


def kind_of_text(head: bytes, suffix: str) -> str:
    """`csv`, `lines`, `array` or `objects`, from the beginning of a text.

    Args:
        head: the beginning, behind a byte-order mark.
        suffix: the file's suffix without that of its compression.
    """
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
