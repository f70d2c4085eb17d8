"""Texts of somebody, looked for in reports: as they are, in JSON or in HTML, marked up and cut short.

A long text is found wherever a piece of its beginning stands. A short one stands in many files by chance, so it is
found where it is all that a value, a cell or an element says, and not in what training writes of itself.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

__all__ = ["REPORTS", "Needles", "quoting_reports"]

REPORTS: Final = frozenset({".csv", ".html", ".json", ".jsonl", ".md", ".txt", ".xml"})
"""How the names of reports end."""

_NO_TEXTS: Final = frozenset({"metrics.jsonl", "run.json", "run_card.json", "run_card.md", "state.json", "sweep.json"})
"""What training writes: settings and numbers, whose words somebody may have said too."""
_OF_MODELS: Final = ("config.json", "adapter_config.json")
"""One of them is in the folder of a model, whose vocabulary holds every word."""

_TAG: Final = re.compile(r"<[^>]*>")
_PIECE: Final = 40
_MOST: Final = 400
_LONG: Final = 12
_LEAST: Final = 3
_LEAST_DIGITS: Final = 5
_BEFORE: Final = rb"""(?:^|[\r\n">,;|\t])[ ]*"""
_BEHIND: Final = rb"""[ ]*(?=$|[\r\n<,;|\t]|"(?!\s*:))"""
"""A value ends here; in JSON, what a colon follows is a key."""


class Needles:
    """What is looked for.

    Args:
        texts: texts and ids of somebody; of a long one its beginning is looked for, piece by piece, and one of a few
            digits or of one or two letters is not looked for.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        known = {text for text in texts if _tells_anything(text.strip())}
        pieces = {text[at : at + _PIECE] for text in known for at in range(0, min(len(text), _MOST), _PIECE)}
        self._pieces = [piece for piece in pieces if len(piece) >= _LONG]
        self._found = {form for piece in self._pieces for form in _forms(piece)}
        short = sorted({form for text in known if len(text) < _LONG for form in _forms(text.strip())})
        anything = b"|".join(map(re.escape, short))
        self._short = re.compile(_BEFORE + b"(?:" + anything + b")" + _BEHIND) if short else None

    def are_in(self, path: Path) -> bool:
        """Whether one of them stands in a report."""
        content = path.read_bytes()
        if any(needle in content for needle in self._found):
            return True
        if self._short is not None and path.name not in _NO_TEXTS and self._short.search(content):
            return True
        if path.suffix != ".html":
            return False
        shown = html.unescape(_TAG.sub("", content.decode("utf-8", "replace")))
        return any(piece in shown for piece in self._pieces)


def quoting_reports(folder: Path, needles: Needles) -> Iterator[Path]:
    """The reports below a folder in which one of the texts stands; files of models are none.

    Args:
        folder: the folder; one that is not there has none.
        needles: the texts.
    """
    for path in sorted(folder.rglob("*")):
        is_report = path.suffix in REPORTS and path.is_file()
        if is_report and not any((path.parent / name).is_file() for name in _OF_MODELS) and needles.are_in(path):
            yield path


def _tells_anything(text: str) -> bool:
    return len(text) >= (_LEAST if any(sign.isalpha() for sign in text) else _LEAST_DIGITS)


def _forms(text: str) -> Iterator[bytes]:
    forms = [text, html.escape(text), html.escape(text, quote=False)]
    forms += [json.dumps(text, ensure_ascii=is_ascii)[1:-1] for is_ascii in (True, False)]
    yield from (form.encode("utf-8", "replace") for form in dict.fromkeys(forms))
