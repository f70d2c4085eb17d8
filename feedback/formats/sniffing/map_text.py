"""How starting maps are written: TOML that shows no text of the records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final

from feedback.formats.mapping.undecided import UNDECIDED
from feedback.formats.sniffing.seen_paths import SeenPath

__all__ = ["comment_text", "head_lines", "kinds_text", "listed_paths", "toml_text"]

_MOST_LISTED: Final = 80
_WIDEST: Final = 48


def head_lines(title: str, file: str, records: int) -> Iterator[str]:
    """The first lines of a map: what it is for, and that a person must decide.

    Args:
        title: what it is.
        file: the file that it is for.
        records: how many of its records were looked at.
    """
    yield f"# {title} for {comment_text(file)}, from its first {records:,} records."
    yield f"# Where {json.dumps(UNDECIDED)} stands a person must decide; until then the map is refused."


def listed_paths(seen: Sequence[SeenPath], records: int) -> Iterator[str]:
    """Comment lines with every path that was found and the kinds of its values.

    Args:
        seen: the paths.
        records: how many records were looked at.
    """
    yield ""
    yield f"# All paths that were found, and what is there in {records:,} records:"
    width = max((len(comment_text(one.text)) for one in seen[:_MOST_LISTED]), default=0)
    for one in seen[:_MOST_LISTED]:
        yield f"#   {comment_text(one.text):{min(width, _WIDEST)}}  {kinds_text(one)}"
    if len(seen) > _MOST_LISTED:
        yield f"#   and {len(seen) - _MOST_LISTED:,} more"


def kinds_text(one: SeenPath) -> str:
    """How often a value of each kind was there."""
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in one.kinds.most_common())
    return f"{kinds}; messages" if one.is_messages else kinds


def toml_text(text: str) -> str:
    """`text` as a string of TOML, or as a quoted key."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def comment_text(text: str) -> str:
    """`text` as it may stand in a comment: what would end the line or move the cursor is a question mark."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)
