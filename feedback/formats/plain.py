"""Records that are read column by column: what a format says of its plain records.

A record is plain where every field that the format reads is of one of a few types, and nothing in it needs a second
look. `Format.parse` gives the same for each of them, and reads all others. A field is named by its dotted path. The
expressions to say it with are in `feedback.formats.parts`, `field_columns` and `turn_columns`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import polars as pl
import pyarrow as pa

__all__ = [
    "BOOLEAN",
    "FLOAT",
    "ID",
    "MESSAGE_LIST",
    "NUMBER",
    "SHAREGPT_LIST",
    "TEXT",
    "TIME",
    "WHOLE",
    "WORDS",
    "PlainRecords",
    "Turns",
    "Types",
]

Types = tuple[pa.DataType, ...]
"""Types that a field may have, the likeliest first."""

TEXT: Final[Types] = (pa.string(),)
WORDS: Final[Types] = (pa.list_(pa.string()),)
FLOAT: Final[Types] = (pa.float64(),)
ID: Final[Types] = (pa.string(), pa.int64())
BOOLEAN: Final[Types] = (pa.bool_(),)
NUMBER: Final[Types] = (pa.float64(), pa.int64())
TIME: Final[Types] = (pa.string(), pa.int64(), pa.float64())
WHOLE: Final[Types] = (pa.int64(),)
MESSAGE_LIST: Final[Types] = (pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),)
"""Chat turns with nothing beside role and content."""
SHAREGPT_LIST: Final[Types] = (pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())])),)
"""Chat turns as ShareGPT writes them, with nothing else."""


@dataclass(frozen=True, slots=True)
class Turns:
    """Where the turns of a draft lie, or how they are made.

    Args:
        path: text, or a list of messages; where they are made, a field that every plain record has.
        role: who says the text; None where it is messages.
        starts: the role of the first message; None takes any.
        made: the text, or a list of structs `role`, `content`, made from the fields in `types` instead of copied; null
            where the record is not plain.
    """

    path: str
    role: str | None = None
    starts: str | None = None
    made: pl.Expr | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainRecords:
    """What the plain records of a format look like, and the draft that each becomes.

    Args:
        kind: `events` or `pairs`.
        turns: the turns of the draft, by its field.
        types: the types that each other field may have; the first record that has the field decides for its block.
        parts: columns that several of the others are made from, each of the fields in `types` and the parts before it.
        fields: the draft's other fields, from the fields in `types`; a raw value as its JSON.
        where: what holds for a plain record; null is taken for false.
        needs: fields, beside the turns, without which, in one of their types, no record is plain.
        names: fields that records of one file have under one of several names, by the path that stands for them here;
            the first name that a sample of the file has is meant, and under the others nothing may be.
        nulls: paths inside of objects whose value must be null, or an empty list, where there is one.
        unread: keys that the format knows and does not read in such records; every other one must be null.
        absent: keys of those others of which an empty list says something too.
    """

    kind: Literal["events", "pairs"]
    turns: Mapping[str, Turns]
    types: Mapping[str, Types] = field(default_factory=dict)
    parts: Mapping[str, pl.Expr] = field(default_factory=dict)
    fields: Mapping[str, pl.Expr]
    where: pl.Expr = field(default_factory=lambda: pl.lit(True))
    needs: tuple[str, ...] = ()
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    nulls: tuple[str, ...] = ()
    unread: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
