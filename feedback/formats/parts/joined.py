"""What a record finds in another file, see `Join`: the records placed into it, or a rejection that names the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from feedback.formats.drafts import Draft, IgnoredDraft, Join
from feedback.formats.parts.fields import need, need_list, need_object, reject
from schemas.reasons import RejectReason

__all__ = ["joined_record", "joined_records", "unjudged"]


def joined_records(record: Mapping[str, Any], join: Join) -> list[dict[str, Any]]:
    """The records of the other file that belong to `record`.

    Raises:
        RecordRejectedError: they are not there, or no list of objects.
    """
    _refuse_missing(record, join)
    return need_list(record, join.into)


def joined_record(record: Mapping[str, Any], join: Join) -> dict[str, Any]:
    """The record of the other file that belongs to `record`.

    Raises:
        RecordRejectedError: it is not there, or no object.
    """
    _refuse_missing(record, join)
    return need_object(record, join.into)


def unjudged(what: str, *, is_vague: bool = False) -> Iterator[Draft]:
    """The record is sound, and nothing in it judges an answer: it is left out, and counted under `what`.

    >>> [draft.what for draft in unjudged("the message has no feedback")]
    ['the message has no feedback']

    Args:
        what: what it is counted under.
        is_vague: whether nothing in it is of its format alone.
    """
    yield _ignored(what, is_vague)


@lru_cache(maxsize=64)
def _ignored(what: str, is_vague: bool) -> IgnoredDraft:
    """The draft, one for all: of a chat's messages nearly all are unjudged."""
    return IgnoredDraft(what=what, is_vague=is_vague)


def _refuse_missing(record: Mapping[str, Any], join: Join) -> None:
    if not join.is_lacking(record):
        return
    need(record, join.key)
    where = "the same file, or in one that" if join.is_itself else "another file, which"
    sought = f"the {join.what}, by {join.key!r},"
    detail = f"field {join.into!r} is absent or null: {sought} lie in {where} --join FILE names"
    reject(RejectReason.MISSING_FIELD, detail)
