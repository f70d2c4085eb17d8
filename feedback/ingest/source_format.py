"""The format of a source, with all that its settings say about it."""

from __future__ import annotations

from pathlib import Path

from feedback.formats import Format, find_format, mapped_format
from schemas.errors import ConfigError

__all__ = ["open_format"]


def open_format(name: str, map_path: str | None, ranking: str = "extremes") -> Format:
    """The format `name`, with its map where it is `mapped`.

    Args:
        name: name of a known format.
        map_path: path of the TOML map.
        ranking: which ranked answers become pairs, for formats that rank.

    Raises:
        UnknownChoiceError: there is no such format.
        ConfigError: a map without need, or none where it is needed.
    """
    found = find_format(name)
    if found.name == "mapped" and map_path is not None:
        return mapped_format(Path(map_path))
    if found.name == "mapped" or map_path is not None:
        raise ConfigError(
            "the format 'mapped' needs a map" if map_path is None else f"the format {name!r} takes no map",
            received=map_path,
            todo="Name the TOML file with --map or map = FILE" if map_path is None else "Use the format mapped",
        )
    return found
