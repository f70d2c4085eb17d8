"""What a person must still say in a starting map: such a map is refused until then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from schemas.errors import ConfigError

__all__ = ["UNDECIDED", "refuse_undecided"]

UNDECIDED: Final = "?"
"""Stands in a starting map for what a person must say."""

_SHOWN: Final = 8


def refuse_undecided(values: dict[str, Any], where: Path) -> None:
    """Refuse a starting map in which a person has not yet said everything.

    Args:
        values: what the TOML file holds.
        where: the file.

    Raises:
        ConfigError: a value is `"?"`; the first keys with one are named.
    """
    open_keys = [".".join(keys) for keys in _open_keys(values, ())]
    if open_keys:
        raise ConfigError(
            f"the map leaves {len(open_keys)} undecided: {', '.join(open_keys[:_SHOWN])}",
            where=where,
            received=UNDECIDED,
            expected="for a label 'up', 'down' or 'none', for an outcome 'a', 'b', 'tie', 'both_bad' or 'abstain', for "
            "a field or an answer its path, for a threshold a number, for corrections true or false",
            todo="Decide each in the map, or remove its line; labels are never guessed",
        )


def _open_keys(values: dict[str, Any], above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        if value == UNDECIDED:
            yield (*above, key)
        elif isinstance(value, dict):
            yield from _open_keys(value, (*above, key))
