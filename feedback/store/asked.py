"""What a call of the store asks for, told before anything is read or erased."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from feedback.store.tombstones import SubjectKind
from schemas.errors import InputNotFoundError, UsageError
from schemas.paths import AnyPath, path_texts

__all__ = ["report_folders", "subject_named"]


def subject_named(rater: str | int | None, conversation: str | int | None) -> tuple[SubjectKind, str]:
    """Who is to be forgotten: what it is, and its id as a text; sources have whole numbers as ids too.

    Raises:
        UsageError: none or both are named, or what is named is no id.
    """
    given: dict[SubjectKind, str | int | None] = {"rater": rater, "conversation": conversation}
    named = [(kind, name) for kind, name in given.items() if name is not None and name != ""]
    if len(named) != 1:
        raise UsageError("one who is to be forgotten must be named", expected="a rater or a conversation")
    kind, name = named[0]
    if not isinstance(name, str | int) or isinstance(name, bool):
        raise UsageError("this is no id", where=kind, received=name, expected="a text or a whole number")
    return kind, str(name)


def report_folders(reports: AnyPath | Iterable[AnyPath]) -> tuple[Path, ...]:
    """Folders in which reports are looked for; none where none is named.

    Raises:
        UsageError: one is blank, or no path.
        InputNotFoundError: one is not there.
    """
    given = path_texts(reports, name="reports") if reports or isinstance(reports, str) else ()
    for folder in given:
        if not Path(folder).is_dir():
            raise InputNotFoundError(
                "there is no such folder of reports", where=folder, todo="Nothing was erased. Name one that is there"
            )
    return tuple(map(Path, given))
