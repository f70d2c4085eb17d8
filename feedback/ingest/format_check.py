"""Whether a file is in the format that it was said to be in, seen from its first records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from feedback.formats.drafts import Format
from feedback.formats.mapping.paths import find_value, parse_path
from feedback.formats.sniffing.shape import shape_of
from feedback.records.raw_record import RawRecord
from schemas.errors import FormatMismatchError, RecordRejectedError
from schemas.reasons import RejectReason

__all__ = ["FIRST_RECORDS", "FormatCheck", "Miss", "format_mismatch"]

FIRST_RECORDS: Final = 20
"""Records of a file that are looked at before it is condemned."""


@dataclass(frozen=True, slots=True)
class Miss:
    """The first record that lacked a required field, without what is private in it.

    Args:
        where: file and line.
        detail: what it lacked.
        shape: the record as it can be shown, see `feedback.formats.sniffing.shape`.
        fitting: names of the formats that it is in.
        lacks_file: whether it needs another file, none was named, and it has the id by which one is looked in.
    """

    where: str
    detail: str
    shape: dict[str, Any]
    fitting: tuple[str, ...]
    lacks_file: bool = False


class FormatCheck:
    """Watches the records of one file until one of them is in the format.

    Args:
        stated: the format that the file should be in.
        first_records: so many records, all of which lack a required field, condemn the file; None: none ever do.
    """

    def __init__(self, stated: Format, *, first_records: int | None = FIRST_RECORDS) -> None:
        self._stated = stated
        self._misses = 0
        self._limit = first_records
        self.is_decided = False
        self.miss: Miss | None = None

    def accepted(self) -> None:
        """A record was in the format, so the file is."""
        self.is_decided = True

    def rejected(self, record: RawRecord, reason: str, detail: str, *, lacks_file: bool = False) -> None:
        """A record was rejected.

        Args:
            record: the record.
            reason: why.
            detail: what of it.
            lacks_file: whether it needs another file, and none was named.

        Raises:
            FormatMismatchError: it is the last of the first ones, and all of them lack a required field.
        """
        if self.is_decided:
            return
        if reason != RejectReason.MISSING_FIELD:
            # A record with all its fields, or one that is no record at all, says nothing against the format.
            self.is_decided = record.value is not None
            return
        if self.miss is None:
            value = record.value or {}
            where = f"{record.file} line {record.line}"
            is_alone = lacks_file and _has_join_key(value, self._stated)
            self.miss = Miss(where, detail, shape_of(value), _fitting(value, self._stated), is_alone)
        self._misses += 1
        if self._limit is not None and self._misses >= self._limit:
            raise format_mismatch(self._stated, self.miss)


def format_mismatch(stated: Format, miss: Miss) -> FormatMismatchError:
    """The error that says which format a file is not in and which it may be in, or which other file it needs."""
    join = stated.join
    if join is not None and miss.lacks_file and not miss.fitting:
        return FormatMismatchError(
            f"the records of the format {stated.name!r} need {join.what}, which lie in another file",
            where=miss.where,
            received=miss.shape,
            expected=f"{join.what} with the id of {join.key!r} at {join.other!r}",
            todo="Name that file with --join FILE, or join = FILE of the source",
        )
    return FormatMismatchError(
        f"the file is not in the format {stated.name!r} ({miss.detail})",
        where=miss.where,
        received=miss.shape,
        expected=stated.fields,
        todo=f"It looks like the format {' or '.join(miss.fitting)}"
        if miss.fitting
        else "No other known format fits; `thumbline formats --sniff FILE --map-out map.toml` begins a map for it",
    )


def _has_join_key(value: dict[str, Any], stated: Format) -> bool:
    """Whether a record has the id of what it lacks; without it no file helps, and the format says what does."""
    if stated.join is None:
        return False
    try:
        return find_value(value, parse_path(stated.join.key, stated.name)) is not None
    except RecordRejectedError:
        return False


def _fitting(value: dict[str, Any], stated: Format) -> tuple[str, ...]:
    """The formats that read the record, or else those whose fields it has, the likeliest first."""
    from feedback.formats.sniffing.sniff import find_candidates  # it loads every format

    candidates = [one for one in find_candidates([value]) if one.format != stated.name]
    return tuple(one.format for one in candidates if one.accepted) or tuple(one.format for one in candidates)
