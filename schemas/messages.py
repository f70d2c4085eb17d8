"""One chat turn, and the list of turns that prompts and completions are."""

from __future__ import annotations

from typing import Final, TypedDict

import pyarrow as pa

__all__ = ["MESSAGES", "ROLES", "Message"]

ROLES: Final = ("system", "user", "assistant", "tool")
"""Roles that a chat turn may have, as chat templates know them."""

MESSAGES: Final = pa.list_(
    pa.field(
        "item",
        pa.struct([pa.field("role", pa.string(), nullable=False), pa.field("content", pa.string(), nullable=False)]),
        nullable=False,
    )
)
"""Arrow type of a prompt or completion: a list of turns, oldest first."""


class Message(TypedDict):
    """One chat turn: who speaks, and the text."""

    role: str
    content: str
