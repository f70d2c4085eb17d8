"""What of a folder is not read: told in a note, as a log that was rotated has another name and may be wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from feedback.config import SourceConfig
from feedback.records.data_names import SUFFIXES
from feedback.records.places import datasets_left_out, names_left_out

__all__ = ["left_out_notes"]

_SHOWN: Final = 5


def left_out_notes(sources: Sequence[SourceConfig]) -> Iterator[str]:
    """Notes for each folder of this machine that holds what no source reads, as feedback or otherwise.

    Args:
        sources: what is read.
    """
    for folder in dict.fromkeys(source.path for source in sources):
        beside = {Path(path).resolve() for one in sources for path in (one.map, one.join) if path is not None}
        names = [name for name in names_left_out(folder) if (Path(folder) / name).resolve() not in beside]
        if names:
            yield (
                f"Not read of the folder {Path(folder).name!r}: {_listed(names)}. Of a folder, names "
                f"that end in {', '.join(SUFFIXES)} are read; others, as of rotated logs, where a glob names them."
            )
        results = datasets_left_out(folder)
        if results:
            yield (
                f"Not read of the folder {Path(folder).name!r}: the curated datasets in it, {_listed(results)}. They "
                f"are results; one is read where it is named itself."
            )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
