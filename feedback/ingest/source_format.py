"""The format of a source, with all that its settings say about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from feedback.formats import FORMATS, Format, find_format
from schemas.errors import ConfigError, UnknownChoiceError

__all__ = ["open_format"]

_DEFAULT_RANKING: Final = "extremes"


def open_format(name: str, map_path: str | None, ranking: str = _DEFAULT_RANKING) -> Format:
    """The format `name`, with its map where it needs one and its ranking where it ranks.

    Args:
        name: name of a known format.
        map_path: path of the TOML map.
        ranking: which ranked answers become pairs, for formats that rank.

    Raises:
        UnknownChoiceError: there is no such format.
        ConfigError: a map without need, or none where it is needed; a ranking of a format that does not rank.
    """
    found = find_format(name)
    if (found.with_map is None) != (map_path is None):
        raise ConfigError(
            f"the format {name!r} needs a map" if map_path is None else f"the format {name!r} takes no map",
            received=map_path,
            todo="Name the TOML file with --map or map = FILE" if map_path is None else "Use the format mapped",
        )
    if found.rankings is None:
        _refuse_ranking(name, ranking)
    if found.with_map is not None and map_path is not None:
        found = found.with_map(Path(map_path))
    if found.rankings is None:
        return found
    if ranking not in found.rankings:
        raise UnknownChoiceError("ranking", ranking, found.rankings, where=f"format {name!r}")
    return replace(found, parse=found.rankings[ranking])


def _refuse_ranking(name: str, ranking: str) -> None:
    """Every source has the default, so only another one can have been asked for."""
    if ranking != _DEFAULT_RANKING:
        ranked = sorted(one.name for one in FORMATS.values() if one.rankings is not None)
        raise ConfigError(
            f"the format {name!r} does not rank answers",
            received=ranking,
            expected=f"a format that does: {', '.join(ranked)}",
            todo="Leave out --ranking, or the key ranking of the source",
        )
