"""Cells of tables that hold more than text: lists that were written into a string as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from feedback.formats.parts.fields import need, reject, shown
from feedback.records.strict_json import decode_json
from schemas.errors import RecordRejectedError
from schemas.reasons import RejectReason

__all__ = ["list_cell"]

_TEXTS: Final = msgspec.json.Decoder(list[str | None])


def list_cell(record: Mapping[str, Any], key: str) -> list[Any]:
    """The list in `key`, as it is or as JSON in a string.

    >>> list_cell({"prompt": '["Hello", null]'}, "prompt")
    ['Hello', None]

    Raises:
        RecordRejectedError: it is absent, no list, or JSON that is ambiguous or damaged.
    """
    value = need(record, key)
    if isinstance(value, str) and value.strip():
        try:
            return _TEXTS.decode(value)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            pass  # it is no list of texts, or no JSON: read again, it is said which
        try:
            value = decode_json(value.encode("utf-8", "surrogatepass"))
        except RecordRejectedError as error:
            detail = f"field {key!r} holds JSON that cannot be read: {error.detail}"
            raise RecordRejectedError(error.reason, detail) from error
    if not isinstance(value, list):
        reject(RejectReason.WRONG_TYPE, f"field {key!r} is {shown(value)}; expected a list, or one as JSON in a string")
    return value
