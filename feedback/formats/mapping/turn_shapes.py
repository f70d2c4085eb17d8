"""The turns of the plain records of a map: a field is text in all of them, or a list of messages in all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any, Final

import polars as pl
import pyarrow as pa

from feedback.formats.mapping.map_config import MapConfig
from feedback.formats.mapping.map_turns import map_roles
from feedback.formats.mapping.paths import parse_path
from feedback.formats.parts.bare_messages import bare_messages
from feedback.formats.parts.turn_columns import all_but_last
from feedback.formats.plain import Named, Turns, Types

__all__ = ["TURN_FIELDS", "Columns", "TurnShape", "turn_shapes"]

Columns = Mapping[str, tuple[str, Any]]

TURN_FIELDS: Final = ("prompt", "completion", "chosen", "rejected", "response_a", "response_b")
"""The fields of a map with turns, beside a conversation."""

_CONVERSATION: Final = "conversation_messages"
_CHAT: Final = f"[{_CONVERSATION}]"
_TURN_LIST: Final = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))


@dataclass(frozen=True, slots=True)
class TurnShape:
    """Turns, as `feedback.formats.plain.PlainRecords` has them.

    Args:
        turns: by the draft's field.
        types: the types of the fields that they are made from.
        columns: the columns that are made of these.
        used: the fields of the map that they come from.
    """

    turns: Mapping[str, Turns]
    types: Mapping[str, Types] = field(default_factory=dict)
    columns: Columns = field(default_factory=dict)
    used: frozenset[str] = frozenset()


def turn_shapes(config: MapConfig, paths: Mapping[str, str]) -> Iterator[TurnShape]:
    """The shapes that the turns of a map can have.

    Args:
        config: the map.
        paths: the path of each of its fields.
    """
    if _CONVERSATION in paths:
        if (named := _named(config)) is not None:
            yield _conversation(paths[_CONVERSATION], named)
        return
    answers = ("completion",) if config.kind == "events" else ("response_a", "response_b")
    sides = ("chosen", "rejected") if "chosen" in paths else answers
    names = ("prompt", *sides)
    if not set(names) <= paths.keys():
        return
    for is_asked_text, is_said_text in product((True, False), repeat=2):
        turns = {
            into: _field(config, into, name, paths, is_text=is_asked_text if into == "prompt" else is_said_text)
            for into, name in zip(("prompt", *answers), names, strict=True)
        }
        found = {into: one for into, one in turns.items() if one is not None}
        if len(found) == len(turns):
            yield TurnShape(found, used=frozenset(names))


def _field(config: MapConfig, into: str, name: str, paths: Mapping[str, str], *, is_text: bool) -> Turns | None:
    """The turns of one field; None where they cannot be read by column."""
    if is_text:
        # There, text is JSON.
        is_json = name in config.options.json
        return None if is_json else Turns(paths[name], "user" if into == "prompt" else "assistant")
    named = _named(config)
    return None if named is None else Turns(paths[name], starts=None if into == "prompt" else "assistant", named=named)


def _named(config: MapConfig) -> Named | None:
    """How the map's messages name what is read; None where it lies deeper in them."""
    options = config.options
    keys = (options.role_key, options.content_key)
    is_flat = all(parse_path(key, "[options]") == (key,) for key in keys) and len(set(keys)) == len(keys)
    return Named(*keys, map_roles(config)) if is_flat else None


def _conversation(path: str, named: Named) -> TurnShape:
    """A conversation as its prompt and its last message."""
    chat = pl.col(_CHAT)
    turns = {
        "prompt": Turns(path, made=all_but_last(chat)),
        "completion": Turns(path, starts="assistant", made=chat.list.tail(1)),
    }
    return TurnShape(
        turns, {path: (named.kind,)}, {_CHAT: (path, partial(_chat, named=named))}, frozenset({_CONVERSATION})
    )


def _chat(held: pa.Array, *, named: Named) -> pl.Series:
    """Conversations; null where they are none. [N] list of structs `role`, `content`."""
    found = bare_messages(held, named)
    return pl.Series([None], dtype=_TURN_LIST).new_from_index(0, len(held)) if found is None else pl.Series(found)
