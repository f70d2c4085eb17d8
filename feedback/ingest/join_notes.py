"""What became of a join: how many records found what they lacked, and what of the other file could not be used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from feedback.formats.drafts import Join
from feedback.ingest.block_task import BlockResult
from feedback.ingest.join_table import JoinTable
from schemas.errors import InputError

__all__ = ["join_notes", "refuse_no_partner"]

_SHOWN: Final = 40


def refuse_no_partner(join: Join, table: JoinTable, results: Sequence[BlockResult]) -> None:
    """Refuse a source in which no record found what it lacked: the files do not belong together, or the ids differ.

    Args:
        join: what the records lack.
        table: the other file.
        results: the blocks of the source.

    Raises:
        InputError: there is such a record, and none that found it.
    """
    alone = sum(one.alone for one in results)
    if not alone or any(one.joined for one in results):
        return
    wanted = next((one.first_alone for one in results if one.first_alone), "")
    if not wanted:
        case = next((case for one in results for case in one.first_cases), "")
        raise InputError(
            f"none of {alone:,} records has an id at {join.key!r}, by which its {join.what} are looked up",
            where=_names(table),
            todo=f"The first case is {case}" if case else "Name the file with these ids",
        )
    raise InputError(
        f"none of {alone:,} records found its {join.what} in the other file",
        where=_names(table),
        received=wanted[:_SHOWN],
        expected=f"an id of {join.key!r} to be at {join.other!r}, where the first is {table.example[:_SHOWN]!r}",
        todo="Name the file that belongs to this one with --join FILE",
    )


def join_notes(name: str, join: Join, table: JoinTable, results: Sequence[BlockResult]) -> Iterator[str]:
    """Sentences for the report.

    Args:
        name: name of the source.
        join: what its records lack.
        table: the other file.
        results: the blocks of the source.
    """
    joined, alone = sum(one.joined for one in results), sum(one.alone for one in results)
    yield (
        f"Source {name!r}: {joined:,} records found their {join.what} in {_names(table)}, and {alone:,} did not; "
        f"there are {table.with_id:,} with an id."
    )
    without_id = table.records - table.with_id - sum(table.unread.values())
    if table.unread:
        listed = ", ".join(f"{reason} {count:,}" for reason, count in table.unread.items())
        yield f"Records of {_names(table)} that cannot be read, and so nobody found: {listed}."
    if without_id and not join.is_itself:
        yield f"Records of {_names(table)} without an id at {join.other!r}: {without_id:,}."


def _names(table: JoinTable) -> str:
    names = [file.name for file in table.files]
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more files"
