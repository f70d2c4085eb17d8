"""Blocks `<details type="...">` in which chats keep what a model thought and ran beside what it says."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Set
from typing import Final

__all__ = ["without_blocks"]

_BEGINNING: Final = r"<details\b(?P<attributes>[^>]*)>"
_TAG: Final = re.compile(rf"{_BEGINNING}|(?P<end></details\s*>)", re.IGNORECASE)
_MARK: Final = re.compile(
    rf"^ {{0,3}}(?P<fence>`{{3,}}(?=[^`\n]*$)|~{{3,}})(?P<info>[^\n]*)|{_BEGINNING}", re.IGNORECASE | re.MULTILINE
)
_ATTRIBUTE: Final = re.compile(r"""([\w-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_WORD: Final = "<details"


def without_blocks(text: str, kinds: Set[str]) -> str:
    """A text without the blocks of some types, each with all that lies in it; one shown in a code fence stays.

    A block that has no end stays, unless it says `done="false"`: then it was cut off, and is all of the rest.

    >>> without_blocks('<details type="reasoning">hm <details>so</details></details> Yes.', {"reasoning"})
    'Yes.'

    Args:
        text: what was said, with the blocks in it.
        kinds: the types, in lower case.
    """
    if _WORD not in text.lower():
        return text
    ends = _Ends(text)
    said: list[str] = []
    start, place, fence = 0, 0, ""
    while mark := _MARK.search(text, place):
        place = mark.end()
        if sign := mark["fence"]:
            if not fence:
                fence = sign
            elif sign.startswith(fence) and not mark["info"].strip():
                fence = ""
            continue
        attributes = _attributes(mark["attributes"])
        if fence or attributes.get("type") not in kinds:
            continue
        end = _end(text, ends, mark.start(), is_cut=attributes.get("done") == "false")
        if end:
            said.append(text[start : mark.start()])
            start = place = end
    return "".join([*said, text[start:]]).strip() if said else text


def _attributes(text: str) -> Mapping[str, str]:
    return {name.lower(): (double or single).lower() for name, double, single in _ATTRIBUTE.findall(text)}


class _Ends:
    """Where blocks end: by their beginnings, and all ends in their order."""

    def __init__(self, text: str) -> None:
        self.of: dict[int, int] = {}
        self.all: list[int] = []
        opened: list[int] = []
        for tag in _TAG.finditer(text):
            if not tag["end"]:
                opened.append(tag.start())
                continue
            self.all.append(tag.end())
            if opened:
                self.of[opened.pop()] = tag.end()


def _end(text: str, ends: _Ends, start: int, *, is_cut: bool) -> int:
    """Where a block ends; 0 where it does not. One that only speaks of another's tag ends at the first end."""
    if start in ends.of:
        return ends.of[start]
    if is_cut:
        return len(text)
    place = bisect_left(ends.all, start)
    return ends.all[place] if place < len(ends.all) else 0
