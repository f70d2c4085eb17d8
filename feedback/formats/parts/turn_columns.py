"""Turns of plain records that are made from other fields: lists under other names, shared prompts, transcripts."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from feedback.formats.plain import Turns

__all__ = [
    "all_but_last",
    "marked_parts",
    "named_turns",
    "shared_prompt",
    "take_turns",
    "turn_list",
]

_BEFORE_NAME, _BEHIND_NAME = "\x1e", "\x1f"


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


def take_turns(messages: pl.Expr) -> pl.Expr:
    """Where messages are a question and an answer in turn, none of them without its text."""
    role, is_answer = pl.element().struct.field("role"), pl.int_range(pl.len()) % 2 == 1
    is_right = role == pl.when(is_answer).then(pl.lit("assistant")).otherwise(pl.lit("user"))
    is_said = pl.element().struct.field("content").is_not_null()
    return messages.list.eval(is_right & is_said).list.all(ignore_nulls=False)


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
