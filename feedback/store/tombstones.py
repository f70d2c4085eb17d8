"""Who was forgotten: keyed hashes that stop the same rows from coming back, and say nothing without the store's key."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import polars as pl

from feedback.ingest.rater_key import rater_key
from feedback.store.log import DataFile
from feedback.store.parquet import read_columns
from feedback.store.tables import TOMBSTONE

__all__ = ["Forgotten", "SubjectKind", "read_tombstones", "scalars", "subject_hash"]

SubjectKind = Literal["rater", "conversation"]

_HEX_DIGITS: Final = 32
_MOST_BYTES: Final = 256
"""Ids are short; a text that is longer is none."""
_MOST_ESCAPED: Final = 6 * _MOST_BYTES
_QUOTE: Final = re.compile(rb'\\*"')
_TEXT: Final = re.compile(rb'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_NUMBER: Final = re.compile(rb"(?<=[:\[,\s])(-?[0-9]{1,32})(?=[\s,}\]]|$)")
_BORDER: Final = re.compile(rb"[,;|\t\r\n]")
_NOTHING: Final = re.compile(rb"[\s:,\[\]{}]*")


def subject_hash(kind: SubjectKind, name: str, key: bytes) -> str:
    """The keyed hash of a rater or a conversation, 32 hex digits; a rater's is the `rater_key` of their rows.

    Args:
        kind: what it is.
        name: the id as the source has it.
        key: the store's key.
    """
    if kind == "rater":
        return rater_key(name, key)
    return hmac.digest(key, b"conversation\x1f" + name.encode("utf-8", "surrogatepass"), "sha256").hex()[:_HEX_DIGITS]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Everybody who was forgotten.

    Args:
        subjects: keyed hashes.
        key: the store's key.
    """

    subjects: frozenset[str]
    key: bytes

    def __bool__(self) -> bool:
        """Whether there is anybody."""
        return bool(self.subjects)

    def has(self, name: str) -> bool:
        """Whether an id as a source has it is one of a forgotten rater or conversation."""
        return any(subject_hash(kind, name, self.key) in self.subjects for kind in ("rater", "conversation"))

    def rows(self, frame: pl.DataFrame) -> pl.Series:
        """Which rows are theirs. [N] bool.

        Args:
            frame: `rater_key` and `conversation_id` of each row.
        """
        of_raters = frame["rater_key"].is_in(list(self.subjects)).fill_null(value=False)
        names = frame["conversation_id"]
        theirs = [
            name
            for name in names.unique().drop_nulls().to_list()
            if subject_hash("conversation", name, self.key) in self.subjects
        ]
        return of_raters | names.is_in(theirs).fill_null(value=False)

    def in_bytes(self, raw: bytes) -> bool:
        """Whether one of their ids, or the keyed hash of one, stands in a raw record as a value of its own."""
        return self._any(_names_in(raw))

    def in_value(self, value: Any) -> bool:
        """The same of a record that was read."""
        return self._any(text for text in scalars(value) if len(text) <= _MOST_BYTES)

    def _any(self, names: Iterable[str]) -> bool:
        return any(name in self.subjects or self.has(name) for name in names)


def _names_in(raw: bytes) -> Iterator[str]:
    """Whatever in a raw record may be an id: what stands between two quotes, or is a number or a cell.

    A record need not be whole, so nobody knows which quotes open a text and which end one: what is outside of texts is
    looked at too. In JSON within a text quotes are escaped, once or more often.
    """
    pieces = set(_QUOTE.split(raw))
    pieces.update(_NUMBER.findall(raw))
    if not raw.lstrip().startswith((b"{", b"[")):
        pieces.update(cell.strip() for piece in tuple(pieces) for cell in _BORDER.split(piece))
    if b'\\"' in raw:
        pieces.update(_TEXT.findall(raw))  # an id may hold a quote
    for piece in pieces:
        if b"\\" in piece and len(piece) <= _MOST_ESCAPED:
            yield from _unescaped(piece)
        if len(piece) <= _MOST_BYTES and not _NOTHING.fullmatch(piece):
            yield piece.decode("utf-8", "replace")


def _unescaped(piece: bytes) -> Iterator[str]:
    try:
        text: str = json.loads(b'"' + piece + b'"')
        text.encode()  # halves of a character are no id
    except ValueError:
        return
    yield text


def read_tombstones(files: Sequence[DataFile], root: Path, key: bytes) -> Forgotten:
    """Everybody who is forgotten in a version of the store.

    Args:
        files: the version's files.
        root: the table's folder.
        key: the store's key.
    """
    wanted = [file for file in files if file.kind == TOMBSTONE]
    frames = read_columns(wanted, root, ["subject"])
    return Forgotten(frozenset(name for frame in frames for name in frame["subject"].to_list()), key)


def scalars(value: Any) -> Iterator[str]:
    """Every text and number in a value, as text.

    >>> sorted(scalars({"a": [1, "b"]}))
    ['1', 'b']
    """
    if isinstance(value, dict):
        for item in value.values():
            yield from scalars(item)
    elif isinstance(value, list):
        for item in value:
            yield from scalars(item)
    elif isinstance(value, str | int) and not isinstance(value, bool):
        yield str(value)
