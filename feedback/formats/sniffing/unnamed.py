"""The error for raw files whose format nobody named: it proposes what the first file looks like; nothing is guessed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from feedback.formats import FORMATS
from feedback.formats.sniffing.sniff import sniff
from feedback.records.places import find_files, place_name
from schemas.errors import InputNotFoundError, ThumblineError, UsageError

__all__ = ["unnamed_format"]

_STDIN: Final = Path("-")
_PROBLEM: Final = "the input is not a finished dataset and no format is given"


def unnamed_format(inputs: Sequence[str | Path], *, todo: str = "", problem: str = _PROBLEM) -> UsageError:
    """The error to raise where raw files are named without their format.

    Of files of this machine the first is looked at, and the formats that read it are proposed. Standard input can be
    read only once, and objects, hub files and databases cost a request: these are not looked at.

    Args:
        inputs: files, globs, folders and URLs.
        todo: what else the error advises.
        problem: what is wrong, where the command reads no finished datasets.

    Raises:
        InputNotFoundError: a file of this machine that does not exist, which is the better error.
    """
    proposal = _proposal(inputs)
    general = "See `thumbline formats`, or ask about one file with `thumbline formats --sniff FILE`"
    return UsageError(
        problem,
        where=", ".join(str(item) for item in inputs),
        expected=None if proposal else f"--from with one of {', '.join(FORMATS)}",
        todo=". ".join(text for text in (proposal or general, todo) if text),
    )


def _proposal(inputs: Sequence[str | Path]) -> str:
    """What to write, by the formats that read at least half of the first records of the first file; empty for none.

    Where none of them is judged, it is said so, and what may read them.
    """
    is_local = all("://" not in str(item) or str(item).startswith("file://") for item in inputs)
    if not is_local:
        return ""
    try:
        first = find_files(inputs)[0]
        found = None if first == _STDIN else sniff(str(first))
    except InputNotFoundError:
        raise
    except ThumblineError:  # it cannot be read: what is wrong is said as soon as its format is named
        return ""
    if found is None:
        return ""
    if found.unjudged:
        count, named = len(found.values), " or ".join(f"--from {name}" for name in found.unjudged)
        return f"None of the first {count:,} records of {place_name(first)} is judged: try {named}"
    likely = [one.format for one in found.candidates if one.is_likely]
    return f"{place_name(first)} looks like {' or '.join(likely)}: add --from {likely[0]}" if likely else ""
