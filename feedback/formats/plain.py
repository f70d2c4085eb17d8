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
    "ANSWER_TURNS",
    "BOOLEAN",
    "FLOAT",
    "ID",
    "MESSAGE_LIST",
    "NUMBER",
    "PROMPT_TURNS",
    "SHAREGPT_LIST",
    "TEXT",
    "TIME",
    "WHOLE",
    "WORDS",
    "PlainRecords",
    "Threads",
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

PROMPT_TURNS: Final = "prompt turns"
ANSWER_TURNS: Final = "answer turns"
"""The fields that `Threads` make."""


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
class Threads:
    """Messages of chats, each a record, in files that are joined with themselves; the judged ones are the records.

    A judged message becomes a record with two fields more, `PROMPT_TURNS` and `ANSWER_TURNS`: its thread, parted before
    all that the assistant said last. A message is left out where nothing in it could be a judgement.

    Args:
        id: field with the id of a message.
        parent: field with the id of the one before it.
        roots: ids that mean that there is none.
        text: field with what it says.
        is_user: field that is true where the user says it, and false where the assistant does.
        judgement: field that holds the judgement.
        signs: bytes of which one stands in every line with the key of that field, whatever its value is.
        empty: fields that are null, or an empty list, in messages of plain threads.
        alone: fields that are null in every message.
        what: what messages without a judgement are counted as.
    """

    id: str
    parent: str
    roots: tuple[str, ...]
    text: str
    is_user: str
    judgement: str
    signs: tuple[bytes, ...]
    empty: tuple[str, ...]
    alone: tuple[str, ...]
    what: str


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
        threads: how the turns are found, where each message is a record; `types` then has its fields too.
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
    threads: Threads | None = None
