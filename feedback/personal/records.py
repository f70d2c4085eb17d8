"""Records with turns and texts in them, without personal data: some at a time, so that columns are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import polars as pl

from feedback.personal.redact import Redactor

__all__ = ["redact_records"]

_ROWS: Final = 2_000
_PLAIN: Final = ("comment",)
_JSON: Final = ("tools",)


def redact_records(rows: Iterable[dict[str, Any]], redactor: Redactor) -> Iterator[dict[str, Any]]:
    """The rows in their order, with marks in their turns, in `comment` and in `tools`; ids and labels stay.

    Args:
        rows: records; a list of turns is known by its turns.
        redactor: replaces and counts.
    """
    source = iter(rows)
    while some := list(islice(source, _ROWS)):
        yield from _redacted(some, redactor)


def _redacted(rows: Sequence[dict[str, Any]], redactor: Redactor) -> list[dict[str, Any]]:
    copies = [{name: _copied(value) for name, value in row.items()} for row in rows]
    turns = [turn for row in copies for value in row.values() if _is_turns(value) for turn in value]
    _replace(turns, "content", redactor.texts)
    for name in _PLAIN:
        _replace([row for row in copies if row.get(name)], name, redactor.texts)
    for name in _JSON:
        _replace([row for row in copies if row.get(name)], name, redactor.json_texts)
    return copies


def _copied(value: Any) -> Any:
    return [dict(turn) for turn in value] if _is_turns(value) else value


def _is_turns(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(turn, dict) and "content" in turn for turn in value)


def _replace(holders: Sequence[dict[str, Any]], name: str, redact: Callable[[pl.Series], pl.Series]) -> None:
    texts = redact(pl.Series([holder[name] for holder in holders], dtype=pl.String))
    for holder, text in zip(holders, texts.to_list(), strict=True):
        holder[name] = text
