"""Whether a file is in the format that it was said to be in, seen from its first records."""

from __future__ import annotations

from typing import Any, Final

from feedback.formats import FORMATS
from feedback.formats.drafts import Format
from feedback.records.raw_record import RawRecord
from schemas.errors import FormatMismatchError, RecordRejectedError, ThumblineError
from schemas.reasons import RejectReason

__all__ = ["FormatCheck"]

_FIRST_RECORDS: Final = 20
_SHOWN_KEYS: Final = 12


class FormatCheck:
    """Watches the records of one file until one of them is in the format.

    Args:
        stated: the format that the file should be in.
    """

    def __init__(self, stated: Format) -> None:
        self._stated = stated
        self._first: RawRecord | None = None
        self._detail = ""
        self._misses = 0
        self.is_decided = False

    def accepted(self) -> None:
        """A record was in the format, so the file is."""
        self.is_decided = True

    def rejected(self, record: RawRecord, reason: str, detail: str) -> None:
        """A record was rejected.

        Raises:
            FormatMismatchError: it is the last of the first ones, and all of them lack a required field.
        """
        if self.is_decided:
            return
        if reason != RejectReason.MISSING_FIELD:
            # A record with all its fields, or one that is no record at all, says nothing against the format.
            self.is_decided = record.value is not None
            return
        if self._first is None:
            self._first, self._detail = record, detail
        self._misses += 1
        if self._misses >= _FIRST_RECORDS:
            self.finish()

    def finish(self) -> None:
        """Nothing more comes that could be in the format.

        Raises:
            FormatMismatchError: records were seen, and all lack a required field.
        """
        if self.is_decided or self._first is None:
            return
        record = self._first
        fitting = _formats_that_accept(record.value or {})
        raise FormatMismatchError(
            f"the file is not in the format {self._stated.name!r} ({self._detail})",
            where=f"{record.file} line {record.line}",
            received=_shape(record.value),
            expected=self._stated.fields,
            todo=f"It looks like the format {' or '.join(fitting)}"
            if fitting
            else "No other known format fits; write a TOML map for the format mapped",
        )


def _formats_that_accept(value: dict[str, Any]) -> list[str]:
    fitting = []
    for name, one in FORMATS.items():
        try:
            if list(one.parse(value)):
                fitting.append(name)
        except (RecordRejectedError, ThumblineError):
            continue
    return fitting


def _shape(value: Any, depth: int = 0) -> Any:
    """The keys of a record and the kinds of its values: what a reader needs to see, and none of the text."""
    if isinstance(value, dict):
        if depth == 2:
            return "object"
        shape = {str(key)[:40]: _shape(item, depth + 1) for key, item in list(value.items())[:_SHOWN_KEYS]}
        return {**shape, "...": f"{len(value) - _SHOWN_KEYS} more"} if len(value) > _SHOWN_KEYS else shape
    if isinstance(value, list):
        return [_shape(value[0], depth + 1)] if value and depth < 2 else "list"
    return {str: "text", bool: "boolean", type(None): "null"}.get(type(value), "number")
