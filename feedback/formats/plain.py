"""Records that are read column by column: what a format says of its plain records, and expressions to say it with.

A record is plain where every field that the format reads is of one of a few types, and nothing in it needs a second
look. `Format.parse` gives the same for each of them, and reads all others. A field is named by its dotted path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

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
    "all_but_last",
    "are_said",
    "higher",
    "id_of",
    "is_id",
    "is_said",
    "is_short_number",
    "is_text",
    "json_list",
    "json_of",
    "marked_parts",
    "named_turns",
    "number_of",
    "shared_prompt",
    "stripped",
    "text_of",
    "turn_list",
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

_BEFORE_NAME, _BEHIND_NAME = "\x1e", "\x1f"
_LEAST_FIXED, _MOST_FIXED = 1e-4, 1e15
_BLANK: Final = "".join(sign for sign in map(chr, range(0x3001)) if sign.isspace())
"""White space as Python sees it, which is a little more than polars does."""


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
        fields: the draft's other fields, from the fields in `types`; a raw value as its JSON.
        where: what holds for a plain record; null is taken for false.
        needs: fields, beside the turns, without which no record is plain.
        nulls: paths inside of objects whose value must be null, or an empty list, where there is one.
        unread: keys that the format knows and does not read in such records; every other one must be null.
    """

    kind: Literal["events", "pairs"]
    turns: Mapping[str, Turns]
    types: Mapping[str, Types] = field(default_factory=dict)
    fields: Mapping[str, pl.Expr]
    where: pl.Expr = field(default_factory=lambda: pl.lit(True))
    needs: tuple[str, ...] = ()
    nulls: tuple[str, ...] = ()
    unread: frozenset[str] = frozenset()


def is_said(path: str) -> pl.Expr:
    """Where a text is not blank."""
    return pl.col(path).str.strip_chars(_BLANK).str.len_bytes() > 0


def is_id(path: str) -> pl.Expr:
    """Where an id is absent, or such that it can be told from others."""
    return pl.col(path).is_null() | is_said_id(path)


def is_said_id(path: str) -> pl.Expr:
    """Where an id is there, a whole number or a text that is not blank."""
    return pl.col(path).cast(pl.String).str.strip_chars(_BLANK).str.len_bytes() > 0


def is_text(path: str) -> pl.Expr:
    """Where a text is there, blank or not."""
    return pl.col(path).is_not_null()


def are_said(path: str) -> pl.Expr:
    """Where a list of texts is absent, or none of them is blank."""
    words = pl.col(path)
    return words.is_null() | words.list.eval(stripped(pl.element()).str.len_bytes() > 0).list.all(ignore_nulls=False)


def id_of(path: str) -> pl.Expr:
    """An id as text."""
    return pl.col(path).cast(pl.String)


def text_of(path: str) -> pl.Expr:
    """A text as it is copied: a blank one is none."""
    return pl.when(is_said(path)).then(pl.col(path))


def number_of(path: str) -> pl.Expr:
    """A number."""
    return pl.col(path).cast(pl.Float64)


def json_of(path: str, values: Mapping[Any, str]) -> pl.Expr:
    """The JSON of a value that is one of few.

    Args:
        path: the field.
        values: the JSON of each.
    """
    return pl.col(path).replace_strict(list(values), list(values.values()), default=None, return_dtype=pl.String)


def is_short_number(path: str) -> pl.Expr:
    """Where a float is there and has the same JSON in Python and in polars, which write exponents differently."""
    number = pl.col(path)
    return number.is_not_null() & ((number == 0) | number.abs().is_between(_LEAST_FIXED, _MOST_FIXED))


def json_list(*paths: str) -> pl.Expr:
    """The JSON of a list of floats, see `is_short_number`."""
    parts = [part for path in paths for part in (pl.lit(", "), pl.col(path).cast(pl.String))]
    return pl.concat_str(pl.lit("["), *parts[1:], pl.lit("]"))


def higher(path_a: str, path_b: str) -> pl.Expr:
    """The outcome of two scores of which the higher one is better; equal scores are a tie."""
    a, b = pl.col(path_a), pl.col(path_b)
    return pl.when(a == b).then(pl.lit("tie")).when(a > b).then(pl.lit("a")).otherwise(pl.lit("b"))


def turn_list(turns: pl.Expr, role: str, content: str, roles: Mapping[str, str]) -> pl.Expr:
    """Messages from a list of structs.

    Args:
        turns: the list.
        role: the field with the source's name of a role.
        content: the field with the text.
        roles: role by the source's name.
    """
    named = pl.element().struct.field(role).replace_strict(roles, default=None, return_dtype=pl.String)
    return turns.list.eval(pl.struct(named.alias("role"), pl.element().struct.field(content).alias("content")))


def all_but_last(turns: pl.Expr) -> pl.Expr:
    """A list without its last value."""
    return turns.list.head(turns.list.len() - 1)


def shared_prompt(a: str, b: str, turns_a: pl.Expr, turns_b: pl.Expr) -> tuple[dict[str, Turns], pl.Expr]:
    """The turns of two conversations that part at their last answer, and where they do.

    Args:
        a: path of the first conversation.
        b: path of the second one.
        turns_a: the messages of the first.
        turns_b: those of the second.
    """
    turns = {
        "prompt": Turns(a, made=all_but_last(turns_a)),
        "response_a": Turns(a, starts="assistant", made=turns_a.list.tail(1)),
        "response_b": Turns(b, starts="assistant", made=turns_b.list.tail(1)),
    }
    return turns, (all_but_last(turns_a) == all_but_last(turns_b)) & (turns_a.list.last() != turns_b.list.last())


def marked_parts(text: pl.Expr, mark: str) -> pl.Expr:
    """A text cut before each mark, which stays as its name and `_BEHIND_NAME`; null where that could be mistaken.

    Args:
        text: the text.
        mark: the mark, a regular expression with one group, the name.
    """
    cut = text.str.replace_all(mark, f"{_BEFORE_NAME}${{1}}{_BEHIND_NAME}")
    is_clear = ~text.str.contains_any([_BEFORE_NAME, _BEHIND_NAME])
    return pl.when(is_clear).then(cut.str.split(_BEFORE_NAME))


def named_turns(parts: pl.Expr, roles: Mapping[str, str]) -> pl.Expr:
    """Messages of parts that begin with a name, see `marked_parts`; one without a name is the user's.

    Args:
        parts: the parts.
        roles: role by name.
    """
    part = pl.element()
    role, content = pl.lit("user"), part
    for name, said_by in roles.items():
        role = pl.when(part.str.starts_with(f"{name}{_BEHIND_NAME}")).then(pl.lit(said_by)).otherwise(role)
        content = content.str.strip_prefix(f"{name}{_BEHIND_NAME}")
    return parts.list.eval(pl.struct(role.alias("role"), content.alias("content")))


def stripped(text: pl.Expr) -> pl.Expr:
    """A text without the white space around it, as Python sees it."""
    return text.str.strip_chars(_BLANK)
