"""Records that are read column by column: what a format says of its plain records.

A record is plain where every field that the format reads is of one of a few types, and nothing in it needs a second
look. `Format.parse` gives the same for each of them, and reads all others. A field is named by its path, keys with dots
between them, `["key"]` for a key that has dots itself, and `[n]` for a place in a list, from its end where n is
negative. The expressions to say it with are in `feedback.formats.parts`, `field_columns` and `turn_columns`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.records.json_columns import Lines

__all__ = [
    "ANSWER_TURNS",
    "BOOLEAN",
    "EACH",
    "FLOAT",
    "ID",
    "ITEM",
    "MESSAGE_LIST",
    "NUMBER",
    "PROMPT_TURNS",
    "SHAREGPT_LIST",
    "TEXT",
    "TIME",
    "WHOLE",
    "WORDS",
    "Items",
    "Joined",
    "Named",
    "PlainRecords",
    "Threads",
    "Turns",
    "Types",
    "path_of",
    "schema_steps",
    "steps_of",
]

Places = NDArray[np.int64]
Steps = tuple[str | int, ...]
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
EACH: Final = "[]"
"""The step from a list to what is in it, where types are named by their steps."""
ITEM: Final = "one item"
"""The field that `Items` make."""

_STEP: Final = re.compile(r'\["([^"]+)"\]|\[(-?[0-9]+)\]|([^.\[]+)')


@lru_cache(maxsize=4096)
def steps_of(path: str) -> Steps:
    """The keys of a path, and its places in lists.

    >>> steps_of('span.attributes["llm.model_name"]'), steps_of("choices[0].text")
    (('span', 'attributes', 'llm.model_name'), ('choices', 0, 'text'))
    """
    return tuple(int(place) if place else quoted or key for quoted, place, key in _STEP.findall(path))


def schema_steps(path: str) -> tuple[str, ...]:
    """The steps to the type of a field: the items of a list have one type, whichever place is meant.

    >>> schema_steps("choices[0].text")
    ('choices', '[]', 'text')
    """
    return tuple(EACH if isinstance(step, int) else step for step in steps_of(path))


def path_of(*steps: str | int) -> str | None:
    """The path that `steps_of` reads as these steps; None where a key has a quote in it, which none can have.

    >>> path_of("fields", "a.b"), path_of("choices", 0, "text")
    ('fields["a.b"]', 'choices[0].text')
    """
    if any(isinstance(step, str) and ('"' in step or not step) for step in steps):
        return None
    return "".join(map(_written, steps)).removeprefix(".")


def _written(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f'["{step}"]' if "." in step or "[" in step else f".{step}"


@dataclass(frozen=True, slots=True)
class Named:
    """Messages of which only who speaks and the text are read; one that calls a tool is not plain.

    Args:
        role: the key of who speaks.
        content: the key of the text.
        roles: role by its name.
    """

    role: str
    content: str
    roles: Mapping[str, str]

    @property
    def kind(self) -> pa.ListType:
        """The type of a list of them."""
        return pa.list_(pa.struct([(self.role, pa.string()), (self.content, pa.string())]))


@dataclass(frozen=True, slots=True)
class Turns:
    """Where the turns of a draft lie, or how they are made.

    Args:
        path: text, or a list of messages; where they are made, a field that every plain record has.
        role: who says the text; None where it is messages.
        starts: the role of the first message; None takes any.
        named: how messages name what is read of them, where they may have other keys too; None: they are copied.
        made: the text, or a list of structs `role`, `content`, made from the fields in `types` instead of copied; null
            where the record is not plain.
    """

    path: str
    role: str | None = None
    starts: str | None = None
    named: Named | None = None
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
        unsaid: where a text has these words, not all of it is said, and the message is not plain.
        is_user: field that is true where the user says it, and false where the assistant does.
        judgement: field that holds the judgement.
        signs: bytes of which one stands in every line with the key of that field, whatever its value is; the last two
            begin with the same two bytes.
        empty: fields that are null, or an empty list, in messages of plain threads.
        alone: fields that are null in every message.
        what: what messages without a judgement are counted as.
    """

    id: str
    parent: str
    roots: tuple[str, ...]
    text: str
    unsaid: str
    is_user: str
    judgement: str
    signs: tuple[bytes, bytes, bytes]
    empty: tuple[str, ...]
    alone: tuple[str, ...]
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """Judgements in lists: every object in the list of a record becomes a row of its own, with the fields around it.

    Args:
        path: the list. An object of it is the field `ITEM`.
        judged: a field that only judgements have, of type text; null: all are.
        around: objects in which every other field must be null or an empty list.
        without: what records without a judgement are counted as.
        where: what holds for such records, beside what no plain record may have.
    """

    path: str
    judged: str | None = None
    around: tuple[str, ...] = ()
    without: str
    where: pl.Expr


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What plain records find in another file: one object each, which becomes a field.

    Args:
        into: the field.
        never: how keys of these objects begin that none of a block may have.
        counted: fields that are made beside those of the object: how often some bytes stand in its JSON.
        read: reads what cannot be read as columns: from lines, the line of each record and the records, which of these
            are read, and the fields of what they find.
    """

    into: str
    never: tuple[str, ...] = ()
    counted: Mapping[str, bytes] = field(default_factory=dict)
    read: Callable[[Lines, Places, pa.Table], tuple[NDArray[np.bool_], pa.Table]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainRecords:
    """What the plain records of a format look like, and the draft that each becomes.

    Args:
        kind: `events` or `pairs`.
        turns: the turns of the draft, by its field.
        types: the types that each other field may have; the first record that has the field decides for its block.
        columns: columns that are made from objects whose keys are not known before, or of which it counts whether they
            are there: path of the object, and what makes a column. Where there are items, of records without any.
        parts: columns that several of the others are made from, each of the fields in `types` and the parts before it.
        fields: the draft's other fields, from the fields in `types`; a raw value as its JSON.
        left_out: what a record is counted as that is left out, though it is sound; null where it is not left out. Then
            its turns and times may be anything.
        where: what holds for a plain record; null is taken for false.
        needs: fields, beside the turns, without which, in one of their types, no record is plain.
        names: fields that records of one file have under one of several names, by the path that stands for them here;
            the first name that a sample of the file has is meant, and under the others nothing may be.
        nulls: paths inside of objects whose value must be null, or an empty list, where there is one.
        unread: keys that the format knows and does not read in such records; every other one must be null.
        absent: keys of those others of which an empty list says something too.
        never: how keys begin that no record of a block may have, since null says something too.
        seen: keys that say something, beside those of paths. Fields under all others may be passed over, where they
            have no one type. None: every field may say something.
        attributes: the names that are sought in objects with attributes, by the path of the object: under no other key
            may stand what belongs to them, see `feedback.formats.parts.attributes`.
        threads: how the turns are found, where each message is a record; `types` then has its fields too.
        items: which list of a record holds the judgements, where not each record is one.
        joined: what a record finds in another file.
    """

    kind: Literal["events", "pairs"]
    turns: Mapping[str, Turns]
    types: Mapping[str, Types] = field(default_factory=dict)
    columns: Mapping[str, tuple[str, Callable[[pa.StructArray], pl.Series]]] = field(default_factory=dict)
    parts: Mapping[str, pl.Expr] = field(default_factory=dict)
    fields: Mapping[str, pl.Expr]
    where: pl.Expr = field(default_factory=lambda: pl.lit(True))
    left_out: pl.Expr | None = None
    needs: tuple[str, ...] = ()
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    nulls: tuple[str, ...] = ()
    unread: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    never: tuple[str, ...] = ()
    seen: tuple[str, ...] | None = None
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    threads: Threads | None = None
    items: Items | None = None
    joined: Joined | None = None

    def paths(self) -> Iterator[str]:
        """All that is read of a record; what is made here is not."""
        yield from self.texts()
        yield from (path for path, _ in self.columns.values())
        if self.items is not None:
            yield self.items.path

    def texts(self) -> Iterator[str]:
        """What is read of a record, or of an item and the record around it, to make a row."""
        yield from self.types
        yield from (turns.path for turns in self.turns.values() if turns.made is None)
