"""Messages as a map describes them: where in a message its speaker and its text stand, and what speakers are called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from feedback.formats.mapping.map_config import MapConfig
from feedback.formats.mapping.mapped_values import json_text
from feedback.formats.mapping.paths import find_value, json_of_text, parse_path
from feedback.formats.parts.turns import OPENAI_ROLES, read_messages
from schemas.messages import Message

__all__ = ["MapTurns", "map_roles"]

_CALLS = ("tool_calls", "function_call")
"""What a message holds beside text that text cannot hold; `read_messages` rejects it."""


def map_roles(config: MapConfig) -> Mapping[str, str]:
    """The role of each name that a speaker may have."""
    return {**OPENAI_ROLES, **config.roles}


class MapTurns:
    """Reads the messages of a map's fields.

    Args:
        config: the map.
        where: its file, for errors.

    Raises:
        ConfigError: a path that cannot be read.
    """

    def __init__(self, config: MapConfig, where: Path) -> None:
        options = config.options
        self._role_key, self._content_key = options.role_key, options.content_key
        self._role = parse_path(options.role_key, where)
        self._content = parse_path(options.content_key, where)
        self._is_flat = self._role == (options.role_key,) and self._content == (options.content_key,)
        self._json = frozenset(options.json)
        self._roles = map_roles(config)

    def read(self, value: Any, field: str, speaker: str) -> list[Message]:
        """The turns of a field: text is what `speaker` said, other values are one message or a list of them.

        Raises:
            RecordRejectedError: it is neither text nor messages.
        """
        if isinstance(value, str) and (field in self._json or field == "conversation_messages"):
            value = json_of_text(value, f"field {field!r}")
        if isinstance(value, str):
            return [{"role": speaker, "content": value}]
        turns = [value] if isinstance(value, dict) else value
        if isinstance(turns, list):
            turns = [self._plain(one) if isinstance(one, dict) and not self._is_read(one) else one for one in turns]
        return read_messages(turns, field, roles=self._roles, role_key=self._role_key, content_key=self._content_key)

    def _is_read(self, message: dict[str, Any]) -> bool:
        """Whether a message is as `read_messages` reads it already."""
        return self._is_flat and type(message.get(self._role_key)) is str

    def _plain(self, message: dict[str, Any]) -> dict[str, Any]:
        role = find_value(message, self._role)
        return {
            self._role_key: role if role is None else json_text(role),
            self._content_key: find_value(message, self._content),
            **{name: message[name] for name in _CALLS if name in message},
        }
